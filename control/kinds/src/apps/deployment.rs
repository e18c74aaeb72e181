//! Deployment: rolls a ReplicaSet from one template to the next.

use serde_json::Value;

use super::template;
use crate::columns::template_containers;
use crate::kind::selector_text;
use crate::{
    Column, Field, FieldError, FieldErrors, Generation, Kind, NameRule, Scale, Strategy, Subresource, Verb,
    tree,
};

pub static DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    definition: "io.k8s.api.apps.v1.Deployment",
    verbs: Verb::ALL,
    subresources: &[
        Subresource::scale(Scale {
            spec_replicas: "spec.replicas",
            status_replicas: "status.replicas",
            selector: selector_text,
        }),
        Subresource::status("apps", "Deployment"),
    ],
    columns: &[
        Column::NAME,
        Column::new("Ready", "Pods ready, of those wanted.", |object, _| {
            format!("{}/{}", count(object, "status.readyReplicas"), count(object, "spec.replicas")).into()
        }),
        Column::new("Up-to-date", "Pods of the newest template.", |object, _| {
            count(object, "status.updatedReplicas").into()
        }),
        Column::new("Available", "Pods ready for minReadySeconds.", |object, _| {
            count(object, "status.availableReplicas").into()
        }),
        Column::AGE,
        Column::new("Containers", "Names of the containers.", |object, _| {
            template_containers(object, "name")
        })
        .wide(),
        Column::new("Images", "Images of the containers.", |object, _| template_containers(object, "image"))
            .wide(),
        Column::new("Selector", "Which pods.", |object, _| template::selector_text(object)).wide(),
    ],
    selectable: &[],
    name_rule: NameRule::Subdomain,
    strategy: &Strategy {
        defaults,
        prepare_create: |object| tree::set(object, "status", serde_json::json!({})),
        prepare_status_update: |object, old| tree::copy(object, "metadata.labels", old),
        validate_create: validate,
        validate_update,
        validate_status_update: validate_status,
        generation: Generation::SpecOrAnnotations,
        ..Strategy::PLAIN
    },
};

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                       '93%', regex used for validation is '[0-9]+%')";

fn count(object: &Value, path: &str) -> i64 {
    tree::int(object, path).unwrap_or_default()
}

fn defaults(object: &mut Value) {
    tree::set_default(object, "spec.replicas", 1);
    tree::set_default(object, "spec.revisionHistoryLimit", 10);
    tree::set_default(object, "spec.progressDeadlineSeconds", 600);
    tree::set_default_text(object, "spec.strategy.type", "RollingUpdate");
    if tree::text(object, "spec.strategy.type") == "RollingUpdate" {
        tree::set_default(object, "spec.strategy.rollingUpdate.maxUnavailable", "25%");
        tree::set_default(object, "spec.strategy.rollingUpdate.maxSurge", "25%");
    }
    template::defaults(object);
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    errors.extend(spec.get("replicas").not_negative());
    errors.extend(template::validate(&spec));
    errors.extend(validate_strategy(&spec.get("strategy")));
    errors.extend(spec.get("minReadySeconds").not_negative());
    errors.extend(spec.get("revisionHistoryLimit").not_negative());
    let deadline = spec.get("progressDeadlineSeconds");
    errors.extend(deadline.not_negative());
    let min_ready = spec.get("minReadySeconds").int().unwrap_or_default();
    if deadline.int().is_some_and(|seconds| seconds <= min_ready) {
        errors.push(deadline.invalid("must be greater than minReadySeconds"));
    }
    errors
}

fn validate_strategy(strategy: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (kind, rolling) = (strategy.get("type"), strategy.get("rollingUpdate"));
    match kind.text() {
        "Recreate" if rolling.is_set() => {
            errors.push(rolling.forbidden("may not be specified when strategy `type` is 'Recreate'"));
        }
        "Recreate" => {}
        "RollingUpdate" => errors.extend(validate_rolling(&rolling)),
        "" => {}
        _ => errors.push(kind.not_supported(&["Recreate", "RollingUpdate"])),
    }
    errors
}

fn validate_rolling(rolling: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if !rolling.is_set() {
        errors.push(rolling.required("this should be defaulted and never be nil"));
        return errors;
    }
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    errors.extend(number_or_percent(&unavailable));
    errors.extend(number_or_percent(&surge));
    if is_zero(&unavailable) && is_zero(&surge) {
        errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
    }
    if percent(&unavailable).is_some_and(|percent| percent > 100) {
        errors.push(unavailable.invalid("must not be greater than 100%"));
    }
    errors
}

fn percent(field: &Field<'_>) -> Option<i64> {
    field.text().strip_suffix('%')?.parse().ok()
}

fn is_zero(field: &Field<'_>) -> bool {
    field.int() == Some(0) || percent(field) == Some(0)
}

fn number_or_percent(field: &Field<'_>) -> Option<FieldError> {
    match field.value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            let good = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
            (!good).then(|| field.invalid(PERCENT))
        }
        Value::Number(_) => field.not_negative(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    errors.extend(template::validate_update(object, old));
    errors
}

fn validate_status(object: &Value, _: &Value) -> FieldErrors {
    let status = Field::of(object, "status");
    let mut errors = FieldErrors::new();
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ];
    errors.extend(counts.iter().filter_map(|field| status.get(field).not_negative()));
    errors.extend(template::validate_counts(
        &status,
        &["updatedReplicas", "readyReplicas", "availableReplicas"],
    ));
    errors
}
