//! The events of past revisions, read back from the `rev` table for watches that start behind.

use std::sync::Arc;

use base::Revision;

use super::layout::{self, Place, Recorded, Version};
use super::request::{Event, KeyValue};
use super::tables::{Table, TableError, View};

/// What a scan found, and where the next one goes on.
#[derive(Debug)]
pub(crate) struct Past {
    /// Only revisions with wanted events, and of each only those.
    pub(crate) revisions: Vec<(Revision, Vec<Arc<Event>>)>,
    pub(crate) next: Revision,
}

pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a dyn Fn(&[u8]) -> bool,
    /// Also what the keys held before.
    pub(crate) prev: bool,
    pub(crate) from: Revision,
    pub(crate) to: Revision,
}

/// How much one scan reads, about; a revision is never split.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// Reads whole revisions, from the first wanted one on.
pub(crate) fn read(view: &dyn View, wanted: &Wanted<'_>, budget: Budget) -> Result<Past, TableError> {
    let mut revisions: Vec<(Revision, Vec<Arc<Event>>)> = Vec::new();
    let end = layout::rev_key(wanted.to.next());
    let mut cursor = view.cursor(Table::Rev, &layout::rev_key(wanted.from), Some(&end))?;
    let (mut rows, mut bytes) = (0, 0);
    while let Some(row) = cursor.key() {
        let revision = layout::decode_rev_key(row)?;
        if (rows >= budget.rows || bytes >= budget.bytes) && revision > wanted.from {
            return Ok(Past { revisions, next: revision });
        }
        let mut events = Vec::new();
        for (place, recorded) in layout::decode_revision(cursor.value())?.changes_of(revision) {
            rows += 1;
            let recorded = recorded?;
            if (wanted.key)(&recorded.key) {
                let event = event(view, wanted.prev, recorded, place)?;
                bytes += event.kv.value.len() + event.prev.as_ref().map_or(0, |prev| prev.value.len());
                events.push(Arc::new(event));
            }
        }
        if !events.is_empty() {
            revisions.push((revision, events));
        }
        cursor.advance()?;
    }
    Ok(Past { revisions, next: wanted.to.next() })
}

fn event(view: &dyn View, with_prev: bool, recorded: Recorded, place: Place) -> Result<Event, TableError> {
    let Recorded { key, version, inline, prev } = recorded;
    let kind = version.kind;
    let version = if inline {
        version
    } else {
        let missing = TableError::Corrupt { table: "ver", what: "a recorded version is missing" };
        full_version(view, &key, place)?.ok_or(missing)?
    };
    let prev = match prev {
        Some(prev) if with_prev => previous(view, &key, prev)?,
        Some(_) | None => None,
    };
    Ok(Event { kind, kv: version.into_key_value(key, place), prev })
}

fn previous(view: &dyn View, key: &bytes::Bytes, place: Place) -> Result<Option<KeyValue>, TableError> {
    Ok(full_version(view, key, place)?.map(|version| version.into_key_value(key.clone(), place)))
}

fn full_version(view: &dyn View, key: &[u8], place: Place) -> Result<Option<Version>, TableError> {
    view.get(Table::Ver, &layout::ver_key(key, place))?.map(|row| layout::decode_version(&row)).transpose()
}
