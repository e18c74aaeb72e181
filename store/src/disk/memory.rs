//! The twin in memory: the same traits, nothing durable, nothing that waits.
//!
//! Clones share the rows, so a node that is stopped and started again on a clone finds what a disk would have kept.

use std::collections::{BTreeMap, btree_map};
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use super::{APPLIED, Arrived, Frozen, LogDisk, LogHead, LogWrite, Room, StateDisk, codec};
use crate::mvcc::tables::{Change, Changes, Cursor, Table, TableError, View};
use crate::raft::peers::{Intake, SnapshotFile};

type Rows = BTreeMap<(Table, Bytes), Bytes>;

#[derive(Clone, Default)]
pub(crate) struct MemoryTables {
    rows: Arc<RwLock<Rows>>,
    bytes: Arc<AtomicU64>,
    frozen: Arc<Mutex<Option<Frozen>>>,
    /// What a test says of the room; `None`: there is plenty.
    room: Arc<Mutex<Option<Room>>>,
}

impl MemoryTables {
    #[cfg(test)]
    pub(crate) fn set_room(&self, room: Room) {
        *lock(&self.room) = Some(room);
    }

    fn replace(&self, rows: Rows) {
        self.bytes.store(rows.iter().map(|((_, key), value)| size(key, value)).sum(), Ordering::Relaxed);
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = rows;
    }
}

#[cfg(test)]
impl MemoryTables {
    /// Changes one bit of a row behind everybody's back, as a broken memory or disk does.
    pub(crate) fn flip(&self, table: Table, prefix: &[u8]) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let from = (table, Bytes::copy_from_slice(prefix));
        let (_, row) = rows.range_mut(from..).next().expect("a row to flip");
        let mut changed = row.to_vec();
        *changed.last_mut().expect("a row that is not empty") ^= 1;
        *row = changed.into();
    }
}

