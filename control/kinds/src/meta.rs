//! Metadata: accessors, and the validation that all kinds share.

use serde_json::{Map, Value};

use crate::tree;

mod validate;

pub(crate) use validate::{validate, validate_update};
pub use validate::{validate_annotations, validate_labels, validate_name};

pub fn name(object: &Value) -> &str {
    tree::text(object, "metadata.name")
}

/// Empty for objects outside namespaces.
pub fn namespace(object: &Value) -> &str {
    tree::text(object, "metadata.namespace")
}

pub fn generate_name(object: &Value) -> &str {
    tree::text(object, "metadata.generateName")
}

pub fn uid(object: &Value) -> &str {
    tree::text(object, "metadata.uid")
}

pub fn resource_version(object: &Value) -> &str {
    tree::text(object, "metadata.resourceVersion")
}

pub fn generation(object: &Value) -> i64 {
    tree::int(object, "metadata.generation").unwrap_or_default()
}

pub fn creation_timestamp(object: &Value) -> Option<base::Timestamp> {
    tree::text(object, "metadata.creationTimestamp").parse().ok()
}

/// When the object goes, as text; none while it is not being deleted.
pub fn deletion_timestamp(object: &Value) -> Option<&str> {
    tree::get(object, "metadata.deletionTimestamp").as_str()
}

pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    tree::map(object, "metadata.labels")
}

pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    tree::map(object, "metadata.annotations")
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

pub fn finalizers(object: &Value) -> Vec<&str> {
    tree::items(object, "metadata.finalizers").iter().filter_map(Value::as_str).collect()
}

/// One owner of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

pub fn owner_references(object: &Value) -> Vec<OwnerReference<'_>> {
    tree::items(object, "metadata.ownerReferences")
        .iter()
        .map(|reference| OwnerReference {
            api_version: tree::text(reference, "apiVersion"),
            kind: tree::text(reference, "kind"),
            name: tree::text(reference, "name"),
            uid: tree::text(reference, "uid"),
            controller: tree::flag(reference, "controller"),
            block_owner_deletion: tree::flag(reference, "blockOwnerDeletion"),
        })
        .collect()
}

/// Sets the field `name` of the metadata.
pub fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    tree::set(object, &format!("metadata.{name}"), value);
}

/// Takes out the field `name` of the metadata.
pub fn remove(object: &mut Value, name: &str) -> Option<Value> {
    tree::remove(object, &format!("metadata.{name}"))
}

/// What a client may leave out of an update and the server keeps.
const INHERITED: &[&str] = &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];

pub(crate) fn inherit(object: &mut Value, old: &Value) {
    for field in INHERITED {
        let path = format!("metadata.{field}");
        let absent = match tree::get(object, &path) {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if absent {
            tree::copy(object, &path, old);
        }
    }
}
