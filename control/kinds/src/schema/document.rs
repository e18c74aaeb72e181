//! A YAML or JSON document as it stands, before anyone asks what it is: an applied configuration.

use serde_json::Value;

use super::decode::DecodeError;
use super::node::Node;
use super::{json, yaml};

/// Nulls and empty values included.
#[derive(Debug)]
pub struct Document {
    pub value: Value,
    /// Keys that stand twice in one object; the last one counts.
    pub duplicates: Vec<String>,
}

/// # Errors
/// The text is no YAML, or nests too deep.
pub fn read_document(text: &[u8]) -> Result<Document, DecodeError> {
    let node = yaml::read(text)?;
    let mut duplicates = Vec::new();
    find_duplicates(&node, &mut duplicates);
    Ok(Document { value: node.into_value(), duplicates })
}

/// A JSON or YAML body of which nothing is known; `duplicates` are whole paths: `spec.list[0].x`.
///
/// # Errors
/// The text is no JSON, or no YAML, or nests too deep.
pub fn read_object(text: &[u8], is_yaml: bool) -> Result<Document, DecodeError> {
    let node = if is_yaml { yaml::read(text)? } else { json::read(text)? };
    let mut duplicates = Vec::new();
    find_duplicate_paths(&node, "", &mut duplicates);
    Ok(Document { value: node.into_value(), duplicates })
}

fn find_duplicate_paths(node: &Node<'_>, path: &str, found: &mut Vec<String>) {
    match node {
        Node::Object(entries) => {
            let mut seen = std::collections::HashSet::with_capacity(entries.len());
            for (key, value) in entries {
                let at = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
                find_duplicate_paths(value, &at, found);
                if !seen.insert(key) {
                    found.push(at);
                }
            }
        }
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                find_duplicate_paths(item, &format!("{path}[{index}]"), found);
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => {}
    }
}

fn find_duplicates(node: &Node<'_>, found: &mut Vec<String>) {
    match node {
        Node::Object(entries) => {
            let mut seen = std::collections::HashSet::with_capacity(entries.len());
            for (key, value) in entries {
                if !seen.insert(key) {
                    found.push(key.to_string());
                }
                find_duplicates(value, found);
            }
        }
        Node::List(items) => items.iter().for_each(|item| find_duplicates(item, found)),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => {}
    }
}
