//! Secret: as a ConfigMap, for what must not be seen. Values are base64.

use base64::Engine;
use serde_json::{Value, json};

use crate::kind::selectable;
use crate::{Column, Field, FieldError, FieldErrors, Kind, NameRule, Strategy, Verb, meta, names, tree};

pub static SECRET: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    namespaced: true,
    definition: "io.k8s.api.core.v1.Secret",
    verbs: Verb::ALL,
    subresources: &[],
    columns: &[
        Column::NAME,
        Column::new("Type", "What the entries must be.", |object, _| tree::text(object, "type").into()),
        Column::new("Data", "Number of entries.", |object, _| {
            tree::map(object, "data").map_or(0, serde_json::Map::len).into()
        }),
        Column::AGE,
    ],
    selectable: selectable!["type"],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy { defaults, validate_create: validate, validate_update, ..Strategy::PLAIN },
};

const DATA_BYTES_MAX: usize = 1024 * 1024;

/// The type, and `stringData`, which is only ever written: it becomes `data`.
fn defaults(object: &mut Value) {
    let plain = tree::remove(object, "stringData");
    if let Some(plain) = plain.as_ref().and_then(Value::as_object).filter(|plain| !plain.is_empty()) {
        tree::set_default(object, "data", json!({}));
        if let Some(data) = tree::get_mut(object, "data").and_then(Value::as_object_mut) {
            for (key, value) in plain {
                let text = value.as_str().unwrap_or_default();
                data.insert(key.clone(), base64::engine::general_purpose::STANDARD.encode(text).into());
            }
        }
    }
    tree::set_default_text(object, "type", "Opaque");
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let data = Field::of(object, "data");
    let mut bytes = 0;
    for (key, value) in data.entries() {
        errors.extend(
            names::data_key(key).into_iter().map(|wrong| FieldError::invalid(&value.path, key, wrong)),
        );
        bytes += value.text().len() / 4 * 3;
    }
    if bytes > DATA_BYTES_MAX {
        errors.push(FieldError::too_long("data", DATA_BYTES_MAX));
    }
    errors.extend(validate_type(object, &data));
    errors
}

/// What the well-known types ask of the entries.
fn validate_type(object: &Value, data: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let lacks = |key: &str| data.value.get(key).is_none();
    let missing = |key: &str| FieldError::required(format!("data[{key}]"), "");
    match tree::text(object, "type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if meta::annotation(object, key).unwrap_or_default().is_empty() {
                errors.push(FieldError::required(format!("metadata.annotations[{key}]"), ""));
            }
        }
        "kubernetes.io/tls" => {
            errors.extend(["tls.crt", "tls.key"].into_iter().filter(|key| lacks(key)).map(missing));
        }
        "kubernetes.io/basic-auth" if lacks("username") && lacks("password") => {
            errors.push(missing("username"));
            errors.push(missing("password"));
        }
        "kubernetes.io/ssh-auth" if lacks("ssh-privatekey") => errors.push(missing("ssh-privatekey")),
        "kubernetes.io/dockercfg" => errors.extend(docker_config(data, ".dockercfg")),
        "kubernetes.io/dockerconfigjson" => errors.extend(docker_config(data, ".dockerconfigjson")),
        _ => {}
    }
    errors
}

fn docker_config(data: &Field<'_>, key: &str) -> Option<FieldError> {
    let path = format!("data[{key}]");
    let Some(text) = data.value.get(key).and_then(Value::as_str) else {
        return Some(FieldError::required(path, ""));
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    let parsed: Result<Value, _> = serde_json::from_slice(&bytes);
    parsed.err().map(|error| FieldError::invalid(path, "<secret contents redacted>", error.to_string()))
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(Field::of(object, "type").immutable(tree::get(old, "type")));
    if tree::flag(old, "immutable") {
        if !tree::flag(object, "immutable") {
            errors.push(FieldError::forbidden("immutable", "field is immutable when `immutable` is set"));
        }
        if !tree::same(tree::get(object, "data"), tree::get(old, "data")) {
            errors.push(FieldError::forbidden("data", "field is immutable when `immutable` is set"));
        }
    }
    errors.extend(validate(object));
    errors
}
