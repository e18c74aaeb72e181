//! The newest versions of the keys that are in use, so that a write need not search the tables for the one before it.
//!
//! Two generations, each of a bounded size: what is asked for moves to the young one; when that is full it becomes the
//! old one, and what was old is forgotten. Nothing but time depends on what is in here.

use std::collections::BTreeMap;

use base::Revision;
use bytes::Bytes;

use super::keyspace;
use super::layout::{Place, Version};
use super::tables::{TableError, View};

const GENERATION_BYTES_MAX: usize = if cfg!(test) { 4096 } else { 8 * 1024 * 1024 };
/// A larger version is read when it is needed.
const VERSION_BYTES_MAX: usize = GENERATION_BYTES_MAX / 8;
/// About what an entry takes beside key and value.
const ENTRY_BYTES: usize = 160;

/// `None`: the key does not exist.
pub(crate) type Known = Option<(Place, Version)>;

#[derive(Debug, Default)]
pub(crate) struct Newest {
    young: BTreeMap<Hashed, Known>,
    /// What the young generation has, too, is outdated here.
    old: BTreeMap<Hashed, Known>,
    young_bytes: usize,
}

/// A key behind its hash: most keys begin alike, and numbers are compared where they are.
type Hashed = (u32, Bytes);

fn hashed(key: &Bytes) -> Hashed {
    (crc32fast::hash(key), key.clone())
}

impl Newest {
    /// The version of `key` that exists at `at`, which is not before anything that was noted.
    pub(crate) fn get(&mut self, view: &dyn View, key: &Bytes, at: Revision) -> Result<Known, TableError> {
        let hashed = hashed(key);
        if let Some(known) = self.young.get(&hashed) {
            return Ok(known.clone());
        }
        let known = match self.old.remove(&hashed) {
            Some(known) => known,
            None => keyspace::get(view, key, at)?,
        };
        self.put(hashed, known.clone());
        Ok(known)
    }

    /// From now on `key` is as `known` says.
    pub(crate) fn note(&mut self, key: &Bytes, known: Known) {
        self.put(hashed(key), known);
    }

    fn put(&mut self, key: Hashed, known: Known) {
        let key_bytes = key.1.len();
        let bytes = size(key_bytes, &known);
        if bytes > VERSION_BYTES_MAX {
            self.old.remove(&key);
            if let Some(before) = self.young.remove(&key) {
                self.young_bytes -= size(key_bytes, &before);
            }
            return;
        }
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(key, known) {
            self.young_bytes -= size(key_bytes, &before);
        }
        if self.young_bytes > GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

fn size(key_bytes: usize, known: &Known) -> usize {
    ENTRY_BYTES + key_bytes + known.as_ref().map_or(0, |(_, version)| version.value.len())
}

#[cfg(test)]
mod tests {
    use base::LeaseId;

    use super::*;
    use crate::disk::memory::MemoryTables;
    use crate::disk::read;
    use crate::mvcc::request::EventKind;

    fn known(revision: i64, bytes: usize) -> Known {
        let version = Version {
            kind: EventKind::Put,
            create_revision: Revision::new(revision),
            version: 1,
            lease: LeaseId::NONE,
            value: vec![b'v'; bytes].into(),
        };
        Some((Place { revision: Revision::new(revision), sub: 0 }, version))
    }

    #[test]
    fn what_was_noted_last_is_found_or_forgotten_and_never_outdated() {
        let empty = MemoryTables::default();
        let mut newest = Newest::default();
        for revision in 1..500 {
            let key = |number: i64| Bytes::from(format!("key-{}", number % 17));
            newest.note(&key(revision), known(revision, 30));
            assert!(newest.young_bytes <= GENERATION_BYTES_MAX);
            // On empty tables, what was forgotten is absent.
            let asked = key(revision * 7);
            let found = read(&empty, |view| newest.get(view, &asked, Revision::new(revision))).expect("rows");
            if let Some((place, _)) = found {
                let last = (1..=revision).rev().find(|at| key(*at) == asked).expect("it was noted");
                assert_eq!(place.revision, Revision::new(last));
            }
        }
    }

    #[test]
    fn a_large_version_puts_the_small_one_before_it_out() {
        let empty = MemoryTables::default();
        let key = Bytes::from_static(b"key");
        let mut newest = Newest::default();
        newest.note(&key, known(2, 10));
        newest.note(&key, known(3, VERSION_BYTES_MAX));
        let found = read(&empty, |view| newest.get(view, &key, Revision::new(3))).expect("rows");
        assert_eq!(found, None, "it is read from the tables, which have nothing here");
    }
}
