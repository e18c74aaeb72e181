//! Takes fields out of an object.

use serde_json::{Map, Value};

use super::shape::{Shape, element_of};
use super::{Element, FieldSet};
use crate::schema::{Schema, TypeId};

/// `value` without the members of `gone`. A container that loses everything becomes null: it was there.
pub(super) fn without(schema: &Schema, ty: TypeId, value: &Value, gone: &FieldSet) -> Value {
    let shape = Shape::of(schema, ty);
    match (&shape, value) {
        (Shape::Struct(_) | Shape::Map(_), Value::Object(entries)) if !entries.is_empty() => {
            let mut left = Map::with_capacity(entries.len());
            for (name, value) in entries {
                let node = gone.node(&Element::field(name));
                match node {
                    Some(node) if node.member => {}
                    Some(node) => {
                        let rest = without(schema, shape.named(name), value, &node.below);
                        left.insert(name.clone(), rest);
                    }
                    None => drop(left.insert(name.clone(), value.clone())),
                }
            }
            if left.is_empty() { Value::Null } else { Value::Object(left) }
        }
        (Shape::List(list), Value::Array(items)) if !items.is_empty() => {
            let rest = |item: &Value| {
                let node = element_of(schema, list, item).and_then(|element| gone.node(&element));
                match node {
                    Some(node) if node.member => None,
                    Some(node) => Some(without(schema, list.items, item, &node.below)),
                    None => Some(item.clone()),
                }
            };
            let left: Vec<Value> = items.iter().filter_map(rest).collect();
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        (Shape::Leaf | Shape::Struct(_) | Shape::Map(_) | Shape::List(_), _) => value.clone(),
    }
}
