//! The events of past revisions, read back from the `rev` table for a watch that starts behind.

use std::sync::Arc;

use base::Revision;

use super::layout::{self, Place, Recorded, Version};
use super::request::{Event, KeyValue, Watch, WatchBatch};
use super::tables::{Table, TableError, View};

/// What a scan found, and where the next one goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) batches: Vec<WatchBatch>,
    pub(crate) next: Revision,
}

/// Reads whole revisions from `from` up to `newest`, stopping after about `rows_max` rows.
pub(crate) fn read(
    view: &dyn View,
    watch: &Watch,
    from: Revision,
    newest: Revision,
    rows_max: usize,
) -> Result<Past, TableError> {
    let mut batches: Vec<WatchBatch> = Vec::new();
    let end = layout::rev_start(newest.next());
    let mut cursor = view.cursor(Table::Rev, &layout::rev_start(from), Some(&end))?;
    let mut seen = 0;
    while let Some(row) = cursor.key() {
        let place = layout::decode_rev_key(row)?;
        if seen >= rows_max && place.sub == 0 && place.revision > from {
            return Ok(Past { batches, next: place.revision });
        }
        seen += 1;
        if !layout::is_hash(place) {
            let recorded = layout::decode_recorded(cursor.value())?;
            if watch.span.contains(&recorded.key) {
                let event = Arc::new(event(view, watch, recorded, place)?);
                match batches.last_mut() {
                    Some(last) if last.revision == place.revision => last.events.push(event),
                    Some(_) | None => {
                        batches.push(WatchBatch { revision: place.revision, events: vec![event] });
                    }
                }
            }
        }
        cursor.advance()?;
    }
    Ok(Past { batches, next: newest.next() })
}

fn event(view: &dyn View, watch: &Watch, recorded: Recorded, place: Place) -> Result<Event, TableError> {
    let Recorded { key, version, inline, prev } = recorded;
    let kind = version.kind;
    let version = if inline {
        version
    } else {
        let missing = TableError::Corrupt { table: "ver", what: "a recorded version is missing" };
        full_version(view, &key, place)?.ok_or(missing)?
    };
    let prev = match prev {
        Some(prev) if watch.prev_kv => previous(view, &key, prev)?,
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
