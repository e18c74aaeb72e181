//! How keys and rows are spelled in bytes: fixed, hand-written, and never changed without a new format byte.
//!
//! ```text
//! ver    escaped(key) 00 01 | !be64(mod_revision) | !be32(sub)  -> format, kind, create, version, lease, value
//! rev    be64(revision)                                         -> be32(state hash), be64(time), be64(bytes), changes
//!        each change: format, kind, create, version, lease, prev, value's place, be32(length) key, (be32(length) value)
//! lease  be64(id)                                               -> be64(ttl)
//! lease  be64(id) | 01 | key                                    -> (empty)
//! meta   name | 'q' be64(log index)                             -> see `head` and `retries`
//! ```
//! A key's zero bytes are escaped as `00 ff`, so that the terminator `00 01` sorts below every continuation.

use base::{LeaseId, Revision};
use bytes::{BufMut, Bytes, BytesMut};

use super::request::{EventKind, KeyValue};
use super::span::{End, Span};
use super::tables::{Table, TableError, View};

/// Values up to this size are repeated in the `rev` table, so that catching up with them is one sequential scan. For
/// larger ones, writing them twice would cost every write more than reading them costs a watch that is behind.
const INLINE_VALUE_BYTES_MAX: usize = 128;
const FORMAT: u8 = 1;
const TERMINATOR: [u8; 2] = [0, 1];
const VERSION_SUFFIX_BYTES: usize = 12;
const MARK_BYTES: usize = 20;

/// Where a version of a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) revision: Revision,
    pub(crate) sub: u32,
}

/// A row of the `ver` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) kind: EventKind,
    pub(crate) create_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) value: Bytes,
}

impl Version {
    pub(crate) fn into_key_value(self, key: Bytes, place: Place) -> KeyValue {
        KeyValue {
            key,
            value: self.value,
            create_revision: self.create_revision,
            mod_revision: place.revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// A change in a row of the `rev` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) key: Bytes,
    /// The value is empty unless it was small enough; then `inline` is false and the `ver` row has it.
    pub(crate) version: Version,
    pub(crate) inline: bool,
    pub(crate) prev: Option<Place>,
}

/// What is known of a revision beside its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The hash of everything that led to it.
    pub(crate) hash: u32,
    /// The leader's wall time, in milliseconds since 1970; never falls.
    pub(crate) time_ms: i64,
    /// How many bytes of rows all revisions up to it have written.
    pub(crate) written: u64,
}

fn escape_into(out: &mut BytesMut, key: &[u8]) {
    for part in key.split_inclusive(|byte| *byte == 0) {
        out.put_slice(part);
        if part.last() == Some(&0) {
            out.put_u8(0xff);
        }
    }
}

fn escaped(key: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(key.len() + TERMINATOR.len() + VERSION_SUFFIX_BYTES + 1);
    escape_into(&mut out, key);
    out
}

/// What every `ver` key of `key` starts with, and no other.
pub(crate) fn key_prefix(key: &[u8]) -> BytesMut {
    let mut out = escaped(key);
    out.put_slice(&TERMINATOR);
    out
}

pub(crate) fn ver_key(key: &[u8], place: Place) -> Bytes {
    let mut out = key_prefix(key);
    put_place(&mut out, place);
    out.freeze()
}

fn put_place(out: &mut BytesMut, place: Place) {
    out.put_u64(!place.revision.get().cast_unsigned());
    out.put_u32(!place.sub);
}

/// The bounds of the `ver` rows of a span; the upper one is `None` at the end of the table.
pub(crate) fn ver_bounds(span: &Span) -> (Bytes, Option<Bytes>) {
    match &span.end {
        End::Single => {
            let from = key_prefix(&span.start);
            let mut to = from.clone();
            to.put_slice(&[0xff; VERSION_SUFFIX_BYTES + 1]);
            (from.freeze(), Some(to.freeze()))
        }
        End::Before(end) => (escaped(&span.start).freeze(), Some(escaped(end).freeze())),
        End::Unbounded => (escaped(&span.start).freeze(), None),
    }
}

/// Splits a `ver` key into the part that names the user's key and the place of the version.
pub(crate) fn split_ver_key(row: &[u8]) -> Result<(&[u8], Place), TableError> {
    let corrupt = TableError::Corrupt { table: "ver", what: "a key is too short" };
    let at = row.len().checked_sub(VERSION_SUFFIX_BYTES).ok_or(corrupt)?;
    let (prefix, suffix) = row.split_at(at);
    let mut reader = Reader { table: "ver", rest: suffix };
    let revision = Revision::new((!reader.u64()?).cast_signed());
    Ok((prefix, Place { revision, sub: !reader.u32()? }))
}

/// The user's key out of a `ver` key's prefix.
pub(crate) fn unescape(prefix: &[u8]) -> Result<Bytes, TableError> {
    let corrupt = || TableError::Corrupt { table: "ver", what: "a key is not terminated" };
    let mut rest = prefix.strip_suffix(&TERMINATOR).ok_or_else(corrupt)?;
    let mut key = BytesMut::with_capacity(rest.len());
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        key.put_slice(&rest[..=zero]);
        rest = rest[zero + 1..].strip_prefix(&[0xff]).ok_or_else(corrupt)?;
    }
    key.put_slice(rest);
    Ok(key.freeze())
}

