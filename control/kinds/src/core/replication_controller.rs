//! ReplicationController: what a ReplicaSet was before.

use serde_json::Value;

use super::pod;
use crate::columns::labels_text;
use crate::{Column, Field, FieldErrors, Generation, Kind, Read, Scale, Strategy, Subresource, meta, tree};

pub static REPLICATION_CONTROLLER: Kind = Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    definition: "io.k8s.api.core.v1.ReplicationController",
    subresources: &[
        Subresource::scale(Scale {
            selector: Read::By(|object| match tree::map(object, "spec.selector") {
                None => String::new(),
                Some(selector) => labels_text(Some(selector)),
            }),
            ..Scale::REPLICAS
        }),
        Subresource::status("", "ReplicationController"),
    ],
    columns: &[
        Column::NAME,
        Column::DESIRED,
        Column::CURRENT,
        Column::READY,
        Column::AGE,
        Column::CONTAINERS,
        Column::IMAGES,
        Column::new("Selector", "Which pods.", |object, _| {
            labels_text(tree::map(object, "spec.selector")).into()
        })
        .wide(),
    ],
    selectable: Kind::BY_REPLICAS,
    strategy: &Strategy {
        defaults,
        prepare_create: |object| tree::set(object, "status.replicas", 0),
        validate_create: validate,
        validate_update: |object, _| validate(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

fn defaults(object: &mut Value) {
    tree::set_default(object, "spec.replicas", 1);
    let labels = tree::get(object, "spec.template.metadata.labels").clone();
    for path in ["spec.selector", "metadata.labels"] {
        if !labels.is_null() && tree::same(tree::get(object, path), &Value::Null) {
            tree::set(object, path, labels.clone());
        }
    }
    pod::template_defaults(object, "spec.template");
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    errors.extend(spec.negatives(&["replicas", "minReadySeconds"]));
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    let labels = template.get("metadata").get("labels");
    if selector.entries().next().is_none() {
        errors.push(selector.required(""));
    }
    if !template.is_set() {
        errors.push(template.required(""));
        return errors;
    }
    let selects = selector.entries().all(|(key, value)| labels.value.get(key) == Some(value.value));
    if !selects {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    errors.extend(meta::validate_labels(&labels));
    errors.extend(pod::validate_spec(&template.get("spec")));
    let policy = template.get("spec").get("restartPolicy");
    if policy.text() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    errors
}
