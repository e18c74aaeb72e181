//! A hash of what keys hold at a revision, piece by piece: replicas that are equal have equal hashes.
//!
//! The state hash of a revision says what was applied; this says what is there to be read now.

use std::ops::ControlFlow;

use base::Revision;
use bytes::Bytes;

use super::keyspace;
use super::span::{End, Span};
use super::tables::{TableError, View};

/// What one step has looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// From the key asked for up to where it stopped.
    pub(crate) span: Span,
    pub(crate) hash: u32,
    /// Where the next piece starts; `None`: this was the last one.
    pub(crate) next: Option<Bytes>,
}

/// Looks at about `keys_max` keys from `from` on, as they are at `at`.
pub(crate) fn piece(
    view: &dyn View,
    at: Revision,
    from: &Bytes,
    keys_max: usize,
) -> Result<Piece, TableError> {
    let mut next = None;
    let mut keys = 0;
    let all = Span { start: from.clone(), end: End::Unbounded };
    let hash = hash_while(view, at, &all, |key| {
        keys += 1;
        if keys > keys_max {
            next = Some(key.clone());
        }
        next.is_none()
    })?;
    let end = next.clone().map_or(End::Unbounded, End::Before);
    Ok(Piece { span: Span { start: from.clone(), end }, hash, next })
}

/// The hash of a span that somebody else has looked at.
pub(crate) fn hash(view: &dyn View, at: Revision, span: &Span) -> Result<u32, TableError> {
    hash_while(view, at, span, |_| true)
}

fn hash_while(
    view: &dyn View,
    at: Revision,
    span: &Span,
    mut go_on: impl FnMut(&Bytes) -> bool,
) -> Result<u32, TableError> {
    let mut hash = crc32fast::Hasher::new();
    keyspace::visit(view, span, at, |row| {
        if !go_on(&row.key()?) {
            return Ok(ControlFlow::Break(()));
        }
        hash.update(row.prefix);
        hash.update(&row.place.revision.get().to_be_bytes());
        hash.update(&row.place.sub.to_be_bytes());
        hash.update(row.raw);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(hash.finalize())
}