/// Where a cursor finds the newest version of this key that is not above `at`.
pub(crate) fn seek_version(prefix: &[u8], at: Revision) -> Bytes {
    let mut out = BytesMut::from(prefix);
    put_place(&mut out, Place { revision: at, sub: u32::MAX });
    out.freeze()
}

/// Where a cursor leaves all versions of this key behind.
pub(crate) fn seek_past(prefix: &[u8]) -> Bytes {
    let mut out = BytesMut::from(prefix);
    out.put_slice(&[0xff; VERSION_SUFFIX_BYTES + 1]);
    out.freeze()
}

const fn kind_byte(kind: EventKind) -> u8 {
    match kind {
        EventKind::Put => 0,
        EventKind::Delete => 1,
    }
}

fn put_version_head(out: &mut BytesMut, version: &Version) {
    out.put_u8(FORMAT);
    out.put_u8(kind_byte(version.kind));
    out.put_i64(version.create_revision.get());
    out.put_i64(version.version);
    out.put_i64(version.lease.get());
}

pub(crate) fn encode_version(version: &Version) -> Bytes {
    let mut out = BytesMut::with_capacity(26 + version.value.len());
    put_version_head(&mut out, version);
    out.put_slice(&version.value);
    out.freeze()
}

pub(crate) fn decode_version(row: &[u8]) -> Result<Version, TableError> {
    let mut reader = Reader { table: "ver", rest: row };
    let head = reader.version_head()?;
    Ok(Version { value: Bytes::copy_from_slice(reader.rest), ..head })
}

/// Everything but the value, which stays empty.
pub(crate) fn decode_version_head(row: &[u8]) -> Result<Version, TableError> {
    Reader { table: "ver", rest: row }.version_head()
}

pub(crate) fn rev_key(revision: Revision) -> Bytes {
    Bytes::copy_from_slice(&revision.get().to_be_bytes())
}

pub(crate) fn decode_rev_key(row: &[u8]) -> Result<Revision, TableError> {
    Ok(Revision::new(Reader { table: "rev", rest: row }.i64()?))
}

/// A row of the `rev` table; `recorded` is what [`put_recorded`] made of its changes, in order.
pub(crate) fn encode_revision(mark: &Mark, recorded: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(MARK_BYTES + recorded.len());
    out.put_u32(mark.hash);
    out.put_i64(mark.time_ms);
    out.put_u64(mark.written);
    out.put_slice(recorded);
    out.freeze()
}

/// A row of the `rev` table, its changes not decoded yet.
#[derive(Debug)]
pub(crate) struct RevisionRow<'a> {
    pub(crate) mark: Mark,
    recorded: Reader<'a>,
}

pub(crate) fn decode_revision(row: &[u8]) -> Result<RevisionRow<'_>, TableError> {
    let mut reader = Reader { table: "rev", rest: row };
    let mark = Mark { hash: reader.u32()?, time_ms: reader.i64()?, written: reader.u64()? };
    Ok(RevisionRow { mark, recorded: reader })
}

impl<'a> RevisionRow<'a> {
    /// What this row, which belongs to `revision`, has recorded, in order; nothing follows an error.
    pub(crate) fn changes_of(
        self,
        revision: Revision,
    ) -> impl Iterator<Item = (Place, Result<Recorded, TableError>)> + use<'a> {
        let mut reader = self.recorded;
        (0..).map_while(move |sub| {
            if reader.rest.is_empty() {
                return None;
            }
            let recorded = reader.recorded();
            if recorded.is_err() {
                reader.rest = &[];
            }
            Some((Place { revision, sub }, recorded))
        })
    }
}

/// What is known of a revision; `None`: there is none, or it is compacted.
pub(crate) fn mark_at(view: &dyn View, revision: Revision) -> Result<Option<Mark>, TableError> {
    let Some(row) = view.get(Table::Rev, &rev_key(revision))? else { return Ok(None) };
    Ok(Some(decode_revision(&row)?.mark))
}

pub(crate) fn put_recorded(out: &mut BytesMut, key: &[u8], version: &Version, prev: Option<Place>) {
    put_version_head(out, version);
    let prev = prev.unwrap_or(Place { revision: Revision::new(0), sub: 0 });
    out.put_i64(prev.revision.get());
    out.put_u32(prev.sub);
    let inline = version.value.len() <= INLINE_VALUE_BYTES_MAX;
    out.put_u8(u8::from(inline));
    put_with_length(out, key);
    if inline {
        put_with_length(out, &version.value);
    }
}

/// No request comes near 4 GiB; were one longer, its row would not decode, on no replica.
fn put_with_length(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

pub(crate) fn lease_key(id: LeaseId) -> Bytes {
    Bytes::copy_from_slice(&id.get().to_be_bytes())
}

/// What the rows of a lease's keys start with.
pub(crate) fn attached_prefix(id: LeaseId) -> BytesMut {
    let mut out = BytesMut::with_capacity(64);
    out.put_i64(id.get());
    out.put_u8(1);
    out
}

pub(crate) fn attached_key(id: LeaseId, key: &[u8]) -> Bytes {
    let mut out = attached_prefix(id);
    out.put_slice(key);
    out.freeze()
}

/// Where all rows of a lease are behind.
pub(crate) fn lease_end(id: LeaseId) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_i64(id.get());
    out.put_u8(2);
    out.freeze()
}

