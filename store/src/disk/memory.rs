//! The twin in memory: the same traits, nothing durable, nothing that waits.
//!
//! Clones share the rows, so a node that is stopped and started again on a clone finds what a disk would have kept. A
//! simulated one also knows what a crash would lose, and does what its [`DiskWhims`] say.

mod device;
mod log;
mod simulated;

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

pub(crate) use log::MemoryLog;
pub(crate) use simulated::Simulated;
pub use simulated::{Chance, DiskWhims, SyncFate, Unsynced};

use super::{APPLIED, Arrived, Frozen, Room, StateDisk, codec};
use crate::mvcc::tables::{Change, Changes, Cursor, Table, TableError, View};
use crate::raft::peers::{Intake, SnapshotFile};

#[derive(Clone, Default)]
struct Rows {
    all: BTreeMap<(Table, Bytes), Bytes>,
    /// Of all keys and values.
    bytes: u64,
    /// Those whose checksum does not hold any more.
    rotten: BTreeSet<(Table, Bytes)>,
}

/// What is in the tables and on no device, of a simulated disk.
struct Unflushed {
    durable: Rows,
    since: Vec<Changes>,
}

#[derive(Clone, Default)]
pub(crate) struct MemoryTables {
    rows: Arc<RwLock<Rows>>,
    bytes: Arc<AtomicU64>,
    frozen: Arc<Mutex<Option<Frozen>>>,
    unflushed: Option<Arc<Mutex<Unflushed>>>,
    /// They were found to be damaged, or are not complete yet.
    condemned: Arc<AtomicBool>,
    /// What a test says of the room; `None`: there is plenty.
    room: Arc<Mutex<Option<Room>>>,
}

impl MemoryTables {
    pub(crate) fn set_condemned(&self, condemned: bool) {
        self.condemned.store(condemned, Ordering::Relaxed);
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.condemned.load(Ordering::Relaxed)
    }

    /// As they were when they were made.
    pub(crate) fn empty(&self) {
        *lock(&self.frozen) = None;
        self.set_condemned(false);
        self.replace(Rows::default());
    }

    fn replace(&self, rows: Rows) {
        self.bytes.store(rows.bytes, Ordering::Relaxed);
        if let Some(unflushed) = &self.unflushed {
            *lock(unflushed) = Unflushed { durable: rows.clone(), since: Vec::new() };
        }
        *self.write_lock() = rows;
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, Rows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl MemoryTables {
    /// Changes one bit of a row behind everybody's back, as a broken memory or disk does.
    pub(crate) fn flip(&self, table: Table, prefix: &[u8]) {
        let mut rows = self.write_lock();
        let from = (table, Bytes::copy_from_slice(prefix));
        let (_, row) = rows.all.range_mut(from..).next().expect("a row to flip");
        let mut changed = row.to_vec();
        *changed.last_mut().expect("a row that is not empty") ^= 1;
        *row = changed.into();
    }
}

fn rotten(table: Table) -> TableError {
    TableError::Corrupt { table: table.name(), what: "its checksum does not hold" }
}

fn size(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn frozen(inline: Bytes, rows: &Rows) -> Frozen {
    let applied = rows.all.get(&(Table::Meta, Bytes::from_static(APPLIED))).cloned();
    Frozen { dir: PathBuf::new(), inline, applied, hold: None }
}

impl StateDisk for MemoryTables {
    fn with_view(&self, f: &mut dyn FnMut(&dyn View)) {
        f(&*self.read_lock());
    }

    fn write(&self, changes: &Changes) -> Result<(), TableError> {
        let mut rows = self.write_lock();
        for change in &changes.0 {
            rows.apply(change);
        }
        self.bytes.store(rows.bytes, Ordering::Relaxed);
        if let Some(unflushed) = &self.unflushed {
            lock(unflushed).since.push(changes.clone());
        }
        Ok(())
    }

    fn freeze(&self) -> Result<Frozen, TableError> {
        let frozen = self.copy(&mut |_| {})?;
        if let Some(unflushed) = &self.unflushed {
            *lock(unflushed) = Unflushed { durable: self.read_lock().clone(), since: Vec::new() };
        }
        *lock(&self.frozen) = Some(frozen.clone());
        Ok(frozen)
    }

    fn copy(&self, look: &mut dyn FnMut(&dyn View)) -> Result<Frozen, TableError> {
        let rows = self.read_lock();
        if let Some((table, _)) = rows.rotten.first() {
            return Err(rotten(*table));
        }
        let list: Vec<(&str, &Bytes, &Bytes)> =
            rows.all.iter().map(|((table, key), value)| (table.name(), key, value)).collect();
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
        let mut rows = Rows::default();
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

impl Rows {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { table, key, value } => self.insert((*table, key.clone()), value.clone()),
            Change::Delete { table, key } => self.remove(&(*table, key.clone())),
            Change::DeleteRange { table, from, to } => {
                let range = (*table, from.clone())..(*table, to.clone());
                let gone: Vec<_> = self.all.range(range).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    self.remove(&key);
                }
            }
        }
    }

    fn insert(&mut self, key: (Table, Bytes), value: Bytes) {
        self.remove(&key);
        self.bytes += size(&key.1, &value);
        self.all.insert(key, value);
    }

    fn remove(&mut self, key: &(Table, Bytes)) {
        if let Some(before) = self.all.remove(key) {
            self.bytes -= size(&key.1, &before);
        }
        self.rotten.remove(key);
    }
}

impl View for Rows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        let key = (table, Bytes::copy_from_slice(key));
        if self.rotten.contains(&key) {
            return Err(rotten(table));
        }
        Ok(self.all.get(&key).cloned())
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
            range: self.all.range((Bound::Included((table, Bytes::copy_from_slice(from))), Bound::Unbounded)),
            current: None,
        };
        cursor.step()?;
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
    fn step(&mut self) -> Result<(), TableError> {
        let next = self
            .range
            .next()
            .filter(|((table, key), _)| *table == self.table && self.to.as_ref().is_none_or(|to| key < to));
        if next.is_some_and(|(key, _)| self.rows.rotten.contains(key)) {
            return Err(rotten(self.table));
        }
        self.current = next.map(|((_, key), value)| (key, value));
        Ok(())
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
        self.step()
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), TableError> {
        let from = Bound::Included((self.table, Bytes::copy_from_slice(key)));
        self.range = self.rows.all.range((from, Bound::Unbounded));
        self.step()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
