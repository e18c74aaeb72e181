//! The two writes: an update, which takes what it changes, and an apply, which may not.

use std::sync::LazyLock;

use serde_json::Value;

use super::conflict::Conflicts;
use super::managers::{Entry, Identity, Managers, Operation};
use super::merge::{merge, nothing};
use super::remove::without;
use super::versions::Versions;
use super::{Comparison, FieldSet, compare, fields_of};
use crate::schema::{Schema, TypeId};
use crate::{Kind, meta, tree};

/// The annotation in which client-side apply keeps what it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Beyond this, annotations would be refused.
const LAST_APPLIED_BYTES_MAX: usize = 256 * 1024;
/// Who had set what was there when an object without managers is applied to.
const BEFORE: &str = "before-first-apply";
const UNKNOWN: &str = "unknown";
/// The only manager whose client-side history is honoured.
const KUBECTL: &str = "kubectl";

/// Who writes, and how.
#[derive(Clone)]
pub struct Writer {
    pub manager: String,
    pub api_version: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// RFC 3339, UTC, whole seconds.
    pub now: String,
    /// What this sort of write cannot change, so what nobody comes to manage by it.
    pub ignored: FieldSet,
    /// Of a kind of several versions: the one that is written. Managers of others have their fields under other names.
    pub kind: Option<&'static Kind>,
}

impl Writer {
    fn identity(&self, operation: Operation) -> Identity<'_> {
        Identity {
            manager: if self.manager.is_empty() { UNKNOWN } else { &self.manager },
            operation,
            api_version: if operation == Operation::Apply { "" } else { &self.api_version },
            subresource: &self.subresource,
        }
    }

    fn entry(&self, operation: Operation, fields: FieldSet, time: Option<String>) -> Entry {
        Entry {
            manager: self.identity(operation).manager.to_owned(),
            operation,
            api_version: self.api_version.clone(),
            subresource: self.subresource.clone(),
            time,
            fields,
        }
    }
}

/// Whether an apply gives way to those who have set its fields otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    Refuse,
    Force,
}

/// Sets the managed fields of `new`, to which an update by `writer` changes `live`; without `live` it is created.
///
/// The managed fields that `new` brings along replace those of `live` if they can be read, and a list of one empty
/// entry ends the management. What an object without managers has, nobody comes to manage by an update.
pub fn track(schema: &Schema, ty: TypeId, live: Option<&Value>, new: &mut Value, writer: &Writer) {
    let known = live.and_then(|live| live.get("metadata")?.get("managedFields"));
    let sent = meta::remove(new, "managedFields");
    let before = managed_before(known, sent, writer);
    let is_tracked = before.is_some() || live.is_none();
    let comparison = match is_tracked {
        true => compare(schema, ty, live.unwrap_or(&nothing()), new).without(&writer.ignored),
        false => return,
    };
    let managed = if comparison.is_same() {
        before
    } else {
        let mut managers = before.as_ref().map(read).unwrap_or_default();
        let none = nothing();
        let versions = Versions::of(writer, schema, live.unwrap_or(&none), new);
        note_update(&mut managers, &comparison, &versions);
        managers.encode()
    };
    if let Some(managed) = managed {
        meta::set(new, "managedFields", managed);
    }
}

