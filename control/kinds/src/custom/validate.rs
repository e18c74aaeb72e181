//! Whether a value is what a structural schema says, in the words of Kubernetes.

use serde_json::{Map, Number, Value};

use super::structural::{Checks, Structural};
use super::{formats, lists};
use crate::{FieldError, FieldErrors, Reason};

/// All that is wrong with `value`, which stands at `path`; an object stands at no path.
pub(crate) fn schema_errors(schema: &Structural, value: &Value, path: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    check(schema, value, path, &mut errors);
    lists::duplicates(schema, value, path, &mut errors);
    errors
}

/// The path of a field in what stands at `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn check(schema: &Structural, value: &Value, path: &str, errors: &mut FieldErrors) {
    if value.is_null() && schema.nullable {
        return;
    }
    if !has_type(schema, value) {
        let wanted = if schema.int_or_string { "integer,string" } else { &schema.ty };
        errors.push(wrong_type(path, wanted, &Value::from(type_name(value))));
        return;
    }
    let checks = &schema.checks;
    if let Some(values) = &checks.values
        && !values.iter().any(|known| same(known, value))
    {
        errors.push(not_supported(path, value, values));
    }
    match value {
        Value::Object(entries) => object(schema, entries, path, errors),
        Value::Array(items) => array(schema, items, path, errors),
        Value::String(text) => string(schema, text, path, errors),
        Value::Number(given) => number(schema, given, path, errors),
        Value::Null | Value::Bool(_) => {}
    }
    junctions(checks, value, path, errors);
}

fn has_type(schema: &Structural, value: &Value) -> bool {
    let is_whole = |number: &Number| {
        number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
    };
    if schema.int_or_string {
        return matches!(value, Value::String(_)) || matches!(value, Value::Number(it) if is_whole(it));
    }
    match (schema.ty.as_str(), value) {
        ("", _)
        | ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => is_whole(number),
        (_, _) => false,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn object(schema: &Structural, entries: &Map<String, Value>, path: &str, errors: &mut FieldErrors) {
    let checks = &schema.checks;
    for name in checks.required.iter().filter(|name| !entries.contains_key(*name)) {
        errors.push(FieldError::required(join(path, name), ""));
    }
    let count = entries.len() as u64;
    if let Some(min) = checks.min_properties.filter(|min| count < *min) {
        errors.push(said(path, entries.clone(), &format!("should have at least {min} properties")));
    }
    if let Some(max) = checks.max_properties.filter(|max| count > *max) {
        errors.push(too_many(path, count, max));
    }
    for (key, value) in entries {
        if let Some(of) = schema.below(key) {
            check(of, value, &join(path, key), errors);
        }
    }
}

fn array(schema: &Structural, items: &[Value], path: &str, errors: &mut FieldErrors) {
    let (checks, count) = (&schema.checks, items.len() as u64);
    if let Some(min) = checks.min_items.filter(|min| count < *min) {
        errors.push(said(path, count, &format!("should have at least {min} items")));
    }
    if let Some(max) = checks.max_items.filter(|max| count > *max) {
        errors.push(too_many(path, count, max));
    }
    if let Some(of) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            check(of, item, &format!("{path}[{index}]"), errors);
        }
    }
}

