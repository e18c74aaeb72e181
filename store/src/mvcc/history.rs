//! Which revisions are kept, and which one was the newest at a moment.
//!
//! Each revision has a mark with the leader's time and with the bytes that were written up to it. Neither ever falls,
//! so both questions are a binary search over the revisions that are kept.

use base::Revision;

use super::keyspace::Horizon;
use super::layout::{self, Mark};
use super::tables::{Table, TableError, View};

/// How much history a compaction leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// What was current at this time stays readable, in milliseconds since 1970; `None`: age is no reason to forget.
    pub(crate) since_ms: Option<i64>,
    /// How many bytes of changes stay; `None`: size is no reason to forget.
    pub(crate) bytes: Option<u64>,
    /// How many bytes of changes are forgotten at once.
    pub(crate) step_bytes: u64,
}

/// The newest revision at `time_ms`; `None`: it is not kept any more.
pub(crate) fn at_time(
    view: &dyn View,
    horizon: Horizon,
    time_ms: i64,
) -> Result<Option<Revision>, TableError> {
    let found = last_where(view, horizon, |mark| mark.time_ms <= time_ms)?;
    // Before the first write of a store that forgot nothing there was the empty store.
    let empty = || (horizon.compacted <= Revision::new(1)).then(|| Revision::new(1));
    Ok(found.or_else(empty))
}

/// When the oldest readable revision was made.
pub(crate) fn oldest_ms(view: &dyn View, horizon: Horizon) -> Result<Option<i64>, TableError> {
    Ok(mark_from(view, horizon.compacted, horizon.newest)?.map(|(_, mark)| mark.time_ms))
}

/// The next revision to compact to; `None`: there is nothing to forget yet.
pub(crate) fn next_compaction(
    view: &dyn View,
    horizon: Horizon,
    keep: Keep,
) -> Result<Option<Revision>, TableError> {
    let Some((_, newest)) = mark_from(view, horizon.newest, horizon.newest)? else { return Ok(None) };
    let by_age = match keep.since_ms {
        Some(since_ms) => last_where(view, horizon, |mark| mark.time_ms <= since_ms)?,
        None => None,
    };
    let by_size = match keep.bytes {
        Some(bytes) => last_where(view, horizon, |mark| newest.written - mark.written >= bytes)?,
        None => None,
    };
    let Some(target) = by_age.max(by_size).filter(|target| *target > horizon.compacted) else {
        return Ok(None);
    };
    let Some((_, forgotten)) = mark_from(view, horizon.compacted, horizon.newest)? else { return Ok(None) };
    let step = last_where(view, horizon, |mark| mark.written <= forgotten.written + keep.step_bytes)?;
    // One revision may be larger than a step.
    let next = mark_from(view, horizon.compacted.next(), horizon.newest)?.map(|(revision, _)| revision);
    Ok(step.max(next).map(|step| step.min(target)))
}

/// The last readable revision whose mark is early. Every mark before an early one is early.
fn last_where(
    view: &dyn View,
    horizon: Horizon,
    early: impl Fn(&Mark) -> bool,
) -> Result<Option<Revision>, TableError> {
    let (mut from, mut to) = (horizon.compacted.get().max(1), horizon.newest.get());
    let mut last = None;
    while from <= to {
        let middle = from + (to - from) / 2;
        match mark_from(view, Revision::new(middle), Revision::new(to))? {
            Some((revision, mark)) if early(&mark) => {
                last = Some(revision);
                from = revision.get() + 1;
            }
            Some(_) | None => to = middle - 1,
        }
    }
    Ok(last)
}

/// The first revision of `from..=to` that exists: recovery leaves a gap.
fn mark_from(view: &dyn View, from: Revision, to: Revision) -> Result<Option<(Revision, Mark)>, TableError> {
    if let Some(mark) = layout::mark_at(view, from)? {
        return Ok(Some((from, mark)));
    }
    let cursor = view.cursor(Table::Rev, &layout::rev_key(from.next()), Some(&layout::rev_key(to.next())))?;
    let Some(row) = cursor.key() else { return Ok(None) };
    Ok(Some((layout::decode_rev_key(row)?, layout::decode_revision(cursor.value())?.mark)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryTables;
    use crate::disk::{StateDisk, read};
    use crate::mvcc::tables::Changes;

    /// Revisions with their times; each wrote ten bytes.
    fn tables(revisions: &[(i64, i64)]) -> MemoryTables {
        let tables = MemoryTables::default();
        let mut changes = Changes::default();
        for (at, (revision, time_ms)) in revisions.iter().enumerate() {
            let mark = Mark { hash: 0, time_ms: *time_ms, written: 10 * (at as u64 + 1) };
            changes.put(
                Table::Rev,
                layout::rev_key(Revision::new(*revision)),
                layout::encode_revision(&mark, &[]),
            );
        }
        tables.write(&changes).expect("memory takes it");
        tables
    }

    fn horizon(compacted: i64, newest: i64) -> Horizon {
        Horizon { compacted: Revision::new(compacted), newest: Revision::new(newest) }
    }

    const MADE: [(i64, i64); 6] =
        [(2, 100), (3, 100), (4, 200), (5, 350), (1_000_006, 350), (1_000_007, 400)];

    #[test]
    fn a_time_names_the_newest_revision_of_that_moment() {
        let tables = tables(&MADE);
        let at = |compacted, time_ms| {
            let found = read(&tables, |view| at_time(view, horizon(compacted, 1_000_007), time_ms));
            found.expect("sound rows").map(Revision::get)
        };
        assert_eq!(at(0, 99), Some(1));
        assert_eq!(at(0, 100), Some(3));
        assert_eq!(at(0, 199), Some(3));
        assert_eq!(at(0, 350), Some(1_000_006));
        assert_eq!(at(0, 399), Some(1_000_006));
        assert_eq!(at(0, 9_999), Some(1_000_007));
        assert_eq!(at(4, 200), Some(4));
        assert_eq!(at(4, 199), None);
        let oldest = read(&tables, |view| oldest_ms(view, horizon(4, 1_000_007)));
        assert_eq!(oldest.expect("sound rows"), Some(200));
    }

    #[test]
    fn the_older_of_age_and_size_decides_and_a_step_bounds_both() {
        let tables = tables(&MADE);
        let next = |compacted, since_ms, bytes, step_bytes| {
            let keep = Keep { since_ms, bytes, step_bytes };
            let found = read(&tables, |view| next_compaction(view, horizon(compacted, 1_000_007), keep));
            found.expect("sound rows").map(Revision::get)
        };
        assert_eq!(next(0, None, None, 999), None);
        assert_eq!(next(0, Some(99), None, 999), None);
        assert_eq!(next(0, Some(210), None, 999), Some(4));
        assert_eq!(next(4, Some(210), None, 999), None);
        assert_eq!(next(0, None, Some(20), 999), Some(5));
        assert_eq!(next(0, Some(210), Some(20), 999), Some(5));
        assert_eq!(next(0, Some(350), Some(40), 999), Some(1_000_006));
        assert_eq!(next(0, Some(350), None, 10), Some(3));
        assert_eq!(next(3, Some(350), None, 10), Some(4));
        assert_eq!(next(5, Some(350), None, 0), Some(1_000_006));
    }
}
