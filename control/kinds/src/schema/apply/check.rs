//! Whether an applied configuration is one of its type, in the words of structured-merge-diff.
//!
//! A configuration is no whole object, so what it leaves out is no error; but it may name no field that the schema
//! does not declare, and no item of a keyed list twice.

use serde_json::Value;

use super::shape::element_of;
use super::{Atom, Element};
use crate::schema::{List, ListKind, Scalar, Schema, Type, TypeId};

/// Beyond this many complaints a reader learns nothing more.
const COMPLAINTS_MAX: usize = 100;

/// # Errors
/// All that is wrong, as one message.
pub fn check_declared(schema: &Schema, ty: TypeId, config: &Value) -> Result<(), String> {
    let mut checker = Checker { schema, path: Vec::new(), complaints: Vec::new() };
    checker.value(ty, config);
    match &checker.complaints[..] {
        [] => Ok(()),
        [only] => Err(only.clone()),
        all => Err(format!("errors:\n  {}", all.join("\n  "))),
    }
}

struct Checker<'s> {
    schema: &'s Schema,
    path: Vec<Element>,
    complaints: Vec<String>,
}

impl Checker<'_> {
    fn value(&mut self, ty: TypeId, value: &Value) {
        let schema = self.schema;
        match (schema.get(ty), value) {
            (_, Value::Null) => {}
            (Type::Scalar(scalar), value) => self.scalar(*scalar, value),
            (Type::Struct(of), Value::Object(entries)) => {
                for (name, value) in entries {
                    self.below(Element::field(name), |checker| match of.field(name) {
                        Some(field) => checker.value(field.ty, value),
                        None if of.open => {}
                        None => checker.complain("field not declared in schema"),
                    });
                }
            }
            (Type::Map(of), Value::Object(entries)) => {
                for (name, value) in entries {
                    self.below(Element::field(name), |checker| checker.value(of.values, value));
                }
            }
            (Type::List(of), Value::Array(items)) => self.items(of, items),
            (Type::Struct(_) | Type::Map(_), value) => {
                self.complain(&format!("expected map, got {}", shown(value)))
            }
            (Type::List(_), value) => self.complain(&format!("expected list, got {}", shown(value))),
        }
    }

    fn items(&mut self, list: &List, items: &[Value]) {
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let element = match &list.kind {
                ListKind::Atomic => Element::Index(i64::try_from(index).unwrap_or(i64::MAX)),
                ListKind::Set | ListKind::Map { .. } => match element_of(self.schema, list, item) {
                    Some(element) => element,
                    None => {
                        return self
                            .complain(&format!("element {index}: {}", unidentified(&list.kind, item)));
                    }
                },
            };
            if !seen.insert(element.clone()) {
                self.complain(&format!("duplicate entries for key {element}"));
            }
            self.below(element, |checker| checker.value(list.items, item));
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value) {
        let problem = match (scalar, value) {
            (Scalar::Object | Scalar::Any, _)
            | (Scalar::String | Scalar::Bytes | Scalar::Duration, Value::String(_))
            | (Scalar::Boolean, Value::Bool(_))
            | (Scalar::Int32 | Scalar::Int64 | Scalar::Double, Value::Number(_)) => return,
            (Scalar::String | Scalar::Bytes | Scalar::Duration, _) => {
                format!("expected string, got &value.valueUnstructured{{Value:{}}}", value)
            }
            (Scalar::Boolean, _) => format!("expected boolean, got {}", shown(value)),
            (Scalar::Int32 | Scalar::Int64 | Scalar::Double, _) => {
                format!("expected numeric (int or float), got {}", go_type(value))
            }
            (Scalar::Quantity | Scalar::IntOrString | Scalar::Time | Scalar::MicroTime, _) => {
                if Atom::of(value).is_some() {
                    return;
                }
                format!("expected any scalar, got {}", shown(value))
            }
        };
        self.complain(&problem);
    }

    fn below(&mut self, element: Element, check: impl FnOnce(&mut Self)) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.path.push(element);
            check(self);
            self.path.pop();
        }
    }

    fn complain(&mut self, problem: &str) {
        let path: String = self.path.iter().map(ToString::to_string).collect();
        self.complaints.push(match path.is_empty() {
            true => problem.to_owned(),
            false => format!("{path}: {problem}"),
        });
    }
}

fn unidentified(kind: &ListKind, item: &Value) -> String {
    match (kind, item) {
        (ListKind::Map { .. }, Value::Null) => {
            "associative list with keys may not have a null element".to_owned()
        }
        (ListKind::Map { keys }, Value::Object(_)) => {
            let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
            format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                keys.join(" ")
            )
        }
        (ListKind::Map { .. }, _) => "associative list with keys may not have non-map elements".to_owned(),
        (_, Value::Object(_)) => "associative list without keys has an element that's a map type".to_owned(),
        (_, Value::Array(_)) => "not supported: associative list with lists as elements".to_owned(),
        (_, _) => "associative list without keys has an element that's an explicit null".to_owned(),
    }
}

/// A value as Go prints one inside its wrapper.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("&{{{text}}}")
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
