//! Drops what the schema does not know.

use serde_json::Value;

use super::{Schema, Type, TypeId};

/// Removes unknown fields and nulls, at any depth; values of the wrong type are left for the decoder to refuse.
pub fn prune(schema: &Schema, ty: TypeId, value: &mut Value) {
    match (schema.get(ty), value) {
        (Type::Struct(of), Value::Object(entries)) => {
            entries.retain(|key, value| {
                let Some(field) = of.field(key) else { return false };
                prune(schema, field.ty, value);
                !value.is_null()
            });
        }
        (Type::List(of), Value::Array(items)) => {
            for item in items {
                prune(schema, of.items, item);
            }
        }
        (Type::Map(of), Value::Object(entries)) => {
            for (_, entry) in entries.iter_mut() {
                prune(schema, of.values, entry);
            }
        }
        (Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Scalar(_), _) => {}
    }
}
