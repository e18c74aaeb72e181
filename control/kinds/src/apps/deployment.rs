//! Deployment: rolls a ReplicaSet from one template to the next.

use serde_json::Value;

use super::template;
use crate::{
    Column, Field, FieldErrors, Generation, Kind, NameRule, Scale, Strategy, Subresource, Verb,
    int_or_percent, tree,
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
    subresources: &[Subresource::scale(Scale::REPLICAS), Subresource::status("apps", "Deployment")],
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
        Column::CONTAINERS,
        Column::IMAGES,
        Column::new("Selector", "Which pods.", |object, _| template::selector_text(object)).wide(),
    ],
    selectable: &[],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
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
    errors.extend(template::validate(&spec, "deployment", "ReplicaSet"));
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
    errors.extend(int_or_percent::validate(&unavailable));
    errors.extend(int_or_percent::validate(&surge));
    if int_or_percent::is_zero(&unavailable) && int_or_percent::is_zero(&surge) {
        errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
    }
    errors.extend(int_or_percent::not_above_all(&unavailable));
    errors
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
    errors.extend(status.negatives(&counts));
    errors.extend(template::validate_counts(
        &status,
        &["updatedReplicas", "readyReplicas", "availableReplicas"],
    ));
    errors
}
