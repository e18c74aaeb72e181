//! Hashes over rows, by which members are compared: the same on all of them, however far each has cleaned.
//!
//! The rolling hash of each revision (`machine`) says whether two replicas did the same; these say whether they still
//! hold the same. They read everything: nobody asks for them often.

use base::Revision;

use super::layout;
use super::request::EventKind;
use super::tables::{Table, TableError, View};

/// The versions that exist for a reader at `at`, and at every revision from `compacted` up to it. What compaction may
/// take, whether or not it has been taken yet, does not count.
pub(crate) fn key_space(view: &dyn View, at: Revision, compacted: Revision) -> Result<u32, TableError> {
    let mut hash = crc32fast::Hasher::new();
    let mut cursor = view.cursor(Table::Ver, &[], None)?;
    let mut prefix = Vec::new();
    // Whether what follows of this key is below a version that every allowed reader sees.
    let mut superseded = false;
    while let Some(row) = cursor.key() {
        let (own, place) = layout::split_ver_key(row)?;
        if own != prefix {
            prefix.clear();
            prefix.extend_from_slice(own);
            superseded = false;
        }
        if superseded {
            cursor.seek(&layout::seek_past(&prefix))?;
            continue;
        }
        let counts = if place.revision > compacted {
            place.revision <= at
        } else {
            superseded = true;
            // A deletion is kept only where a watch may still start with it.
            let kind = layout::decode_version_head(cursor.value())?.kind;
            kind == EventKind::Put || place.revision == compacted
        };
        if counts {
            hash.update(row);
            hash.update(cursor.value());
        }
        cursor.advance()?;
    }
    Ok(hash.finalize())
}

/// The key space at `newest`, the leases, and the single values, except the `local` ones, which differ by member.
pub(crate) fn everything(
    view: &dyn View,
    newest: Revision,
    compacted: Revision,
    local: &[&[u8]],
) -> Result<u32, TableError> {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&key_space(view, newest, compacted)?.to_be_bytes());
    for table in [Table::Lease, Table::Meta] {
        let mut cursor = view.cursor(table, &[], None)?;
        while let Some(row) = cursor.key() {
            if table != Table::Meta || !local.contains(&row) {
                hash.update(row);
                hash.update(cursor.value());
            }
            cursor.advance()?;
        }
    }
    Ok(hash.finalize())
}

#[cfg(test)]
mod tests {
    use base::LeaseId;

    use super::*;
    use crate::disk::memory::MemoryTables;
    use crate::disk::{StateDisk, codec, read};
    use crate::mvcc::auth::permit::By;
    use crate::mvcc::compaction;
    use crate::mvcc::machine::{Action, Command, Machine, OutcomeCodec, Stamped};
    use crate::mvcc::overlay::Overlay;
    use crate::mvcc::request::{Delete, Op, Put, Txn};
    use crate::mvcc::retries::RequestId;
    use crate::mvcc::span::Span;

    /// Applies the actions, one entry each, and returns the newest revision.
    fn rows(actions: &[Action]) -> (MemoryTables, Revision) {
        let tables = MemoryTables::default();
        let codec = OutcomeCodec {
            encode: |outcome| codec::encode(outcome),
            decode: |bytes| codec::decode(bytes).ok(),
        };
        let mut machine = read(&tables, |view| Machine::load(view, codec)).expect("sound rows");
        for (action, index) in actions.iter().zip(1..) {
            let request = RequestId::of_node(1, index);
            let command = Command { request, by: By::Process, fence: None, action: action.clone() };
            let entry = Stamped { index, time_ms: 0, witness: None, commands: vec![command] };
            let changes = read(&tables, |view| {
                let mut rows = Overlay::new(view);
                let applied = machine.apply(&mut rows, &entry).expect("sound rows");
                assert!(applied.done.iter().all(|applied| applied.outcome.is_ok()));
                rows.into_changes()
            });
            tables.write(&changes).expect("memory takes it");
        }
        (tables, machine.horizon().newest)
    }

    fn history() -> Vec<Action> {
        let put = |key: &'static str, value: &'static str| Action::Txn(Txn::of(Op::Put(Put::of(key, value))));
        let delete = |key: &'static str| Action::Txn(Txn::of(Op::Delete(Delete::of(Span::key(key)))));
        let mut actions = vec![put("a", "1"), put("b", "1"), put("c", "1"), delete("b"), put("a", "2")];
        actions.extend([delete("c"), put("b", "2"), delete("a"), put("d", "1"), delete("d"), put("e", "1")]);
        actions.extend([put("a", "3"), put("b", "3")]);
        actions
    }

    #[test]
    fn the_hash_does_not_know_how_far_a_member_has_cleaned() {
        let (dirty, newest) = rows(&history());
        let mut hashes = Vec::new();
        for compacted in 1..=newest.get() {
            let compacted = Revision::new(compacted);
            let cleaned = rows(&history()).0;
            let mut from = Revision::new(0);
            let all = |tables: &MemoryTables| -> Vec<u32> {
                (compacted.get()..=newest.get())
                    .map(|at| {
                        read(tables, |view| key_space(view, Revision::new(at), compacted))
                            .expect("sound rows")
                    })
                    .collect()
            };
            let expected = all(&dirty);
            while from < compacted {
                let step =
                    read(&cleaned, |view| compaction::step(view, from, compacted, 1)).expect("sound rows");
                cleaned.write(&step.changes).expect("memory takes it");
                from = step.clean_below;
                assert_eq!(all(&cleaned), expected, "compacted at {compacted}, cleaned below {from}");
            }
            hashes.extend(expected.first().copied());
        }
        let mut different = hashes.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), hashes.len(), "every revision has a hash of its own");
    }

    #[test]
    fn the_hash_sees_a_single_changed_byte() {
        let (sound, newest) = rows(&history());
        let hash = |tables: &MemoryTables| {
            read(tables, |view| key_space(view, newest, Revision::new(0))).expect("sound rows")
        };
        let before = hash(&sound);
        let (key, mut row) = read(&sound, |view| {
            let cursor = view.cursor(Table::Ver, &[], None).expect("sound rows");
            (cursor.key().expect("a row").to_vec(), cursor.value().to_vec())
        });
        *row.last_mut().expect("a value") ^= 1;
        let mut changes = crate::mvcc::tables::Changes::default();
        changes.put(Table::Ver, key, row);
        sound.write(&changes).expect("memory takes it");
        assert_ne!(hash(&sound), before);
        let lease = rows(&[Action::LeaseGrant(crate::Lease { id: LeaseId::new(1), ttl_seconds: 9 })]).0;
        let everything = |tables| {
            read(tables, |view| super::everything(view, newest, Revision::new(0), &[])).expect("rows")
        };
        assert_ne!(everything(&lease), everything(&MemoryTables::default()));
    }
}
