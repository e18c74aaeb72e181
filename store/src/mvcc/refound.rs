//! Making a state the beginning of another cluster: the keys and leases stay, what belonged to the members goes.

use base::{NodeId, Revision};
use bytes::Bytes;

use super::head::Head;
use super::keyspace::Horizon;
use super::tables::{Changes, Table, TableError, View};
use super::{alarm, layout, retries};

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
    let newest = Revision::new(before.newest.get().saturating_add_unsigned(raise.by));
    let compacted = if raise.mark_compacted { newest } else { before.compacted };
    if newest != before.newest {
        // Nothing happened at the raised revision: it is told by the mark of the one before.
        if let Some(mark) = layout::mark_at(view, before.newest)? {
            changes.put(Table::Rev, layout::rev_key(newest), layout::encode_revision(&mark, &[]));
        }
    }
    let horizon = Horizon { newest, compacted };
    Head { horizon, last_node: NodeId::new(0), ..Head::load(view)? }.save_to(&mut changes);
    Ok((changes, horizon))
}
