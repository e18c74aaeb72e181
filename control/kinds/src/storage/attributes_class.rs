//! VolumeAttributesClass: settings of volumes that may change while they are in use.

use serde_json::Value;

use super::GROUP;
use super::storage_class::validate_parameters;
use crate::{Column, Field, FieldErrors, Kind, Strategy, names, tree};

pub static VOLUME_ATTRIBUTES_CLASS: Kind = Kind {
    group: GROUP,
    kind: "VolumeAttributesClass",
    plural: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    namespaced: false,
    definition: "io.k8s.api.storage.v1.VolumeAttributesClass",
    columns: &[
        Column::NAME,
        Column::new("DriverName", "Whose volumes.", |object, _| tree::text(object, "driverName").into()),
        Column::AGE,
    ],
    strategy: &Strategy { validate_create: validate, validate_update, ..Strategy::PLAIN },
    ..Kind::PLAIN
};

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let driver = Field::of(object, "driverName");
    match driver.text() {
        "" => errors.push(driver.required("")),
        text => errors.extend(names::subdomain(&text.to_lowercase()).map(|wrong| driver.invalid(wrong))),
    }
    let parameters = Field::of(object, "parameters");
    if parameters.entries().next().is_none() {
        errors.push(parameters.required("must contain at least one key/value pair"));
    }
    errors.extend(validate_parameters(&parameters));
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for name in ["driverName", "parameters"] {
        errors.extend(Field::of(object, name).immutable(tree::get(old, name)));
    }
    errors
}