fn size(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn frozen(inline: Bytes, rows: &Rows) -> Frozen {
    let applied = rows.get(&(Table::Meta, Bytes::from_static(APPLIED))).cloned();
    Frozen { dir: PathBuf::new(), inline, applied, hold: None }
}

impl StateDisk for MemoryTables {
    fn with_view(&self, f: &mut dyn FnMut(&dyn View)) {
        f(&*self.rows.read().unwrap_or_else(PoisonError::into_inner));
    }

    fn write(&self, changes: &Changes) -> Result<(), TableError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for change in &changes.0 {
            match change {
                Change::Put { table, key, value } => {
                    self.bytes.fetch_add(size(key, value), Ordering::Relaxed);
                    if let Some(before) = rows.insert((*table, key.clone()), value.clone()) {
                        self.bytes.fetch_sub(size(key, &before), Ordering::Relaxed);
                    }
                }
                Change::Delete { table, key } => {
                    if let Some(before) = rows.remove(&(*table, key.clone())) {
                        self.bytes.fetch_sub(size(key, &before), Ordering::Relaxed);
                    }
                }
                Change::DeleteRange { table, from, to } => {
                    let range = (*table, from.clone())..(*table, to.clone());
                    let gone: Vec<_> = rows.range(range).map(|(key, _)| key.clone()).collect();
                    for key in gone {
                        if let Some(before) = rows.remove(&key) {
                            self.bytes.fetch_sub(size(&key.1, &before), Ordering::Relaxed);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn freeze(&self) -> Result<Frozen, TableError> {
        let frozen = self.copy(&mut |_| {})?;
        *lock(&self.frozen) = Some(frozen.clone());
        Ok(frozen)
    }

    fn copy(&self, look: &mut dyn FnMut(&dyn View)) -> Result<Frozen, TableError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let list: Vec<(&str, &Bytes, &Bytes)> =
            rows.iter().map(|((table, key), value)| (table.name(), key, value)).collect();
        look(&*rows);
        Ok(frozen(codec::encode(&list), &rows))
    }

    fn newest_frozen(&self) -> Result<Option<Frozen>, TableError> {
        Ok(lock(&self.frozen).clone())
    }

    fn intake(&self, _files: &[SnapshotFile]) -> Result<Intake, TableError> {
        Ok(Intake { dir: PathBuf::new(), missing: Vec::new() })
    }

    fn install(&self, arrived: &Arrived) -> Result<(), TableError> {
        let list: Vec<(String, Bytes, Bytes)> = codec::decode(&arrived.inline).map_err(TableError::Io)?;
        let mut rows = Rows::new();
        for (name, key, value) in list {
            let table = Table::ALL.into_iter().find(|table| table.name() == name);
            let unknown = TableError::Corrupt { table: "snapshot", what: "it names an unknown table" };
            rows.insert((table.ok_or(unknown)?, key), value);
        }
        *lock(&self.frozen) = Some(frozen(arrived.inline.clone(), &rows));
        self.replace(rows);
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn live_bytes(&self) -> u64 {
        self.size_bytes()
    }

    fn room(&self) -> io::Result<Room> {
        let plenty = Room { free_bytes: u64::MAX, total_bytes: u64::MAX };
        Ok(lock(&self.room).unwrap_or(plenty))
    }

    fn settle_ballast(&self, _bytes: u64, _enough: u64) -> io::Result<()> {
        Ok(())
    }

    fn compact(&self) -> Result<(), TableError> {
        Ok(())
    }

    fn waits(&self) -> bool {
        false
    }
}

impl View for Rows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        Ok(BTreeMap::get(self, &(table, Bytes::copy_from_slice(key))).cloned())
    }

    fn cursor(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + '_>, TableError> {
        let mut cursor = RowsCursor {
            rows: self,
            table,
            to: to.map(Bytes::copy_from_slice),
            range: self.range((Bound::Included((table, Bytes::copy_from_slice(from))), Bound::Unbounded)),
            current: None,
        };
        cursor.step();
        Ok(Box::new(cursor))
    }
}

struct RowsCursor<'a> {
    rows: &'a Rows,
    table: Table,
    to: Option<Bytes>,
    range: btree_map::Range<'a, (Table, Bytes), Bytes>,
    current: Option<(&'a Bytes, &'a Bytes)>,
}

impl RowsCursor<'_> {
    fn step(&mut self) {
        self.current = self
            .range
            .next()
            .filter(|((table, key), _)| *table == self.table && self.to.as_ref().is_none_or(|to| key < to))
            .map(|((_, key), value)| (key, value));
    }
}

impl Cursor for RowsCursor<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.current.map(|(key, _)| &key[..])
    }

    fn value(&self) -> &[u8] {
        self.current.map_or(&[], |(_, value)| &value[..])
    }

    fn advance(&mut self) -> Result<(), TableError> {
        self.step();
        Ok(())
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), TableError> {
        let from = Bound::Included((self.table, Bytes::copy_from_slice(key)));
        self.range = self.rows.range((from, Bound::Unbounded));
        self.step();
        Ok(())
    }
}

#[derive(Clone, Default)]
pub(crate) struct MemoryLog {
    log: Arc<Mutex<LogRows>>,
    #[cfg(test)]
    fails: Arc<std::sync::atomic::AtomicBool>,
}

#[cfg(test)]
impl MemoryLog {
    /// From now on no write succeeds.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct LogRows {
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<Bytes>,
    entries: BTreeMap<u64, Bytes>,
}

impl LogDisk for MemoryLog {
    fn load(&self) -> io::Result<LogHead> {
        let log = lock(&self.log);
        Ok(LogHead {
            vote: log.vote.clone(),
            committed: log.committed.clone(),
            purged: log.purged.clone(),
            last: log.entries.last_key_value().map(|(_, entry)| entry.clone()),
        })
    }

    fn entries(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let log = lock(&self.log);
        Ok(log.entries.range(from..to).map(|(index, entry)| (*index, entry.clone())).collect())
    }

    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        #[cfg(test)]
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is made to fail"));
        }
        let mut log = lock(&self.log);
        for write in writes {
            match write {
                LogWrite::Vote(vote) => log.vote = Some(vote.clone()),
                LogWrite::Committed(id) => log.committed.clone_from(id),
                LogWrite::Entry { index, entry } => {
                    log.entries.insert(*index, entry.clone());
                }
                LogWrite::TruncateFrom(index) => {
                    log.entries.split_off(index);
                }
                LogWrite::PurgeTo { index, id } => {
                    log.entries = log.entries.split_off(&(index + 1));
                    log.purged = Some(id.clone());
                }
            }
        }
        Ok(())
    }

    fn waits(&self) -> bool {
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