/// What comes of applying `config` to `live`, managed fields included. Without `live` the object is new.
///
/// The result is as the configuration words it, so it is to be decoded and defaulted like any body.
///
/// # Errors
/// Others manage fields that `config` sets otherwise.
pub fn apply(
    schema: &Schema,
    ty: TypeId,
    live: Option<&Value>,
    config: &Value,
    (writer, on_conflict): (&Writer, OnConflict),
) -> Result<Value, Conflicts> {
    let mut base = live.cloned().unwrap_or_else(nothing);
    let mut managers = meta::remove(&mut base, "managedFields").as_ref().map(read).unwrap_or_default();
    if managers.is_empty() && live.is_some() {
        let all = compare(schema, ty, &nothing(), &base).without(&writer.ignored);
        let before = Writer { manager: BEFORE.to_owned(), kind: None, ..writer.clone() };
        note_update(&mut managers, &all, &Versions::of(&before, schema, &base, &base));
    }
    let applied = fields_of(schema, ty, config).recursive_difference(&writer.ignored);
    let last = managers.take(writer.identity(Operation::Apply));
    let mut new = merge(schema, ty, &base, config);
    if let Some(last) = &last {
        let managed = managers.iter().fold(applied.clone(), |all, entry| all.union(&entry.fields));
        new = pruned(schema, ty, new, &last.fields, &managed);
    }
    let comparison = compare(schema, ty, &base, &new).without(&writer.ignored);
    let changed = comparison.changed();
    let versions = Versions::of(writer, schema, &base, &new);
    if on_conflict == OnConflict::Refuse {
        let mut conflicts = conflicts(&managers, &changed, &versions);
        if writer.manager == KUBECTL && !conflicts.is_empty() {
            conflicts = conflicts.beyond(&applied_by_client(schema, ty, &base, writer));
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }
    managers.strip(|entry| versions.touched(entry, &comparison));
    let own = applied.difference(&NEVER_MANAGED);
    if !own.is_empty() {
        let stands = |last: &Entry| last.fields == own && last.api_version == writer.api_version;
        let time = match last {
            Some(last) if new == base && stands(&last) => last.time,
            Some(_) | None => Some(writer.now.clone()),
        };
        managers.put(writer.entry(Operation::Apply, own, time));
    }
    if writer.manager == KUBECTL {
        renew_last_applied(&mut new, config);
    }
    if let Some(managed) = managers.encode() {
        meta::set(&mut new, "managedFields", managed);
    }
    Ok(new)
}

/// The managed fields that a write starts from. Only a write of the object itself may bring its own.
fn managed_before(known: Option<&Value>, sent: Option<Value>, writer: &Writer) -> Option<Value> {
    let is_reset = |sent: &Value| matches!(sent.as_array().map(Vec::as_slice), Some([Value::Object(only)]) if only.is_empty());
    match sent {
        Some(sent) if writer.subresource.is_empty() && Some(&sent) != known => {
            match Managers::decode(&sent) {
                _ if is_reset(&sent) => None,
                Ok(managers) if !managers.is_empty() => managers.encode(),
                Ok(_) | Err(_) => known.cloned(),
            }
        }
        Some(_) | None => known.cloned(),
    }
}

/// What nobody could read counts as nothing.
fn read(managed: &Value) -> Managers {
    Managers::decode(managed).unwrap_or_default()
}

/// The writer comes to manage what it changed, and nobody what is gone.
fn note_update(managers: &mut Managers, comparison: &Comparison, versions: &Versions<'_>) {
    let writer = versions.writer;
    let changed = comparison.changed();
    let own = changed.difference(&NEVER_MANAGED);
    let before = managers.find(writer.identity(Operation::Update)).map(|entry| entry.fields.clone());
    managers.strip(|entry| versions.touched(entry, comparison));
    if !own.is_empty() {
        let kept = before.unwrap_or_default().difference(&comparison.removed);
        managers.put(writer.entry(Operation::Update, kept.union(&own), Some(writer.now.clone())));
    }
    managers.cap_updates();
}

/// `merged` without what its applier applied last, applies no more, and nobody else manages.
fn pruned(schema: &Schema, ty: TypeId, merged: Value, last: &FieldSet, managed: &FieldSet) -> Value {
    if last.difference(managed).is_empty() {
        return merged;
    }
    let named = |set: &FieldSet| set.with_named_fields(schema, ty);
    let fields = |value: &Value| named(&fields_of(schema, ty, value));
    let (last, all) = (named(last), fields(&merged));
    let bare = fields(&without(schema, ty, &merged, &last));
    // With an item went all below it: put back what somebody manages, then what the applier never did.
    let unmanaged = all.difference(&bare.union(&named(managed)));
    let left = fields(&without(schema, ty, &merged, &unmanaged));
    without(schema, ty, &merged, &all.difference(&left).intersection(&last))
}

fn conflicts(managers: &Managers, changed: &FieldSet, versions: &Versions<'_>) -> Conflicts {
    let with = |entry| match versions.compared(entry) {
        Some(comparison) => comparison.changed(),
        None => changed.clone(),
    };
    Conflicts::of(managers.iter().map(|entry| (entry, entry.fields.intersection(&with(entry)))))
}

/// What client-side apply set, and nobody has changed since: kubectl may take it over.
fn applied_by_client(schema: &Schema, ty: TypeId, live: &Value, writer: &Writer) -> FieldSet {
    let history = meta::annotation(live, LAST_APPLIED).unwrap_or_default();
    match serde_json::from_str::<Value>(history) {
        Ok(config) if tree::text(&config, "apiVersion") == writer.api_version => {
            let differing = compare(schema, ty, &config, live);
            let differing = differing.changed().union(&differing.removed);
            fields_of(schema, ty, &config).difference(&differing)
        }
        Ok(_) | Err(_) => FieldSet::default(),
    }
}

/// Keeps the history of client-side apply, where there is one, in step.
fn renew_last_applied(object: &mut Value, config: &Value) {
    let Some(annotations) = tree::get_mut(object, "metadata.annotations").and_then(Value::as_object_mut)
    else {
        return;
    };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(own) = tree::get_mut(&mut config, "metadata.annotations").and_then(Value::as_object_mut) {
        own.shift_remove(LAST_APPLIED);
    }
    config.sort_all_objects();
    let history = format!("{config}\n");
    if history.len() > LAST_APPLIED_BYTES_MAX {
        annotations.shift_remove(LAST_APPLIED);
    } else {
        annotations.insert(LAST_APPLIED.to_owned(), history.into());
    }
}

/// What the server sets and nobody manages.
static NEVER_MANAGED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_names(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});
