//! One change, as managers of several versions see it: each has its fields under the names of its own version.

use serde_json::Value;

use super::managers::Entry;
use super::{Comparison, FieldSet, Writer, compare};
use crate::schema::Schema;
use crate::{Kind, registry};

/// A change of an object of the writer's version.
pub(super) struct Versions<'a> {
    pub(super) writer: &'a Writer,
    schema: &'a Schema,
    before: &'a Value,
    after: &'a Value,
}

impl<'a> Versions<'a> {
    pub(super) fn of(writer: &'a Writer, schema: &'a Schema, before: &'a Value, after: &'a Value) -> Self {
        Self { writer, schema, before, after }
    }

    /// What a manager no longer manages: what was set or went. `own` is the change in the writer's version.
    pub(super) fn touched(&self, entry: &Entry, own: &Comparison) -> FieldSet {
        let all = |comparison: &Comparison| comparison.changed().union(&comparison.removed);
        self.compared(entry).map_or_else(|| all(own), |comparison| all(&comparison))
    }

    /// The change in the version of a manager, if that is another than the writer's and known.
    pub(super) fn compared(&self, entry: &Entry) -> Option<Comparison> {
        let kind = self.writer.kind.filter(|_| entry.api_version != self.writer.api_version)?;
        let other = registry::sibling(kind, &entry.api_version)?;
        let ty = self.schema.type_of(other.definition)?;
        let as_other = |object: &Value| converted(object, kind, other);
        let comparison = compare(self.schema, ty, &as_other(self.before), &as_other(self.after));
        Some(comparison.without(&self.writer.ignored))
    }
}

fn converted(object: &Value, from: &Kind, to: &Kind) -> Value {
    // An object that was not there is none in every version.
    if object.as_object().is_none_or(serde_json::Map::is_empty) {
        return object.clone();
    }
    let mut object = object.clone();
    from.store(&mut object);
    to.serve(&mut object);
    object
}
