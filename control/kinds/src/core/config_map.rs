//! ConfigMap: named settings that pods read.

use serde_json::Value;

use crate::{Column, Field, FieldError, FieldErrors, Kind, NameRule, Strategy, Verb, names, tree};

pub static CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    definition: "io.k8s.api.core.v1.ConfigMap",
    verbs: Verb::ALL,
    subresources: &[],
    columns: &[
        Column::NAME,
        Column::new("Data", "Number of entries.", |object, _| count_entries(object).into()),
        Column::AGE,
    ],
    selectable: &[],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy { validate_create: validate, validate_update, ..Strategy::PLAIN },
};

/// All entries together, in bytes.
const DATA_BYTES_MAX: usize = 1024 * 1024;

fn count_entries(object: &Value) -> usize {
    ["data", "binaryData"].iter().filter_map(|field| tree::map(object, field)).map(serde_json::Map::len).sum()
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut bytes = 0;
    let (data, binary) = (Field::of(object, "data"), Field::of(object, "binaryData"));
    for (key, value) in data.entries() {
        errors.extend(
            names::data_key(key).into_iter().map(|wrong| FieldError::invalid(&value.path, key, wrong)),
        );
        if binary.value.get(key).is_some() {
            errors.push(FieldError::invalid(&value.path, key, "duplicate of key present in binaryData"));
        }
        bytes += value.text().len();
    }
    for (key, value) in binary.entries() {
        errors.extend(
            names::data_key(key).into_iter().map(|wrong| FieldError::invalid(&value.path, key, wrong)),
        );
        bytes += value.text().len() / 4 * 3;
    }
    if bytes > DATA_BYTES_MAX {
        errors.push(FieldError::too_long("", DATA_BYTES_MAX));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if tree::flag(old, "immutable") {
        if !tree::flag(object, "immutable") {
            errors.push(FieldError::forbidden("immutable", "field is immutable when `immutable` is set"));
        }
        for field in ["data", "binaryData"] {
            if !tree::same(tree::get(object, field), tree::get(old, field)) {
                errors.push(FieldError::forbidden(field, "field is immutable when `immutable` is set"));
            }
        }
    }
    errors.extend(validate(object));
    errors
}
