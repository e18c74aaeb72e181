//! Fills what a structural schema has a default for, and drops nulls that stand for absence.

use serde_json::Value;

use super::Structural;

/// At any depth, inside what is present. Twice is as once.
pub(super) fn apply(schema: &Structural, value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (name, of) in &schema.properties {
                if let Some(default) = &of.default
                    && entries.get(name).is_none_or(|present| present.is_null() && of.drops_null())
                {
                    entries.insert(name.clone(), default.clone());
                }
            }
            entries.retain(|key, value| {
                let Some(of) = schema.below(key) else { return true };
                fill(of, value);
                !(value.is_null() && of.drops_null() && !is_free(of))
            });
        }
        Value::Array(items) => {
            if let Some(of) = &schema.items {
                for item in items {
                    fill(of, item);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill(of: &Structural, value: &mut Value) {
    if value.is_null()
        && of.drops_null()
        && let Some(default) = &of.default
    {
        *value = default.clone();
    }
    apply(of, value);
}

/// Whether the schema says nothing of the value at all, so that null is one of its values.
fn is_free(of: &Structural) -> bool {
    of.ty.is_empty() && of.preserves_unknown
}
