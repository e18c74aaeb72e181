//! Patches: JSON merge patch (RFC 7386) and Kubernetes' strategic merge patch.
//!
//! Both work on values alone; whether the outcome is a legal object is for the decoder and the kind to say.

mod order;
mod strategic;

use serde_json::{Map, Value};

pub use strategic::{MergeError, strategic};

/// Applies a JSON merge patch (RFC 7386): null deletes, objects merge, everything else replaces.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(entries) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            entries.shift_remove(key);
        } else {
            merge_patch(entries.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests;
