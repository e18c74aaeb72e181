//! StorageClass: who makes volumes, and how.

use serde_json::Value;

use super::GROUP;
use crate::{Cell, Column, Field, FieldError, FieldErrors, Kind, Strategy, meta, names, tree};

pub static STORAGE_CLASS: Kind = Kind {
    group: GROUP,
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    definition: "io.k8s.api.storage.v1.StorageClass",
    columns: &[
        Column { cell: Cell::By(|object, _| shown_name(object).into()), ..Column::NAME },
        Column::new("Provisioner", "Who makes the volumes.", |object, _| {
            tree::text(object, "provisioner").into()
        }),
        Column::new("ReclaimPolicy", "What becomes of a volume that is released.", |object, _| {
            tree::text(object, "reclaimPolicy").into()
        }),
        Column::new("VolumeBindingMode", "When a claim is bound.", |object, _| {
            tree::text(object, "volumeBindingMode").into()
        }),
        Column::new("AllowVolumeExpansion", "Whether volumes may grow.", |object, _| {
            tree::flag(object, "allowVolumeExpansion").into()
        }),
        Column::AGE,
    ],
    strategy: &Strategy { defaults, validate_create: validate, validate_update, ..Strategy::PLAIN },
    ..Kind::PLAIN
};

/// Marks the class of claims that name none.
const DEFAULT_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// Whether claims that name no class get this one.
fn is_default(object: &Value) -> bool {
    meta::annotation(object, DEFAULT_ANNOTATION) == Some("true")
}

fn shown_name(object: &Value) -> String {
    let mark = if is_default(object) { " (default)" } else { "" };
    format!("{}{mark}", meta::name(object))
}

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "reclaimPolicy", "Delete");
    tree::set_default_text(object, "volumeBindingMode", "Immediate");
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(validate_provisioner(&Field::of(object, "provisioner")));
    errors.extend(validate_parameters(&Field::of(object, "parameters")));
    errors.extend(Field::of(object, "reclaimPolicy").one_of(&["Delete", "Retain"]));
    errors.extend(Field::of(object, "volumeBindingMode").one_of(&["Immediate", "WaitForFirstConsumer"]));
    errors
}

fn validate_provisioner(provisioner: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if provisioner.text().is_empty() {
        errors.push(provisioner.required(""));
        return errors;
    }
    let wrong = names::qualified(&provisioner.text().to_lowercase());
    errors.extend(wrong.into_iter().map(|wrong| provisioner.invalid(wrong)));
    errors
}

/// What is handed on to the driver.
pub(super) fn validate_parameters(parameters: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (mut count, mut bytes) = (0, 0);
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.push(FieldError::invalid(&parameters.path, key, "field can not be empty."));
        }
        count += 1;
        bytes += key.len() + value.text().len();
    }
    if count > PARAMETERS_MAX {
        errors.push(parameters.invalid(format!("must have at most {PARAMETERS_MAX} items")));
    }
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(FieldError::too_long(&parameters.path, PARAMETERS_BYTES_MAX));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for name in ["parameters", "provisioner", "reclaimPolicy"] {
        if !tree::same(tree::get(object, name), tree::get(old, name)) {
            errors.push(FieldError::forbidden(name, format!("updates to {name} are forbidden.")));
        }
    }
    errors.extend(Field::of(object, "volumeBindingMode").immutable(tree::get(old, "volumeBindingMode")));
    errors
}
