//! Cleaning after a compaction: the rows that no allowed read can see any more.
//!
//! The request only moves a number (`machine`); this walks what changed in between, in steps, at each node's own pace.
//! The events at the compacted revision itself stay, deletions included: a watch may start there.

use base::Revision;

use super::layout;
use super::request::EventKind;
use super::tables::{Changes, Table, TableError, View};

/// One step of cleaning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) changes: Changes,
    /// Everything below is clean; cleaning goes on from here.
    pub(crate) clean_below: Revision,
}

/// Collects what the revisions `from..=compacted` superseded, about `rows_max` rows at a time.
pub(crate) fn step(
    view: &dyn View,
    from: Revision,
    compacted: Revision,
    rows_max: usize,
) -> Result<Step, TableError> {
    let mut changes = Changes::default();
    let mut clean_below = compacted;
    let start = layout::rev_start(from);
    let end = layout::rev_start(compacted.next());
    let mut cursor = view.cursor(Table::Rev, &start, Some(&end))?;
    let mut seen = 0;
    while let Some(row) = cursor.key() {
        let place = layout::decode_rev_key(row)?;
        let may_stop = place.sub == 0 && place.revision > from && place.revision < compacted;
        if seen >= rows_max && may_stop {
            clean_below = place.revision;
            break;
        }
        if !layout::is_hash(place) {
            let recorded = layout::decode_recorded(cursor.value())?;
            if let Some(prev) = recorded.prev {
                changes.delete(Table::Ver, layout::ver_key(&recorded.key, prev));
            }
            if recorded.version.kind == EventKind::Delete && place.revision < compacted {
                changes.delete(Table::Ver, layout::ver_key(&recorded.key, place));
            }
        }
        seen += 1;
        cursor.advance()?;
    }
    // From where the last step ended: ranges that overlap would pile up in front of every read of the table.
    changes.delete_range(Table::Rev, start, layout::rev_start(clean_below));
    Ok(Step { changes, clean_below })
}
