//! Reads: the newest version of a key that a revision may see, and ranges of them with etcd's rules.

use std::ops::ControlFlow;

use base::Revision;
use bytes::Bytes;

use super::layout::{self, Place, Version};
use super::request::{EventKind, KeyValue, Range, RangeResult, Sort, SortTarget};
use super::span::Span;
use super::tables::{Cursor, Table, TableError, View};
use crate::error::StoreError;
use crate::seeded::{self, Bug};

/// Older versions of one key that are stepped over before a seek is cheaper.
const STEPS_BEFORE_SEEK: usize = 4;

/// Which revisions can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Horizon {
    pub(crate) newest: Revision,
    /// Revisions below are gone.
    pub(crate) compacted: Revision,
}

impl Horizon {
    /// The revision that a request reads at.
    pub(crate) fn resolve(self, asked: Option<Revision>) -> Result<Revision, StoreError> {
        match asked {
            None => Ok(self.newest),
            Some(asked) if asked.get() <= 0 => Ok(self.newest),
            Some(asked) if asked > self.newest => {
                Err(StoreError::FutureRevision { asked, newest: self.newest })
            }
            Some(asked) if asked < self.compacted && !seeded::is(Bug::CompactedIsRead) => {
                Err(StoreError::Compacted { asked, compacted: self.compacted })
            }
            Some(asked) if asked > self.compacted && seeded::is(Bug::PastReadOffByOne) => {
                Ok(Revision::new(asked.get() - 1))
            }
            Some(asked) => Ok(asked),
        }
    }
}

/// A live version, its value not yet copied.
pub(crate) struct Row<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) place: Place,
    pub(crate) raw: &'a [u8],
}

impl Row<'_> {
    pub(crate) fn key(&self) -> Result<Bytes, TableError> {
        layout::unescape(self.prefix)
    }

    pub(crate) fn with_value(&self) -> Result<KeyValue, TableError> {
        Ok(layout::decode_version(self.raw)?.into_key_value(self.key()?, self.place))
    }

    pub(crate) fn without_value(&self) -> Result<KeyValue, TableError> {
        Ok(layout::decode_version_head(self.raw)?.into_key_value(self.key()?, self.place))
    }
}

/// Calls `each` for every key of `span` that exists at `at`, in key order.
pub(crate) fn visit(
    view: &dyn View,
    span: &Span,
    at: Revision,
    mut each: impl FnMut(Row<'_>) -> Result<ControlFlow<()>, TableError>,
) -> Result<(), TableError> {
    if span.is_empty() {
        return Ok(());
    }
    let (from, to) = layout::ver_bounds(span);
    let mut cursor = view.cursor(Table::Ver, &from, to.as_deref())?;
    let mut prefix = Vec::new();
    while let Some(row) = cursor.key() {
        prefix.clear();
        prefix.extend_from_slice(layout::split_ver_key(row)?.0);
        if let Some(place) = settle_on_version(cursor.as_mut(), &prefix, at)? {
            if layout::decode_version_head(cursor.value())?.kind == EventKind::Put {
                let row = Row { prefix: &prefix, place, raw: cursor.value() };
                if each(row)?.is_break() {
                    return Ok(());
                }
            }
            pass_key(cursor.as_mut(), &prefix)?;
        }
    }
    Ok(())
}

/// Moves to the newest version of the key that is not above `at`; `None`: there is none, and the key is passed.
fn settle_on_version(
    cursor: &mut dyn Cursor,
    prefix: &[u8],
    at: Revision,
) -> Result<Option<Place>, TableError> {
    for step in 0.. {
        let Some(row) = cursor.key() else { return Ok(None) };
        let (own, place) = layout::split_ver_key(row)?;
        if own != prefix {
            return Ok(None);
        }
        if place.revision <= at {
            return Ok(Some(place));
        }
        if step < STEPS_BEFORE_SEEK {
            cursor.advance()?;
        } else {
            cursor.seek(&layout::seek_version(prefix, at))?;
        }
    }
    Ok(None)
}

fn pass_key(cursor: &mut dyn Cursor, prefix: &[u8]) -> Result<(), TableError> {
    for _ in 0..STEPS_BEFORE_SEEK {
        cursor.advance()?;
        let Some(row) = cursor.key() else { return Ok(()) };
        if layout::split_ver_key(row)?.0 != prefix {
            return Ok(());
        }
    }
    cursor.seek(&layout::seek_past(prefix))
}

/// The version of `key` that exists at `at`.
pub(crate) fn get(
    view: &dyn View,
    key: &Bytes,
    at: Revision,
) -> Result<Option<(Place, Version)>, TableError> {
    let mut found = None;
    visit(view, &Span::key(key.clone()), at, |row| {
        found = Some((row.place, layout::decode_version(row.raw)?));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Answers a range at `at`, which [`Horizon::resolve`] has allowed. The result's revision is left to the caller.
pub(crate) fn range(view: &dyn View, request: &Range, at: Revision) -> Result<RangeResult, TableError> {
    let mut answer = RangeResult::default();
    if request.count_only {
        visit(view, &request.span, at, |_| {
            answer.count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        return Ok(answer);
    }
    let limit = if request.limit == 0 { usize::MAX } else { request.limit };
    let late_limit = request.sort.is_some_and(|sort| sort != ASCENDING_KEYS) || has_filters(request);
    visit(view, &request.span, at, |row| {
        answer.count += 1;
        if !late_limit && answer.kvs.len() >= limit {
            answer.more = true;
            return Ok(if request.uncounted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
        }
        let by_value = request.sort.is_some_and(|sort| sort.target == SortTarget::Value);
        let kv = if request.keys_only && !by_value { row.without_value()? } else { row.with_value()? };
        if passes_filters(request, &kv) {
            answer.kvs.push(kv);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(sort) = request.sort {
        order(&mut answer.kvs, sort);
    }
    if late_limit && answer.kvs.len() > limit {
        answer.kvs.truncate(limit);
        answer.more = true;
    }
    if request.keys_only {
        for kv in &mut answer.kvs {
            kv.value = Bytes::new();
        }
    }
    Ok(answer)
}

const ASCENDING_KEYS: Sort = Sort { target: SortTarget::Key, descending: false };

fn has_filters(request: &Range) -> bool {
    request.min_mod_revision.is_some()
        || request.max_mod_revision.is_some()
        || request.min_create_revision.is_some()
        || request.max_create_revision.is_some()
}

fn passes_filters(request: &Range, kv: &KeyValue) -> bool {
    let at_least = |bound: Option<Revision>, value| bound.is_none_or(|bound| value >= bound);
    let at_most = |bound: Option<Revision>, value| bound.is_none_or(|bound| value <= bound);
    at_least(request.min_mod_revision, kv.mod_revision)
        && at_most(request.max_mod_revision, kv.mod_revision)
        && at_least(request.min_create_revision, kv.create_revision)
        && at_most(request.max_create_revision, kv.create_revision)
}

fn order(kvs: &mut [KeyValue], sort: Sort) {
    match sort.target {
        SortTarget::Key => kvs.sort_by(|a, b| a.key.cmp(&b.key)),
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if sort.descending {
        kvs.reverse();
    }
}
