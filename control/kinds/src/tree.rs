//! Light access to a parsed object by dotted path.
//!
//! A path names struct fields only; keys of free maps (labels, data) may hold dots and are read from the map.
//! What is absent and what is `null` read alike.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// The value at `path`, `Null` when anything on the way is missing.
pub fn get<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').try_fold(object, |at, key| at.get(key)).unwrap_or(&NULL)
}

/// The text at `path`, empty when absent.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    get(object, path).as_str().unwrap_or_default()
}

pub fn int(object: &Value, path: &str) -> Option<i64> {
    get(object, path).as_i64()
}

/// The flag at `path`, false when absent.
pub fn flag(object: &Value, path: &str) -> bool {
    get(object, path).as_bool().unwrap_or_default()
}

/// The items at `path`, none when absent.
pub fn items<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    get(object, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn map<'a>(object: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
    get(object, path).as_object()
}

/// The items of the list at `path`, to change in place; none when absent.
pub fn items_mut<'a>(object: &'a mut Value, path: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    get_mut(object, path).and_then(Value::as_array_mut).map(|items| items.iter_mut()).unwrap_or_default()
}

/// The value at `path`, to change in place; none when anything on the way is missing or null.
pub fn get_mut<'a>(object: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(object, |at, key| at.get_mut(key)).filter(|value| !value.is_null())
}

/// Puts `value` at `path`, making the objects on the way.
pub fn set(object: &mut Value, path: &str, value: impl Into<Value>) {
    if let Some(slot) = slot(object, path) {
        *slot = value.into();
    }
}

/// Puts `value` at `path` when nothing is there; the objects on the way are made.
pub fn set_default(object: &mut Value, path: &str, value: impl Into<Value>) {
    if let Some(slot) = slot(object, path)
        && slot.is_null()
    {
        *slot = value.into();
    }
}

/// As [`set_default`], and an empty text counts as nothing.
pub fn set_default_text(object: &mut Value, path: &str, value: &str) {
    if text(object, path).is_empty() && matches!(get(object, path), Value::Null | Value::String(_)) {
        set(object, path, value);
    }
}

/// Takes out what is at `path`.
pub fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = match path.rsplit_once('.') {
        Some((parent, key)) => (get_mut(object, parent)?, key),
        None => (object, path),
    };
    parent.as_object_mut()?.shift_remove(key)
}

/// Makes the value at `path` in `object` what it is in `other`, absent included.
pub fn copy(object: &mut Value, path: &str, other: &Value) {
    copy_to(object, path, get(other, path));
}

/// Makes the value at `path` what `value` is, absent if that is null.
pub fn copy_to(object: &mut Value, path: &str, value: &Value) {
    match value {
        Value::Null => drop(remove(object, path)),
        value => set(object, path, value.clone()),
    }
}

/// Whether two trees mean the same: absent, null, empty list and empty object are one.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&NULL)))
                && b.iter().all(|(key, value)| a.contains_key(key) || is_empty(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ if is_empty(a) || is_empty(b) => is_empty(a) && is_empty(b),
        _ => a == b,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The place of `path`, made when missing; none when something on the way is no object.
fn slot<'a>(object: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(object, |at, key| {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        Some(at.as_object_mut()?.entry(key).or_insert(Value::Null))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_null_and_empty_mean_the_same() {
        assert!(same(&json!({"a": null, "b": [], "c": {"d": {}}}), &json!({})));
        assert!(!same(&json!({"a": 0}), &json!({})));
        assert!(!same(&json!({"a": ""}), &json!({})));
    }

    #[test]
    fn set_makes_the_way_and_default_keeps_what_is_there() {
        let mut object = json!({"spec": null});
        set_default(&mut object, "spec.a.b", 1);
        set_default(&mut object, "spec.a.b", 2);
        assert_eq!(object, json!({"spec": {"a": {"b": 1}}}));
        assert_eq!(remove(&mut object, "spec.a.b"), Some(json!(1)));
        assert_eq!(int(&object, "spec.a.b"), None);
    }
}
