//! What the kinds of devices share: names, selectors in CEL, settings that a driver understands.
//!
//! Expressions must be there and not too long; whether they compile is not looked at.

use serde_json::Value;

use crate::{Field, FieldError, FieldErrors, names};

const DRIVER_BYTES_MAX: usize = 63;
const POOL_BYTES_MAX: usize = 253;
const IDENTIFIER_BYTES_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// The items of a list of at most `most`, unless there are more: then only that is wrong.
pub(super) fn each<F: IntoIterator<Item = FieldError>>(
    list: &Field<'_>,
    most: usize,
    rule: impl Fn(&Field<'_>) -> F,
) -> FieldErrors {
    let mut errors = FieldErrors::new();
    match list.at_most(most) {
        Some(many) => errors.push(many),
        None => errors.extend(list.items().flat_map(|item| rule(&item))),
    }
    errors
}

/// The same, and no two have the same `key`; `Null` counts for none.
pub(super) fn each_once<F: IntoIterator<Item = FieldError>>(
    list: &Field<'_>,
    most: usize,
    key: impl Fn(&Value) -> Value,
    rule: impl Fn(&Field<'_>) -> F,
) -> FieldErrors {
    let mut errors = each(list, most, rule);
    if list.list().len() > most {
        return errors;
    }
    let mut seen: Vec<Value> = Vec::new();
    for item in list.items() {
        let key = key(item.value);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(&item.path, key.clone()));
        }
        seen.push(key);
    }
    errors
}

/// Its `field`, by which items are told apart.
pub(super) fn by(field: &'static str) -> impl Fn(&Value) -> Value {
    move |item| item.get(field).cloned().unwrap_or_default()
}

pub(super) fn itself(item: &Value) -> Value {
    item.clone()
}

pub(super) fn label(name: &Field<'_>) -> Option<FieldError> {
    names::label(name.text()).map(|wrong| name.invalid(wrong))
}

pub(super) fn validate_driver(name: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    match name.text() {
        "" => errors.push(name.required("")),
        text => {
            if text.len() > DRIVER_BYTES_MAX {
                errors.push(FieldError::too_long(&name.path, DRIVER_BYTES_MAX));
            }
            errors.extend(names::subdomain(&text.to_lowercase()).map(|wrong| name.invalid(wrong)));
        }
    }
    errors
}

/// Subdomains, joined by slashes.
pub(super) fn validate_pool(name: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    match name.text() {
        "" => errors.push(name.required("")),
        text => {
            if text.len() > POOL_BYTES_MAX {
                errors.push(FieldError::too_long(&name.path, POOL_BYTES_MAX));
            }
            let parts = text.split('/');
            errors.extend(parts.filter_map(names::subdomain).map(|wrong| name.invalid(wrong)));
        }
    }
    errors
}

/// The name of an attribute or a capacity, `text`, at `path`: a C identifier, behind a domain and a slash or not.
pub(super) fn validate_qualified(path: &str, text: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let wrong = |part: &str, why: String| FieldError::invalid(path, part, why);
    if text.is_empty() {
        errors.push(FieldError::required(path, "name required"));
        return errors;
    }
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    match domain {
        None => {}
        Some("") => errors.push(wrong("", "the domain must not be empty".to_owned())),
        Some(domain) => {
            if domain.len() > DRIVER_BYTES_MAX {
                errors.push(FieldError::too_long(path, DRIVER_BYTES_MAX));
            }
            errors.extend(names::subdomain(&domain.to_lowercase()).map(|why| wrong(domain, why)));
        }
    }
    if name.is_empty() {
        errors.push(wrong("", "the name must not be empty".to_owned()));
    } else if name.len() > IDENTIFIER_BYTES_MAX {
        errors.push(FieldError::too_long(path, IDENTIFIER_BYTES_MAX));
    }
    if !name.is_empty() && !names::is_c_identifier(name) {
        errors.push(wrong(
            name,
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
                .to_owned(),
        ));
    }
    errors
}

/// The same, with a domain.
pub(super) fn validate_fully_qualified(name: &Field<'_>) -> FieldErrors {
    let mut errors = validate_qualified(&name.path, name.text());
    if !name.text().contains('/') {
        errors.push(name.invalid("a fully qualified name must be a domain and a name separated by a slash"));
    }
    errors
}

pub(super) fn validate_selectors(selectors: &Field<'_>) -> FieldErrors {
    each(selectors, SELECTORS_MAX, |selector| {
        let cel = selector.get("cel");
        let expression = cel.get("expression");
        match (cel.is_set(), expression.text().len()) {
            (false, _) => Some(cel.required("")),
            (true, 0) => Some(expression.required("")),
            (true, bytes) if bytes > EXPRESSION_BYTES_MAX => {
                Some(FieldError::too_long(&expression.path, EXPRESSION_BYTES_MAX))
            }
            (true, _) => None,
        }
    })
}

/// What a driver is told in its own words.
pub(super) fn validate_configuration(of: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let opaque = of.get("opaque");
    if !opaque.is_set() {
        errors.push(opaque.required(""));
        return errors;
    }
    errors.extend(validate_driver(&opaque.get("driver")));
    errors.extend(validate_json(&opaque.get("parameters"), PARAMETERS_BYTES_MAX));
    errors
}

/// Any JSON object of at most `most` bytes.
pub(super) fn validate_json(of: &Field<'_>, most: usize) -> Option<FieldError> {
    match of.value {
        Value::Null => Some(of.required("")),
        Value::Object(_) if of.value.to_string().len() > most => Some(FieldError::too_long(&of.path, most)),
        Value::Object(_) => None,
        _ => Some(FieldError::invalid(&of.path, "<value omitted>", "must be a valid JSON object")),
    }
}

pub(super) fn validate_taint(taint: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (key, value) = (taint.get("key"), taint.get("value"));
    errors.extend(names::qualified(key.text()).into_iter().map(|wrong| key.invalid(wrong)));
    errors.extend(names::label_value(value.text()).into_iter().map(|wrong| value.invalid(wrong)));
    errors.extend(taint.get("effect").one_of(EFFECTS));
    errors
}

pub(super) fn validate_toleration(toleration: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let [key, value, operator] = ["key", "value", "operator"].map(|name| toleration.get(name));
    if !key.text().is_empty() {
        errors.extend(names::qualified(key.text()).into_iter().map(|wrong| key.invalid(wrong)));
    }
    match operator.text() {
        "Exists" if !value.text().is_empty() => {
            errors.push(value.invalid("must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => {
            errors.extend(names::label_value(value.text()).into_iter().map(|wrong| value.invalid(wrong)));
        }
        _ => errors.extend(operator.one_of(&["Equal", "Exists"])),
    }
    errors.extend(toleration.get("effect").one_of_if_set(EFFECTS));
    errors
}
