//! Which fields an object has.

use serde_json::Value;

use super::shape::{Shape, grouped};
use super::{Element, FieldSet};
use crate::schema::{Schema, TypeId};

/// The set of all fields of `value`, an object of type `ty`.
pub fn fields_of(schema: &Schema, ty: TypeId, value: &Value) -> FieldSet {
    visit(schema, ty, value).below
}

/// What a value adds to the set: itself, and what is below it.
struct Found {
    member: bool,
    below: FieldSet,
}

fn visit(schema: &Schema, ty: TypeId, value: &Value) -> Found {
    let leaf = Found { member: true, below: FieldSet::default() };
    let mut below = FieldSet::default();
    let shape = Shape::of(schema, ty);
    match (&shape, value) {
        (Shape::Struct(_) | Shape::Map(_), Value::Object(entries)) => {
            for (name, value) in entries {
                let found = visit(schema, shape.named(name), value);
                let is_bare = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                let member = found.member || is_bare || shape.field(name).is_none();
                below.put(Element::field(name), member, found.below);
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            let Some(items) = grouped(schema, list, items) else { return leaf };
            for (element, group) in items {
                let found = match group[..] {
                    [item] => visit(schema, list.items, item).below,
                    // Items that share what should tell them apart are managed as one.
                    _ => FieldSet::default(),
                };
                below.put(element, true, found);
            }
        }
        (Shape::Struct(_) | Shape::Map(_) | Shape::List(_), Value::Null) => {}
        (Shape::Leaf | Shape::Struct(_) | Shape::Map(_) | Shape::List(_), _) => return leaf,
    }
    Found { member: false, below }
}
