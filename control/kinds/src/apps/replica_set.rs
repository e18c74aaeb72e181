//! ReplicaSet: keeps a number of equal pods.

use serde_json::Value;

use super::template;
use crate::{
    Column, Field, FieldErrors, Generation, Kind, NameRule, Scale, Strategy, Subresource, Verb, tree,
};

pub static REPLICA_SET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    namespaced: true,
    definition: "io.k8s.api.apps.v1.ReplicaSet",
    verbs: Verb::ALL,
    subresources: &[Subresource::scale(Scale::REPLICAS), Subresource::status("apps", "ReplicaSet")],
    columns: &[
        Column::NAME,
        Column::DESIRED,
        Column::CURRENT,
        Column::READY,
        Column::AGE,
        Column::CONTAINERS,
        Column::IMAGES,
        Column::new("Selector", "Which pods.", |object, _| template::selector_text(object)).wide(),
    ],
    selectable: Kind::BY_REPLICAS,
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy {
        defaults,
        prepare_create: |object| tree::set(object, "status.replicas", 0),
        validate_create: validate,
        validate_update,
        validate_status_update: validate_status,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
};

fn defaults(object: &mut Value) {
    tree::set_default(object, "spec.replicas", 1);
    template::defaults(object);
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    errors.extend(spec.get("replicas").not_negative());
    errors.extend(spec.get("minReadySeconds").not_negative());
    errors.extend(template::validate(&spec, "deployment", "ReplicaSet"));
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
    let counts = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    errors.extend(status.negatives(&counts));
    errors.extend(template::validate_counts(&status, &counts[1..]));
    errors
}
