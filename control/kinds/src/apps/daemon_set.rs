//! DaemonSet: a pod on each node.

use serde_json::Value;

use super::template;
use crate::columns::labels_text;
use crate::{
    Column, Field, FieldErrors, Generation, Kind, Strategy, Subresource, int_or_percent, meta, tree,
};

pub static DAEMON_SET: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    definition: "io.k8s.api.apps.v1.DaemonSet",
    subresources: &[Subresource::status("apps", "DaemonSet")],
    columns: &[
        Column::NAME,
        count("Desired", "Nodes that should have a pod.", |object, _| {
            number(object, "desiredNumberScheduled")
        }),
        count("Current", "Nodes that have one.", |object, _| number(object, "currentNumberScheduled")),
        count("Ready", "Nodes whose pod is ready.", |object, _| number(object, "numberReady")),
        count("Up-to-date", "Nodes with a pod of the newest template.", |object, _| {
            number(object, "updatedNumberScheduled")
        }),
        count("Available", "Nodes whose pod is available.", |object, _| number(object, "numberAvailable")),
        Column::new("Node Selector", "Which nodes.", |object, _| {
            labels_text(tree::map(object, "spec.template.spec.nodeSelector")).into()
        }),
        Column::AGE,
        Column::CONTAINERS,
        Column::IMAGES,
        Column::new("Selector", "Which pods.", |object, _| template::selector_text(object)).wide(),
    ],
    strategy: &Strategy {
        defaults,
        prepare_create: |object| {
            tree::set(
                object,
                "status",
                serde_json::json!({
                    "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
                }),
            )
        },
        validate_create: validate,
        validate_update,
        validate_status_update: validate_status,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

/// Written for those who still read it.
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

const fn count(
    name: &'static str,
    description: &'static str,
    cell: fn(&Value, &crate::CellContext) -> Value,
) -> Column {
    Column::new(name, description, cell).integer()
}

fn number(object: &Value, field: &str) -> Value {
    tree::int(tree::get(object, "status"), field).unwrap_or_default().into()
}

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "spec.updateStrategy.type", "RollingUpdate");
    if tree::text(object, "spec.updateStrategy.type") == "RollingUpdate" {
        tree::set_default(object, "spec.updateStrategy.rollingUpdate.maxUnavailable", 1);
        tree::set_default(object, "spec.updateStrategy.rollingUpdate.maxSurge", 0);
    }
    tree::set_default(object, "spec.revisionHistoryLimit", 10);
    if meta::annotation(object, GENERATION_ANNOTATION).is_none() {
        let mut annotations = meta::annotations(object).cloned().unwrap_or_default();
        annotations.insert(GENERATION_ANNOTATION.to_owned(), "1".into());
        meta::set(object, "annotations", annotations);
    }
    template::defaults(object);
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = template::validate(&spec, "daemonset", "DaemonSet");
    errors.extend(spec.negatives(&["minReadySeconds", "revisionHistoryLimit"]));
    errors.extend(validate_strategy(&spec.get("updateStrategy")));
    errors
}

fn validate_strategy(strategy: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (kind, rolling) = (strategy.get("type"), strategy.get("rollingUpdate"));
    match kind.text() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => errors.push(rolling.required("")),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            for limit in [&unavailable, &surge] {
                errors.extend(int_or_percent::validate(limit));
                errors.extend(int_or_percent::not_above_all(limit));
            }
            match (int_or_percent::is_zero(&unavailable), int_or_percent::is_zero(&surge)) {
                (true, true) => errors.push(unavailable.invalid("cannot be 0 when maxSurge is 0")),
                (false, false) => {
                    errors.push(surge.invalid("may not be set when maxUnavailable is non-zero"))
                }
                (true, false) | (false, true) => {}
            }
        }
        _ => errors.push(kind.not_supported(&["OnDelete", "RollingUpdate"])),
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    errors.extend(template::validate_update(object, old));
    errors
}

fn validate_status(object: &Value, _: &Value) -> FieldErrors {
    let status = Field::of(object, "status");
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    ];
    let mut errors = FieldErrors::new();
    errors.extend(status.negatives(&counts));
    errors
}
