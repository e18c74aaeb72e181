//! Lays an applied configuration over the live object.
//!
//! What the configuration does not name stays. Merged lists keep the configuration's order where it has one, and
//! items that only the live object has stay where they stood in relation to the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::Element;
use super::shape::{Shape, element_of};
use crate::schema::{List, Schema, TypeId};

/// `live` with what `config` says, both of type `ty`.
pub(super) fn merge(schema: &Schema, ty: TypeId, live: &Value, config: &Value) -> Value {
    let shape = Shape::of(schema, ty);
    match (&shape, live, config) {
        (Shape::Struct(_) | Shape::Map(_), Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, wanted) in config {
                let value = match live.get(name) {
                    Some(present) => merge(schema, shape.named(name), present, wanted),
                    None => wanted.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        // Null says nothing of a container that holds something.
        (Shape::Struct(_) | Shape::Map(_), Value::Object(entries), Value::Null) if !entries.is_empty() => {
            live.clone()
        }
        (Shape::List(_), Value::Array(items), Value::Null) if !items.is_empty() => live.clone(),
        (Shape::List(list), Value::Array(live), Value::Array(config)) => {
            items(schema, list, live, config).map_or_else(|| Value::Array(config.clone()), Value::Array)
        }
        (Shape::Leaf | Shape::Struct(_) | Shape::Map(_) | Shape::List(_), _, _) => config.clone(),
    }
}

/// None when an item cannot be told apart: then the configuration's list stands as it is.
fn items(schema: &Schema, list: &List, live: &[Value], config: &[Value]) -> Option<Vec<Value>> {
    let elements = |items: &[Value]| -> Option<Vec<Element>> {
        items.iter().map(|item| element_of(schema, list, item)).collect()
    };
    let (live_elements, config_elements) = (elements(live)?, elements(config)?);
    // Of items that share what should tell them apart none is merged with the configuration's.
    let mut present: BTreeMap<&Element, Option<&Value>> = BTreeMap::new();
    for (element, item) in live_elements.iter().zip(live) {
        present.entry(element).and_modify(|twin| *twin = None).or_insert(Some(item));
    }
    let wanted: BTreeSet<&Element> = config_elements.iter().collect();
    let mut shared: VecDeque<&Element> =
        config_elements.iter().filter(|element| present.contains_key(element)).collect();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let mut left = live_elements.iter().zip(live).peekable();
    for (element, item) in config_elements.iter().zip(config) {
        // Live items go first up to where this one, or the next that both have, stands.
        while let Some((other, kept)) = left.next_if(|(other, _)| Some(other) != shared.front()) {
            if !wanted.contains(other) {
                merged.push(kept.clone());
            }
        }
        if shared.front() == Some(&element) {
            shared.pop_front();
            left.next_if(|(other, _)| *other == element);
        }
        merged.push(match present.get(element) {
            Some(Some(live)) => merge(schema, list.items, live, item),
            Some(None) | None => item.clone(),
        });
    }
    merged.extend(left.filter(|(other, _)| !wanted.contains(other)).map(|(_, kept)| kept.clone()));
    Some(merged)
}

/// The object that is nowhere yet.
pub(super) fn nothing() -> Value {
    Value::Object(Map::new())
}
