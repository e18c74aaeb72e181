//! Leases as rows: who exists, and which keys hang on whom. When a lease ends is the leader's business, not ours.

use base::LeaseId;
use bytes::Bytes;

use super::layout;
use super::overlay::Overlay;
use super::request::Lease;
use super::span::Span;
use super::tables::{Table, TableError, View};
use super::txn::{Stop, Writer};
use crate::error::StoreError;
use crate::seeded::{self, Bug};

/// etcd's limit, about 285 years.
pub(crate) const TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// What an entry of the log did to leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseChange {
    Granted(Lease),
    Ended(LeaseId),
}

pub(crate) fn grant(rows: &mut Overlay<'_>, lease: Lease) -> Result<Lease, Stop> {
    if lease.ttl_seconds > TTL_SECONDS_MAX {
        return Err(StoreError::LeaseTtlTooLarge { limit_seconds: TTL_SECONDS_MAX }.into());
    }
    let key = layout::lease_key(lease.id);
    if rows.get(Table::Lease, &key)?.is_some() {
        return Err(StoreError::LeaseExists.into());
    }
    rows.put(Table::Lease, key, Bytes::copy_from_slice(&lease.ttl_seconds.to_be_bytes()));
    Ok(lease)
}

/// Ends the lease and deletes its keys, in key order and in one revision.
pub(crate) fn revoke(writer: &mut Writer<'_, '_>, keys: &[Bytes]) -> Result<(), TableError> {
    let kept = if seeded::is(Bug::LeaseLeavesKeys) { 1 } else { keys.len() };
    for key in keys.iter().take(kept) {
        writer.delete(&Span::key(key.clone()))?;
    }
    Ok(())
}

pub(crate) fn find(view: &dyn View, id: LeaseId) -> Result<Option<Lease>, TableError> {
    let Some(row) = view.get(Table::Lease, &layout::lease_key(id))? else { return Ok(None) };
    Ok(Some(Lease { id, ttl_seconds: layout::decode_i64("lease", &row)? }))
}

/// The keys of a lease, in key order.
pub(crate) fn keys(view: &dyn View, id: LeaseId) -> Result<Vec<Bytes>, TableError> {
    let mut keys = Vec::new();
    let (from, to) = (layout::attached_prefix(id), layout::lease_end(id));
    let mut cursor = view.cursor(Table::Lease, &from, Some(&to))?;
    while let Some(row) = cursor.key() {
        keys.extend(layout::decode_lease_key(row)?.1);
        cursor.advance()?;
    }
    Ok(keys)
}

/// Every lease, by id.
pub(crate) fn all(view: &dyn View) -> Result<Vec<Lease>, TableError> {
    let mut leases = Vec::new();
    let mut cursor = view.cursor(Table::Lease, &[], None)?;
    while let Some(row) = cursor.key() {
        let (id, _) = layout::decode_lease_key(row)?;
        leases.push(Lease { id, ttl_seconds: layout::decode_i64("lease", cursor.value())? });
        cursor.seek(&layout::lease_end(id))?;
    }
    Ok(leases)
}
