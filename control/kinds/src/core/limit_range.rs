//! LimitRange: the least and the most that pods of a namespace may ask for, and what they get if they do not ask.

use serde_json::{Map, Value};

use crate::quantity::{Quantity, validate_resources};
use crate::{Column, Field, FieldError, FieldErrors, Kind, Strategy, tree};

pub static LIMIT_RANGE: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    definition: "io.k8s.api.core.v1.LimitRange",
    columns: &[Column::NAME, Column::CREATED_AT],
    strategy: &Strategy {
        defaults,
        validate_create: validate,
        validate_update: |object, _| validate(object),
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const AMOUNTS: &[&str] = &["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"];

/// What is said of one bound holds for the others where they are silent.
fn defaults(object: &mut Value) {
    for item in tree::items_mut(object, "spec.limits") {
        if tree::text(item, "type") != "Container" {
            continue;
        }
        for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let given: Map<String, Value> = tree::map(item, from).cloned().unwrap_or_default();
            if given.is_empty() {
                continue;
            }
            let mut filled = tree::map(item, to).cloned().unwrap_or_default();
            for (resource, amount) in given {
                filled.entry(resource).or_insert(amount);
            }
            tree::set(item, to, filled);
        }
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<&str> = Vec::new();
    for item in Field::of(object, "spec").get("limits").items() {
        let kind = item.get("type");
        match kind.text() {
            "" => errors.push(kind.required("")),
            text if seen.contains(&text) => {
                errors.push(FieldError::duplicate(format!("{}.type", item.path), text));
            }
            text => seen.push(text),
        }
        if kind.text() == "Pod" {
            for field in ["default", "defaultRequest"] {
                if item.get(field).entries().next().is_some() {
                    errors.push(item.get(field).forbidden("may not be specified when `type` is 'Pod'"));
                }
            }
        }
        errors.extend(validate_item(&item));
    }
    errors
}

fn validate_item(item: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for field in AMOUNTS {
        errors.extend(validate_resources(&item.get(field)));
    }
    // Each may not be above any that comes after it.
    let order = ["min", "defaultRequest", "default", "max"];
    for (place, low) in order.iter().enumerate() {
        for high in &order[place + 1..] {
            errors.extend(too_large(item, low, high));
        }
    }
    errors
}

fn too_large(item: &Field<'_>, low: &str, high: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (resource, lower) in item.get(low).entries() {
        let upper = item.get(high).value.get(resource).and_then(Quantity::of);
        let (Some(amount), Some(upper)) = (Quantity::of(lower.value), upper) else { continue };
        if amount > upper {
            let words = |name: &str| {
                if name == "defaultRequest" { "default request".to_owned() } else { name.to_owned() }
            };
            let detail =
                format!("{} value {amount} is greater than {} value {upper}", words(low), words(high));
            errors.push(FieldError::invalid(&lower.path, amount.to_string(), detail));
        }
    }
    errors
}
