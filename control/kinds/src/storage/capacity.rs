//! CSIStorageCapacity: how much room there is for volumes of a class, and where.

use serde_json::Value;

use super::GROUP;
use crate::apps::validate_selector;
use crate::quantity::not_negative;
use crate::{Column, Field, FieldErrors, Kind, Strategy, tree};

pub static CSI_STORAGE_CAPACITY: Kind = Kind {
    group: GROUP,
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    definition: "io.k8s.api.storage.v1.CSIStorageCapacity",
    columns: &[
        Column::NAME,
        Column::new("StorageClassName", "Of which class.", |object, _| {
            tree::text(object, "storageClassName").into()
        }),
        Column::new("Capacity", "How much room there is.", |object, _| tree::text(object, "capacity").into()),
    ],
    strategy: &Strategy { validate_create: validate, validate_update, ..Strategy::PLAIN },
    ..Kind::PLAIN
};

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let class = Field::of(object, "storageClassName");
    match class.text() {
        "" => errors.push(class.required("")),
        text => errors.extend(crate::names::subdomain(text).map(|wrong| class.invalid(wrong))),
    }
    errors.extend(validate_selector(&Field::of(object, "nodeTopology")));
    for amount in ["capacity", "maximumVolumeSize"] {
        errors.extend(not_negative(&Field::of(object, amount)));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    for name in ["nodeTopology", "storageClassName"] {
        errors.extend(Field::of(object, name).immutable(tree::get(old, name)));
    }
    errors
}
