//! What a simulation does to a disk in memory: how its syncs end, what a crash loses, which rows rot, how much room it
//! has. The mechanism is here; what happens when is the simulation's to say.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{MemoryLog, MemoryTables, Rows, Unflushed, lock};
use crate::disk::Room;
use crate::mvcc::tables::Table;
use crate::node::MemoryDisk;

/// Decides what a simulated disk does.
pub trait DiskWhims: Send + Sync + 'static {
    /// How a sync of the log ends that begins now.
    fn sync(&self) -> SyncFate;
}

/// How a sync of the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFate {
    Durable {
        after: Duration,
    },
    /// It is said to be durable and is not. No store can be right on such a disk.
    Forgotten {
        after: Duration,
    },
    Fails(io::ErrorKind),
}

/// What a crash may lose: the newest of these, on each side by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsynced {
    pub log_writes: usize,
    /// Batches of rows since the last flush.
    pub row_batches: usize,
}

impl MemoryDisk {
    pub fn simulated(whims: Arc<dyn DiskWhims>) -> Self {
        let unflushed = Unflushed { durable: Rows::default(), since: Vec::new() };
        let tables =
            MemoryTables { unflushed: Some(Arc::new(Mutex::new(unflushed))), ..MemoryTables::default() };
        Self { log: MemoryLog::simulated(whims), tables, ..Self::default() }
    }

    /// What a crash may lose now. Nothing of a disk that is not simulated.
    pub fn unsynced(&self) -> Unsynced {
        Unsynced { log_writes: self.log.unsynced(), row_batches: self.tables.unflushed() }
    }

    /// Loses what was not synced but the first so many writes and batches. The node on this disk must have ended.
    pub fn crash(&self, kept: Unsynced) {
        self.log.crash(kept.log_writes);
        self.tables.crash(kept.row_batches);
    }

    /// Damages the row that comes `nth` among those of keys and revisions, counted round: reading it fails from now on,
    /// until it is written again. False: there is none.
    pub fn rot(&self, nth: u64) -> bool {
        self.tables.rot(nth)
    }

    /// How many damaged rows there are.
    pub fn rotten(&self) -> usize {
        self.tables.read_lock().rotten.len()
    }

    /// What the disk says of its room from now on; `None`: there is plenty.
    pub fn set_room(&self, free_and_total_bytes: Option<(u64, u64)>) {
        let room = free_and_total_bytes.map(|(free_bytes, total_bytes)| Room { free_bytes, total_bytes });
        *lock(&self.tables.room) = room;
    }
}

impl MemoryTables {
    fn unflushed(&self) -> usize {
        self.unflushed.as_ref().map_or(0, |unflushed| lock(unflushed).since.len())
    }

    fn crash(&self, kept: usize) {
        let Some(unflushed) = &self.unflushed else { return };
        let (mut rows, since) = {
            let mut unflushed = lock(unflushed);
            (unflushed.durable.clone(), std::mem::take(&mut unflushed.since))
        };
        rows.rotten = self.read_lock().rotten.clone();
        for change in since.iter().take(kept).flat_map(|changes| &changes.0) {
            rows.apply(change);
        }
        let Rows { all, rotten, .. } = &mut rows;
        rotten.retain(|key| all.contains_key(key));
        self.replace(rows);
    }

    fn rot(&self, nth: u64) -> bool {
        let mut rows = self.write_lock();
        let data = |table: Table| matches!(table, Table::Ver | Table::Rev);
        let keys: BTreeSet<_> = rows.all.keys().filter(|(table, _)| data(*table)).cloned().collect();
        let Some(at) = nth.checked_rem(keys.len() as u64).and_then(|at| usize::try_from(at).ok()) else {
            return false;
        };
        let key = keys.into_iter().nth(at);
        rows.rotten.extend(key);
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::disk::{StateDisk, read};
    use crate::mvcc::tables::{Changes, View};

    struct Prompt;

    impl DiskWhims for Prompt {
        fn sync(&self) -> SyncFate {
            SyncFate::Durable { after: Duration::ZERO }
        }
    }

    fn put(disk: &MemoryDisk, key: &'static str) {
        let mut changes = Changes::default();
        changes.put(Table::Ver, Bytes::from_static(key.as_bytes()), Bytes::from_static(b"value"));
        disk.tables.write(&changes).unwrap();
    }

    fn has(disk: &MemoryDisk, key: &str) -> bool {
        read(&disk.tables, |view: &dyn View| view.get(Table::Ver, key.as_bytes())).unwrap().is_some()
    }

    #[test]
    fn a_crash_takes_the_tables_back_to_some_batch_since_the_last_flush() {
        let disk = MemoryDisk::simulated(Arc::new(Prompt));
        put(&disk, "a");
        disk.tables.freeze().unwrap();
        for key in ["b", "c", "d"] {
            put(&disk, key);
        }
        assert_eq!(disk.unsynced(), Unsynced { log_writes: 0, row_batches: 3 });
        disk.crash(Unsynced { log_writes: 0, row_batches: 1 });
        assert_eq!(["a", "b", "c", "d"].map(|key| has(&disk, key)), [true, true, false, false]);
    }

    #[test]
    fn a_rotten_row_is_an_error_until_it_is_written_again() {
        let disk = MemoryDisk::simulated(Arc::new(Prompt));
        assert!(!disk.rot(0), "there is nothing to rot");
        put(&disk, "a");
        assert!(disk.rot(3));
        let looked = read(&disk.tables, |view: &dyn View| view.get(Table::Ver, b"a"));
        assert!(looked.unwrap_err().is_damage());
        assert!(disk.tables.freeze().unwrap_err().is_damage(), "nor is it copied");
        let cursor = read(&disk.tables, |view: &dyn View| view.cursor(Table::Ver, b"", None).map(drop));
        assert!(cursor.unwrap_err().is_damage());
        put(&disk, "a");
        assert!(has(&disk, "a"));
    }
}
