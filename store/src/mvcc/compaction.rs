//! Cleaning after a compaction: the rows that no allowed read can see any more.
//!
//! The request only moves a number (`machine`); this walks what changed in between, in steps, at each node's own pace.
//! The events at the compacted revision itself stay, deletions included: a watch may start there.

use base::Revision;

use super::layout;
use super::request::EventKind;
use super::tables::{Changes, Table, TableError, View};
use crate::seeded::{self, Bug};

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
    let start = layout::rev_key(from);
    let end = layout::rev_key(compacted.next());
    let mut cursor = view.cursor(Table::Rev, &start, Some(&end))?;
    let mut seen = 0;
    while let Some(row) = cursor.key() {
        let revision = layout::decode_rev_key(row)?;
        if seen >= rows_max && revision > from && revision < compacted {
            clean_below = revision;
            break;
        }
        for (place, recorded) in layout::decode_revision(cursor.value())?.changes_of(revision) {
            let recorded = recorded?;
            if let Some(prev) = recorded.prev {
                let prev = if seeded::is(Bug::CompactionEatsLiveKey) { place } else { prev };
                changes.delete(Table::Ver, layout::ver_key(&recorded.key, prev));
            }
            if recorded.version.kind == EventKind::Delete && revision < compacted {
                changes.delete(Table::Ver, layout::ver_key(&recorded.key, place));
            }
            seen += 1;
        }
        seen += 1;
        cursor.advance()?;
    }
    if seeded::is(Bug::CompactionEatsEvents) && clean_below == compacted {
        changes.delete(Table::Rev, layout::rev_key(compacted));
    }
    // From where the last step ended: ranges that overlap would pile up in front of every read of the table.
    changes.delete_range(Table::Rev, start, layout::rev_key(clean_below));
    Ok(Step { changes, clean_below })
}
