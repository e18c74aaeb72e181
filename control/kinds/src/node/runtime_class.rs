//! RuntimeClass: by what containers are run, and what that costs.

use serde_json::Value;

use crate::{Column, Field, FieldErrors, Kind, Strategy, names, tree};

pub static RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    definition: "io.k8s.api.node.v1.RuntimeClass",
    columns: &[
        Column::NAME,
        Column::new("Handler", "The name of the runtime's configuration on nodes.", |object, _| {
            tree::text(object, "handler").into()
        }),
        Column::AGE,
    ],
    strategy: &Strategy { validate_create: validate, validate_update, ..Strategy::PLAIN },
    ..Kind::PLAIN
};

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let handler = Field::of(object, "handler");
    errors.extend(names::label(handler.text()).map(|wrong| handler.invalid(wrong)));
    for (_, amount) in Field::of(object, "overhead").get("podFixed").entries() {
        errors.extend(crate::quantity::not_negative(&amount));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(Field::of(object, "handler").immutable(tree::get(old, "handler")));
    errors
}
