//! What the tests of kinds share: an object through the same steps as the apiserver's, told as text.

use base::Timestamp;
use serde_json::{Value, json};

use crate::{CellContext, Kind, tree};

/// The wall time of tests.
pub(crate) const NOW: &str = "2026-11-21T12:00:00Z";

/// `fields` as an object of `kind` named `x`, with whatever metadata a server would have given it.
pub(crate) fn object(kind: &Kind, fields: Value) -> Value {
    let mut object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "x"}});
    if kind.namespaced {
        tree::set(&mut object, "metadata.namespace", "default");
    }
    tree::set(&mut object, "metadata.creationTimestamp", "2026-11-21T11:55:30Z");
    for (name, value) in fields.as_object().into_iter().flatten() {
        if name == "metadata" {
            for (name, value) in value.as_object().into_iter().flatten() {
                tree::set(&mut object, &format!("metadata.{name}"), value.clone());
            }
        } else {
            tree::set(&mut object, name, value.clone());
        }
    }
    object
}

/// `fields` as created: defaulted and prepared.
pub(crate) fn created(kind: &Kind, fields: Value) -> Value {
    let mut object = object(kind, fields);
    kind.default_fields(&mut object);
    let once = object.clone();
    kind.default_fields(&mut object);
    assert_eq!(object, once, "defaults are idempotent");
    kind.prepare_create(&mut object);
    object
}

/// What creation says, an error per line.
pub(crate) fn create_errors(kind: &Kind, fields: Value) -> String {
    let errors = kind.validate_create(&created(kind, fields));
    errors.iter().map(|error| format!("{error}\n")).collect()
}

/// What a PUT of `new` over `old` says, or the generation that it leads to.
pub(crate) fn update(kind: &Kind, old: Value, new: Value) -> String {
    let old = created(kind, old);
    let mut new = object(kind, new);
    kind.default_fields(&mut new);
    kind.prepare_update(&mut new, &old);
    let errors = kind.validate_update(&new, &old);
    match errors.is_empty() {
        true => format!("good, generation {}\n", tree::get(&new, "metadata.generation")),
        false => errors.iter().map(|error| format!("{error}\n")).collect(),
    }
}

/// The Table row of an object, wide, a cell per column.
pub(crate) fn row(kind: &Kind, fields: Value) -> String {
    let cx = CellContext { now: NOW.parse::<Timestamp>().expect("a time") };
    let object = object(kind, fields);
    let cell = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    kind.columns
        .iter()
        .map(|column| format!("{}: {}\n", column.name, cell(column.cell_of(&object, &cx))))
        .collect()
}
