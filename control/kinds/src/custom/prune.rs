//! Drops what a structural schema does not name, and tells what that was.

use serde_json::{Map, Value};

use super::Structural;
use super::structural::Additional;

/// What every object has, whatever its schema names.
const ROOT: &[&str] = &["apiVersion", "kind", "metadata"];

/// Prunes `object`, a whole object of `schema`. Gives back the paths of what went: `spec.list[0].x`.
pub(super) fn prune(schema: &Structural, object: &mut Value) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), gone: Vec::new() };
    pruner.value(schema, object, true);
    pruner.gone
}

/// What is left of `value`, a value of `schema`.
pub(crate) fn pruned(schema: &Structural, value: &Value) -> Value {
    let mut value = value.clone();
    let mut pruner = Pruner { path: String::new(), gone: Vec::new() };
    pruner.value(schema, &mut value, schema.embedded);
    value
}

struct Pruner {
    path: String,
    gone: Vec<String>,
}

impl Pruner {
    fn value(&mut self, schema: &Structural, value: &mut Value, is_object: bool) {
        match value {
            Value::Object(entries) => self.entries(schema, entries, is_object),
            Value::Array(items) => {
                let schema = schema.items.as_deref();
                let mark = self.path.len();
                for (index, item) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{index}]"));
                    if let Some(of) = schema {
                        self.value(of, item, of.embedded);
                    }
                    self.path.truncate(mark);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn entries(&mut self, schema: &Structural, entries: &mut Map<String, Value>, is_object: bool) {
        let keeps = schema.preserves_unknown || matches!(schema.additional, Some(Additional::Anything));
        entries.retain(|key, value| {
            if is_object && ROOT.contains(&key.as_str()) {
                return true;
            }
            let mark = self.enter(key);
            let known = schema.below(key);
            match known {
                Some(of) => self.value(of, value, of.embedded),
                None if keeps => {}
                None => self.gone.push(self.path.clone()),
            }
            self.path.truncate(mark);
            known.is_some() || keeps
        });
    }

    fn enter(&mut self, key: &str) -> usize {
        let mark = self.path.len();
        if mark > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        mark
    }
}
