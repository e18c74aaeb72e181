//! The API group `apiextensions.k8s.io`: definitions of custom kinds.

use serde_json::Value;

use crate::tree;

pub mod custom_resource_definition;

const GROUP: &str = "apiextensions.k8s.io";

/// Whether a condition in the status of `object` holds.
pub fn condition(object: &Value, of_type: &str) -> bool {
    tree::items(object, "status.conditions").iter().any(|condition| {
        tree::text(condition, "type") == of_type && tree::text(condition, "status") == "True"
    })
}

#[cfg(test)]
mod tests;
