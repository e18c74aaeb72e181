//! The kinds of the group flowcontrol.apiserver.k8s.io: which requests wait for which.

pub mod flow_schema;
pub mod priority_level_configuration;

#[cfg(test)]
mod tests;

use crate::{Field, FieldErrors};

pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// The schema and the level of what never waits.
const EXEMPT: &str = "exempt";

/// Conditions of a status: each of a type, and of each type one.
fn validate_conditions(object: &serde_json::Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<&str> = Vec::new();
    for condition in Field::of(object, "status").get("conditions").items() {
        let kind = condition.get("type");
        if seen.contains(&kind.text()) {
            errors.push(kind.duplicate());
        }
        seen.push(kind.text());
        if kind.text().is_empty() {
            errors.push(kind.required("must not be empty"));
        }
    }
    errors
}
