//! Making a state the beginning of another cluster: the keys and leases stay, what belonged to the members goes.

use base::Revision;
use bytes::Bytes;

use super::keyspace::Horizon;
use super::tables::{Changes, Table, TableError, View};
use super::{alarm, layout, machine, retries};

/// How the revision changes, for clients that remember a later one than the state has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raise {
    /// Added to the newest revision.
    pub by: u64,
    /// Whether everything before is as if compacted, so that every watch starts anew.
    pub mark_compacted: bool,
}

/// The changes to the rows, and which revisions can be read after them.
pub(crate) fn changes(
    view: &dyn View,
    before: Horizon,
    raise: Raise,
) -> Result<(Changes, Horizon), TableError> {
    let mut changes = Changes::default();
    for (from, to) in [alarm::ROWS, retries::ROWS] {
        changes.delete_range(Table::Meta, Bytes::from_static(from), Bytes::from_static(to));
    }
    changes.delete(Table::Meta, Bytes::from_static(machine::LAST_NODE));
    let newest = Revision::new(before.newest.get().saturating_add_unsigned(raise.by));
    let compacted = if raise.mark_compacted { newest } else { before.compacted };
    if newest != before.newest {
        // Nothing happened at the raised revision: it is told by the mark of the one before.
        if let Some(mark) = view.get(Table::Rev, &layout::hash_key(before.newest))? {
            changes.put(Table::Rev, layout::hash_key(newest), mark);
        }
    }
    let mut number = |name: &'static [u8], revision: Revision| {
        let row = Bytes::copy_from_slice(&revision.get().to_be_bytes());
        changes.put(Table::Meta, Bytes::from_static(name), row);
    };
    number(machine::REVISION, newest);
    number(machine::COMPACTED, compacted);
    Ok((changes, Horizon { newest, compacted }))
}
