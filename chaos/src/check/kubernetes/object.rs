//! An object as the store holds it, and the few things about it that many ask.

use serde_json::Value;

use super::KEYS;

/// Names are of its key.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) resource: &'a str,
    /// Empty for what has none.
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    value: Value,
}

/// Who it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner<'a> {
    pub(super) kind: &'a str,
    pub(super) uid: &'a str,
    pub(super) is_controller: bool,
}

impl<'a> Object<'a> {
    /// None if the key is no object's, or the value is not one.
    pub(super) fn of(key: &'a str, value: &str) -> Option<Self> {
        let parts: Vec<&str> = key.strip_prefix(KEYS)?.split('/').collect();
        let (resource, namespace, name) = match parts[..] {
            [resource, name] => (resource, "", name),
            [resource, namespace, name] => (resource, namespace, name),
            _ => return None,
        };
        let value: Value = serde_json::from_str(value).ok().filter(Value::is_object)?;
        Some(Self { resource, namespace, name, value })
    }

    pub(super) fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer)
    }

    /// Empty if it is not there.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or("")
    }

    pub(super) fn number(&self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(Value::as_i64)
    }

    pub(super) fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = Owner<'_>> {
        self.list("/metadata/ownerReferences").iter().map(|owner| Owner {
            kind: owner["kind"].as_str().unwrap_or(""),
            uid: owner["uid"].as_str().unwrap_or(""),
            is_controller: owner["controller"] == true,
        })
    }

    /// The uid of its controller, if that is of the kind.
    pub(super) fn controlled_by(&self, kind: &str) -> Option<&str> {
        self.owners().find(|owner| owner.is_controller && owner.kind == kind).map(|owner| owner.uid)
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.at("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
    }

    pub(super) fn is_pod(&self) -> bool {
        self.resource == "pods"
    }

    /// A pod that has not ended, even if it is about to.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.text("/status/phase"), "Succeeded" | "Failed")
    }

    /// A pod that its controller counts.
    pub(super) fn is_active(&self) -> bool {
        self.is_live() && !self.is_terminating()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.condition("Ready") == "True"
    }

    /// The status of a condition; empty without one.
    pub(super) fn condition(&self, kind: &str) -> &str {
        let mut conditions = self.list("/status/conditions").iter();
        let found = conditions.find(|condition| condition["type"] == kind);
        found.and_then(|condition| condition["status"].as_str()).unwrap_or("")
    }

    /// `namespace/name`, for people.
    pub(super) fn shown(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}
