//! The state of a cluster that begins with rows: as if a snapshot had been installed, with its members in it.
//!
//! The log of such a cluster begins after the rows, so whoever joins later gets them as a snapshot; an empty replica
//! can never follow the log from its start.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use base::Revision;
use bytes::Bytes;

use super::record;
use super::replica::outcome_codec;
use super::types::{LeaderId, LogId, MemberRecord, Membership, StoredMembership};
use crate::disk::{APPLIED, StateDisk, read};
use crate::mvcc::machine::Machine;
use crate::mvcc::refound::{self, Raise};
use crate::mvcc::tables::{Table, TableError};

/// What a state has become the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refounded {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
}

/// Rewrites the tables as the beginning of a cluster of these founders, and makes that durable. The caller removes
/// the log, which belongs to the old cluster.
pub(crate) fn refound(
    tables: &dyn StateDisk,
    founders: BTreeMap<u64, MemberRecord>,
    raise: Raise,
) -> Result<Refounded, TableError> {
    let start = LogId { leader_id: LeaderId { term: 0, node_id: 0 }, index: 1 };
    let voters: BTreeSet<u64> = founders.keys().copied().collect();
    let membership = Membership::new(vec![voters], founders)
        .map_err(|error| TableError::Io(io::Error::new(io::ErrorKind::InvalidInput, error.to_string())))?;
    let (mut changes, horizon) = read(tables, |view| {
        let before = Machine::load(view, outcome_codec())?.horizon();
        refound::changes(view, before, raise)
    })?;
    let membership = StoredMembership::new(Some(start), membership);
    let applied = record::encode_applied(Some(&start), &membership);
    changes.put(Table::Meta, Bytes::from_static(APPLIED), applied);
    tables.write(&changes)?;
    tables.freeze()?;
    Ok(Refounded { revision: horizon.newest, compacted: horizon.compacted })
}
