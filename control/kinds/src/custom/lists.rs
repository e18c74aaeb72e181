//! Lists that are sets or maps by key hold nothing twice.

use serde_json::{Map, Value};

use super::Structural;
use crate::schema::ListKind;
use crate::{FieldError, FieldErrors};

/// What stands twice in such lists of `value`, at any depth.
pub(super) fn duplicates(schema: &Structural, value: &Value, path: &str, errors: &mut FieldErrors) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if let Some(of) = schema.below(key) {
                    duplicates(of, value, &super::validate::join(path, key), errors);
                }
            }
        }
        Value::Array(items) => {
            let mut seen: Vec<Value> = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let at = format!("{path}[{index}]");
                if let Some(identity) = identity(schema, item) {
                    match seen.contains(&identity) {
                        true => errors.push(FieldError::duplicate(&at, identity)),
                        false => seen.push(identity),
                    }
                }
                if let Some(of) = &schema.items {
                    duplicates(of, item, &at, errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What tells an item apart in a list of this kind.
fn identity(list: &Structural, item: &Value) -> Option<Value> {
    match list.list.as_ref()? {
        ListKind::Atomic => None,
        ListKind::Set => Some(item.clone()),
        ListKind::Map { keys } => {
            let of = list.items.as_deref()?;
            let mut identity = Map::new();
            for key in keys {
                let default = || of.properties.get(&**key)?.default.as_ref();
                if let Some(value) = item.get(&**key).or_else(default) {
                    identity.insert(key.to_string(), value.clone());
                }
            }
            Some(Value::Object(identity))
        }
    }
}