fn string(schema: &Structural, text: &str, path: &str, errors: &mut FieldErrors) {
    let checks = &schema.checks;
    let count = text.chars().count() as u64;
    if let Some(max) = checks.max_length.filter(|max| count > *max) {
        errors.push(FieldError::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = checks.min_length.filter(|min| count < *min) {
        errors.push(said(path, text, &format!("should be at least {min} chars long")));
    }
    if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        errors.push(said(path, text, &format!("should match '{}'", pattern.as_str())));
    }
    if !formats::fits(&schema.format, text) {
        errors.push(wrong_type(path, &schema.format, &Value::from(text)));
    }
}

fn number(schema: &Structural, given: &Number, path: &str, errors: &mut FieldErrors) {
    let checks = &schema.checks;
    let mut say = |what: String| errors.push(said(path, given.clone(), &what));
    if let Some(max) = &checks.maximum {
        match checks.exclusive_maximum {
            false if greater(given, max) => say(format!("should be less than or equal to {max}")),
            true if !greater(max, given) => say(format!("should be less than {max}")),
            _ => {}
        }
    }
    if let Some(min) = &checks.minimum {
        match checks.exclusive_minimum {
            false if greater(min, given) => say(format!("should be greater than or equal to {min}")),
            true if !greater(given, min) => say(format!("should be greater than {min}")),
            _ => {}
        }
    }
    if let Some(of) = &checks.multiple_of
        && !is_multiple(given, of)
    {
        say(format!("should be a multiple of {of}"));
    }
    if given.as_i64().is_some_and(|number| !formats::holds(&schema.format, number)) {
        say(format!("must be of type {}: {given}", schema.format));
    }
}

/// Whole numbers are compared as such: as `f64` large ones would be equal.
fn greater(a: &Number, b: &Number) -> bool {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a > b,
        (_, _) => a.as_f64() > b.as_f64(),
    }
}

fn is_multiple(number: &Number, of: &Number) -> bool {
    match (number.as_i64(), of.as_i64(), number.as_f64(), of.as_f64()) {
        (_, Some(0), _, _) => false,
        (Some(number), Some(of), _, _) => number % of == 0,
        (_, _, Some(number), Some(of)) => (number / of).fract() == 0.0,
        (_, _, _, _) => false,
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not`.
fn junctions(checks: &Checks, value: &Value, path: &str, errors: &mut FieldErrors) {
    let good = |schema: &Structural| {
        let mut found = FieldErrors::new();
        check(schema, value, path, &mut found);
        found.is_empty()
    };
    let mut say = |what: &str| {
        errors.push(FieldError::invalid(shown(path), value.clone(), format!("{path:?} {what}")));
    };
    if !checks.any_of.is_empty() && !checks.any_of.iter().any(good) {
        say("must validate at least one schema (anyOf)");
    }
    if !checks.one_of.is_empty() {
        match checks.one_of.iter().filter(|schema| good(schema)).count() {
            1 => {}
            0 => say("must validate one and only one schema (oneOf). Found none valid"),
            many => say(&format!(
                "must validate one and only one schema (oneOf). Found {many} valid alternatives"
            )),
        }
    }
    if checks.not.as_deref().is_some_and(good) {
        say("must not validate the schema (not)");
    }
    let mut failed = 0;
    let mut found = FieldErrors::new();
    for schema in &checks.all_of {
        let before = found.iter().count();
        check(schema, value, path, &mut found);
        failed += usize::from(found.iter().count() > before);
    }
    if failed > 0 {
        say(if failed == checks.all_of.len() {
            "must validate all the schemas (allOf). None validated"
        } else {
            "must validate all the schemas (allOf)"
        });
        errors.extend(found);
    }
}

/// Equal in JSON's sense: `1` and `1.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// The path of an object itself, as Go writes it.
pub(super) fn shown(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

fn said(path: &str, value: impl Into<Value>, what: &str) -> FieldError {
    FieldError::invalid(shown(path), value, format!("{path} in body {what}").trim_start())
}

fn wrong_type(path: &str, wanted: &str, given: &Value) -> FieldError {
    let detail = format!("{path} in body must be of type {wanted}: {given}");
    let detail = detail.trim_start().to_owned();
    FieldError::with_value(shown(path), Reason::TypeInvalid, given.clone(), detail)
}

fn too_many(path: &str, count: u64, max: u64) -> FieldError {
    let items = if max == 1 { "item" } else { "items" };
    FieldError::with_value(shown(path), Reason::TooMany, count, format!("must have at most {max} {items}"))
}

fn not_supported(path: &str, value: &Value, values: &[Value]) -> FieldError {
    let words: Vec<String> =
        values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    FieldError::not_supported(shown(path), value.clone(), &words)
}
