//! `metadata.managedFields`: who manages which fields, since when, and by which sort of write.

use serde_json::{Map, Value, json};

use super::{FieldSet, FieldsError};
use crate::tree;

/// How many managers of updates an object keeps apart; the oldest beyond it are merged into one.
const UPDATE_MANAGERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// What a manager did. The order is that of `managedFields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// The managers of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// RFC 3339, UTC, whole seconds.
    pub(super) time: Option<String>,
    pub(super) fields: FieldSet,
}

/// What tells entries apart. The version of an applier does not: it has one entry whatever it applies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity<'e> {
    pub(super) manager: &'e str,
    pub(super) operation: Operation,
    pub(super) api_version: &'e str,
    pub(super) subresource: &'e str,
}

impl Managers {
    /// # Errors
    /// An entry is not one of `FieldsV1`, or its fields are malformed.
    pub fn decode(managed: &Value) -> Result<Managers, FieldsError> {
        let mut managers = Managers::default();
        for (index, entry) in managed.as_array().into_iter().flatten().enumerate() {
            managers.put(Entry::decode(index, entry)?);
        }
        Ok(managers)
    }

    /// None when nobody manages anything.
    pub fn encode(mut self) -> Option<Value> {
        self.entries.sort_by(|a, b| a.order().cmp(&b.order()));
        let entries: Vec<Value> = self.entries.iter().map(Entry::encode).collect();
        (!entries.is_empty()).then_some(Value::Array(entries))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    pub(super) fn find(&self, identity: Identity<'_>) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.identity() == identity)
    }

    pub(super) fn take(&mut self, identity: Identity<'_>) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.identity() == identity)?;
        Some(self.entries.swap_remove(at))
    }

    /// Replaces the entry of the same identity.
    pub(super) fn put(&mut self, entry: Entry) {
        drop(self.take(entry.identity()));
        self.entries.push(entry);
    }

    /// Takes from every manager the fields that `of` says; who is left with none goes.
    pub(super) fn strip(&mut self, of: impl Fn(&Entry) -> FieldSet) {
        self.entries.retain_mut(|entry| {
            entry.fields = entry.fields.difference(&of(entry));
            !entry.fields.is_empty()
        });
    }

    /// Merges the oldest updates of each version until few enough are left.
    pub(super) fn cap_updates(&mut self) {
        let (mut updates, mut kept): (Vec<Entry>, Vec<Entry>) =
            self.entries.drain(..).partition(|entry| entry.operation == Operation::Update);
        updates.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut surplus = updates.len().saturating_sub(UPDATE_MANAGERS_MAX);
        let mut buckets: Vec<Entry> = Vec::new();
        for entry in updates {
            match buckets.iter_mut().find(|bucket| bucket.api_version == entry.api_version) {
                None if surplus > 0 => buckets.push(entry),
                Some(bucket) if surplus > 0 => {
                    ANCIENT.clone_into(&mut bucket.manager);
                    bucket.subresource.clear();
                    bucket.fields = bucket.fields.union(&entry.fields);
                    bucket.time = entry.time;
                    surplus -= 1;
                }
                None | Some(_) => kept.push(entry),
            }
        }
        self.entries = kept;
        for bucket in buckets {
            // An entry of this name may be among the newer ones.
            let fields = self.find(bucket.identity()).map(|entry| entry.fields.union(&bucket.fields));
            self.put(Entry { fields: fields.unwrap_or_else(|| bucket.fields.clone()), ..bucket });
        }
    }
}

impl Entry {
    fn decode(index: usize, entry: &Value) -> Result<Entry, FieldsError> {
        let text = |name: &str| tree::text(entry, name).to_owned();
        let operation = match tree::text(entry, "operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err(FieldsError::Operation),
        };
        if tree::text(entry, "apiVersion").is_empty() {
            return Err(FieldsError::ApiVersion);
        }
        if tree::text(entry, "fieldsType") != "FieldsV1" {
            return Err(FieldsError::FieldsType(index));
        }
        Ok(Entry {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: Some(text("time")).filter(|time| !time.is_empty()),
            fields: FieldSet::from_fields_v1(tree::get(entry, "fieldsV1"))?,
        })
    }

    fn encode(&self) -> Value {
        let mut entry = Map::new();
        let mut set = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
        set("manager", json!(self.manager));
        set("operation", json!(if self.operation == Operation::Apply { "Apply" } else { "Update" }));
        set("apiVersion", json!(self.api_version));
        if let Some(time) = &self.time {
            set("time", json!(time));
        }
        set("fieldsType", json!("FieldsV1"));
        set("fieldsV1", self.fields.to_fields_v1());
        if !self.subresource.is_empty() {
            set("subresource", json!(self.subresource));
        }
        Value::Object(entry)
    }

    pub(super) fn identity(&self) -> Identity<'_> {
        Identity {
            manager: &self.manager,
            operation: self.operation,
            api_version: if self.operation == Operation::Apply { "" } else { &self.api_version },
            subresource: &self.subresource,
        }
    }

    fn order(&self) -> (Operation, Option<&str>, &str, &str, &str) {
        (self.operation, self.time.as_deref(), &self.manager, &self.api_version, &self.subresource)
    }
}

/// Whether two objects are one but for when their managers last wrote.
pub fn same_but_times(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    same_entries(a, b, "metadata", |a, b| {
        let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
        same_entries(a, b, "managedFields", |a, b| {
            let (Some(a), Some(b)) = (a.as_array(), b.as_array()) else { return a == b };
            // Times order the entries, so those of one may stand otherwise in the other.
            a.len() == b.len() && a.iter().all(|entry| b.iter().any(|other| same_entry(entry, other)))
        })
    })
}

fn same_entry(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let timeless = |entry: &Map<String, Value>| entry.len() - usize::from(entry.contains_key("time"));
    timeless(a) == timeless(b) && a.iter().all(|(name, value)| name == "time" || b.get(name) == Some(value))
}

/// Equality of objects of which the field `name` is compared by `same`.
fn same_entries(
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    name: &str,
    same: impl Fn(&Value, &Value) -> bool,
) -> bool {
    a.len() == b.len()
        && a.iter().all(|(key, value)| match b.get(key) {
            Some(other) if key == name => same(value, other),
            Some(other) => value == other,
            None => false,
        })
}