pub(crate) fn decode_lease_key(row: &[u8]) -> Result<(LeaseId, Option<Bytes>), TableError> {
    let mut reader = Reader { table: "lease", rest: row };
    let id = LeaseId::new(reader.i64()?);
    Ok((id, reader.rest.get(1..).map(Bytes::copy_from_slice)))
}

pub(crate) fn decode_i64(table: &'static str, row: &[u8]) -> Result<i64, TableError> {
    Reader { table, rest: row }.i64()
}

/// Takes fixed-width numbers off the front of a row.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    table: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'static str, row: &'a [u8]) -> Self {
        Self { table, rest: row }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], TableError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(TableError::Corrupt { table: self.table, what: "a row is too short" });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TableError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn u8(&mut self) -> Result<u8, TableError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, TableError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, TableError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, TableError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn with_length(&mut self) -> Result<Bytes, TableError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    fn recorded(&mut self) -> Result<Recorded, TableError> {
        let head = self.version_head()?;
        let prev = Place { revision: Revision::new(self.i64()?), sub: self.u32()? };
        let inline = self.u8()? == 1;
        let key = self.with_length()?;
        let value = if inline { self.with_length()? } else { Bytes::new() };
        let prev = (prev.revision.get() != 0).then_some(prev);
        Ok(Recorded { key, version: Version { value, ..head }, inline, prev })
    }

    fn version_head(&mut self) -> Result<Version, TableError> {
        if self.u8()? != FORMAT {
            return Err(TableError::Corrupt { table: self.table, what: "a row has an unknown format" });
        }
        let kind = match self.u8()? {
            0 => EventKind::Put,
            1 => EventKind::Delete,
            _ => return Err(TableError::Corrupt { table: self.table, what: "a row has an unknown kind" }),
        };
        Ok(Version {
            kind,
            create_revision: Revision::new(self.i64()?),
            version: self.i64()?,
            lease: LeaseId::new(self.i64()?),
            value: Bytes::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn encoded_keys_sort_as_the_keys_do(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(key_prefix(&a).cmp(&key_prefix(&b)), a.cmp(&b));
            prop_assert_eq!(unescape(&key_prefix(&a)).expect("what was escaped"), Bytes::from(a));
        }

        #[test]
        fn bounds_hold_exactly_the_span(start: Vec<u8>, end: Vec<u8>, key: Vec<u8>, revision in 1i64..99) {
            for span in [
                Span::key(start.clone()), Span::range(start.clone(), end), Span::prefix(start), Span::all()
            ] {
                let (from, to) = ver_bounds(&span);
                let row = ver_key(&key, Place { revision: Revision::new(revision), sub: 3 });
                let inside = row >= from && to.is_none_or(|to| row < to);
                prop_assert_eq!(inside, span.contains(&key));
            }
        }

        #[test]
        fn corrupt_rows_are_errors_and_never_panics(row: Vec<u8>) {
            let _ = (split_ver_key(&row), unescape(&row), decode_version(&row), decode_rev_key(&row));
            let _ = decode_lease_key(&row);
            if let Ok(decoded) = decode_revision(&row) {
                let changes: Vec<_> = decoded.changes_of(Revision::new(7)).collect();
                prop_assert!(changes.iter().rev().skip(1).all(|(_, change)| change.is_ok()));
            }
        }
    }

    #[test]
    fn newer_versions_come_first() {
        let at = |revision| ver_key(b"k", Place { revision: Revision::new(revision), sub: 0 });
        assert!(at(9) < at(8));
        assert!(at(1) < seek_past(&key_prefix(b"k")));
    }

    #[test]
    fn a_large_value_is_not_repeated() {
        let version = |length| Version {
            kind: EventKind::Put,
            create_revision: Revision::new(2),
            version: 1,
            lease: LeaseId::NONE,
            value: vec![7; length].into(),
        };
        let before = Place { revision: Revision::new(1), sub: 7 };
        let mut recorded = BytesMut::new();
        put_recorded(&mut recorded, b"k", &version(3), None);
        put_recorded(&mut recorded, b"k", &version(2000), Some(before));
        let mark = Mark { hash: 1, time_ms: 2, written: 3 };
        let row = encode_revision(&mark, &recorded);
        let decoded = decode_revision(&row).expect("a row");
        assert_eq!(decoded.mark, mark);
        let changes: Vec<_> = decoded.changes_of(Revision::new(5)).collect();
        let [(first, Ok(small)), (second, Ok(large))] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((first.sub, second.sub, second.revision), (0, 1, Revision::new(5)));
        assert!(small.inline && small.version == version(3) && small.prev.is_none());
        assert!(!large.inline && large.version.value.is_empty() && large.prev == Some(before));
    }
}
