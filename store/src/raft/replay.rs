//! The rest of a log that the tables lack, read and applied while no node runs.

use std::io;

use openraft::EntryPayload;

use super::record;
use super::replica::Replica;
use super::types::{Entry, LogId, StoredMembership};
use crate::disk::{APPLIED, LogDisk, StateDisk, read};
use crate::mvcc::tables::{Table, TableError};
use crate::status::Member;

const PAGE_ENTRIES: u64 = 512;

/// A log beside its tables.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) applied: Option<LogId>,
    /// Up to where a majority is known to have it.
    pub(crate) committed: u64,
    pub(crate) last: u64,
    /// The leader's wall time in the newest entry that says one, in milliseconds since 1970.
    pub(crate) last_written_ms: Option<i64>,
    /// By the newest word on it, confirmed or not.
    pub(crate) members: Vec<Member>,
}

/// Looks, and changes nothing.
pub(crate) fn extent(log: &dyn LogDisk, tables: &dyn StateDisk) -> Result<Extent, TableError> {
    let row = read(tables, |view| view.get(Table::Meta, APPLIED))?;
    let (applied, mut membership) = match row {
        Some(row) => record::decode_applied(&row).map_err(TableError::Io)?,
        None => (None, StoredMembership::default()),
    };
    let head = log.load().map_err(TableError::Io)?;
    let committed =
        head.committed.as_deref().map(record::decode_log_id).transpose().map_err(TableError::Io)?;
    let floor = applied.map_or(0, |id| id.index);
    let (mut last, mut last_written_ms) = (floor, None);
    let mut look = |entries: &[Entry]| {
        for entry in entries {
            last = entry.log_id.index.max(floor);
            match &entry.payload {
                EntryPayload::Normal(proposal) => last_written_ms = Some(proposal.time_ms),
                EntryPayload::Membership(newer) if applied.is_none_or(|applied| entry.log_id > applied) => {
                    membership = StoredMembership::new(Some(entry.log_id), newer.clone());
                }
                EntryPayload::Membership(_) | EntryPayload::Blank => {}
            }
        }
        Ok(())
    };
    // Some of what is applied already, too: it knows when it was written.
    each_page(log, floor.saturating_sub(PAGE_ENTRIES), &mut look)?;
    let voters: Vec<u64> = membership.membership().voter_ids().collect();
    let members = membership.membership().nodes();
    let members = members.map(|(id, record)| record.member(*id, !voters.contains(id))).collect();
    let committed = committed.map_or(0, |id| id.index).max(floor);
    Ok(Extent { applied, committed, last, last_written_ms, members })
}

/// Applies what comes after `applied`, whether a majority had confirmed it or not.
pub(crate) fn apply_rest(
    log: &dyn LogDisk,
    replica: &Replica,
    applied: Option<LogId>,
) -> Result<(), TableError> {
    let from = applied.map_or(0, |id| id.index + 1);
    each_page(log, from, &mut |entries| replica.apply(entries).map(drop))
}

fn each_page(
    log: &dyn LogDisk,
    mut from: u64,
    each: &mut dyn FnMut(&[Entry]) -> Result<(), TableError>,
) -> Result<(), TableError> {
    loop {
        let page = log.entries(from, from + PAGE_ENTRIES).map_err(TableError::Io)?;
        let entries = page.iter().map(|(_, bytes)| record::decode_entry(bytes));
        let entries = entries.collect::<io::Result<Vec<Entry>>>().map_err(TableError::Io)?;
        match entries.last() {
            Some(last) => from = last.log_id.index + 1,
            // What is purged is not there; nothing is missing after the first entry.
            None if from + PAGE_ENTRIES <= first_kept(log)? => from += PAGE_ENTRIES,
            None => return Ok(()),
        }
        each(&entries)?;
    }
}

/// The first index that the log may still hold.
fn first_kept(log: &dyn LogDisk) -> Result<u64, TableError> {
    let purged = log.load().map_err(TableError::Io)?.purged;
    let purged = purged.as_deref().map(record::decode_log_id).transpose().map_err(TableError::Io)?;
    Ok(purged.map_or(0, |purged| purged.index + 1))
}
