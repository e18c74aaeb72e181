//! ReplicaSet: keeps a number of equal pods.

use serde_json::Value;

use super::template;
use crate::columns::template_containers;
use crate::kind::{selectable, selector_text};
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
    subresources: &[
        Subresource::scale(Scale {
            spec_replicas: "spec.replicas",
            status_replicas: "status.replicas",
            selector: selector_text,
        }),
        Subresource::status("apps", "ReplicaSet"),
    ],
    columns: &[
        Column::NAME,
        Column::new("Desired", "Pods wanted.", |object, _| number(object, "spec.replicas")).integer(),
        Column::new("Current", "Pods made.", |object, _| number(object, "status.replicas")).integer(),
        Column::new("Ready", "Pods ready.", |object, _| number(object, "status.readyReplicas")).integer(),
        Column::AGE,
        Column::new("Containers", "Names of the containers.", |object, _| {
            template_containers(object, "name")
        })
        .wide(),
        Column::new("Images", "Images of the containers.", |object, _| template_containers(object, "image"))
            .wide(),
        Column::new("Selector", "Which pods.", |object, _| template::selector_text(object)).wide(),
    ],
    selectable: selectable![; "status.replicas" => |object| {
        tree::int(object, "status.replicas").unwrap_or_default().to_string()
    }],
    name_rule: NameRule::Subdomain,
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

fn number(object: &Value, path: &str) -> Value {
    tree::int(object, path).unwrap_or_default().into()
}

fn defaults(object: &mut Value) {
    tree::set_default(object, "spec.replicas", 1);
    template::defaults(object);
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    errors.extend(spec.get("replicas").not_negative());
    errors.extend(spec.get("minReadySeconds").not_negative());
    errors.extend(template::validate(&spec));
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
    errors.extend(counts.iter().filter_map(|field| status.get(field).not_negative()));
    errors.extend(template::validate_counts(&status, &counts[1..]));
    errors
}
