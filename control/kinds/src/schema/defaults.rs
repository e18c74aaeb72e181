//! The defaults that the schema itself states, such as `protocol: TCP`.
//!
//! `{}`, `""`, `0` and `false` in the tables only mark fields that Kubernetes always writes; they are not applied. What
//! a kind fills in by code (`restartPolicy`, `dnsPolicy` …) belongs to the kind.

use serde_json::Value;

use super::{Field, Schema, Type, TypeId};

/// Fills what is absent, at any depth, inside what is present.
pub fn apply_defaults(schema: &Schema, ty: TypeId, value: &mut Value) {
    match (schema.get(ty), value) {
        (Type::Struct(of), Value::Object(entries)) => {
            for field in &of.fields {
                match entries.get_mut(&*field.name) {
                    Some(present) => apply_defaults(schema, field.ty, present),
                    None => {
                        if let Some(default) = wished(field) {
                            entries.insert(field.name.to_string(), default.clone());
                        }
                    }
                }
            }
        }
        (Type::List(of), Value::Array(items)) => {
            for item in items {
                apply_defaults(schema, of.items, item);
            }
        }
        (Type::Map(of), Value::Object(entries)) => {
            for (_, entry) in entries.iter_mut() {
                apply_defaults(schema, of.values, entry);
            }
        }
        (Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Scalar(_), _) => {}
    }
}

fn wished(field: &Field) -> Option<&Value> {
    field.default.as_deref().filter(|default| !is_mark(default))
}

/// Whether a default only marks a field that Kubernetes always writes.
pub(super) fn is_mark(default: &Value) -> bool {
    match default {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}
