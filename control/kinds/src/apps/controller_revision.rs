//! ControllerRevision: what a StatefulSet or a DaemonSet was at some time.

use serde_json::Value;

use crate::{Column, Field, FieldErrors, Kind, Strategy, meta, tree};

pub static CONTROLLER_REVISION: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    definition: "io.k8s.api.apps.v1.ControllerRevision",
    columns: &[
        Column::NAME,
        Column::new("Controller", "Whose it is.", |object, _| controller(object).into()),
        Column::new("Revision", "Its number.", |object, _| {
            tree::int(object, "revision").unwrap_or_default().to_string().into()
        }),
        Column::AGE,
    ],
    strategy: &Strategy { validate_create: validate, validate_update, ..Strategy::PLAIN },
    ..Kind::PLAIN
};

fn controller(object: &Value) -> String {
    let owners = meta::owner_references(object);
    let Some(owner) = owners.iter().find(|owner| owner.controller) else { return "<none>".to_owned() };
    let kind = owner.kind.to_lowercase();
    match owner.api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
        None => format!("{kind}/{}", owner.name),
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let data = Field::of(object, "data");
    if !data.is_set() {
        errors.push(data.required("data is mandatory"));
    }
    errors.extend(Field::of(object, "revision").not_negative());
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    errors.extend(Field::of(object, "data").immutable(tree::get(old, "data")));
    errors
}
