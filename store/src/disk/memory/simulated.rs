//! What a simulation does to a disk in memory: how its syncs end, what a crash loses, which rows rot, how much room it
//! has. The mechanism is here; what happens when is the simulation's to say.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::device::Device;
use super::{MemoryTables, Rows, Unflushed, lock};
use crate::disk::segments::{LogOpenError, SegmentedLog};
use crate::disk::{LogDisk, LogHead, LogWrite, Room};
use crate::mvcc::tables::Table;
use crate::node::MemoryDisk;

/// Decides what a simulated disk does.
pub trait DiskWhims: Send + Sync + 'static {
    /// How a sync of the log ends that begins now.
    fn sync(&self) -> SyncFate;

    /// How a write of the log fails that begins now, half done; `None`: it does not.
    fn write(&self) -> Option<io::ErrorKind> {
        None
    }
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

/// Some number up to the given one, that one included.
pub type Chance<'a> = &'a dyn Fn(u64) -> u64;

/// What a crash may lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsynced {
    /// Any of them, and parts of them.
    pub log_writes: usize,
    /// Batches of rows since the last flush: the newest of them.
    pub row_batches: usize,
}

impl MemoryDisk {
    /// The log is in segments of so many bytes.
    pub fn simulated(whims: Arc<dyn DiskWhims>, segment_bytes: u64) -> Self {
        let unflushed = Unflushed { durable: Rows::default(), since: Vec::new() };
        let tables =
            MemoryTables { unflushed: Some(Arc::new(Mutex::new(unflushed))), ..MemoryTables::default() };
        let simulated = Some(Simulated { device: Device::new(whims), segment_bytes });
        Self { simulated, tables, ..Self::default() }
    }

    /// What a crash may lose now. Nothing of a disk that is not simulated.
    pub fn unsynced(&self) -> Unsynced {
        let log_writes = self.simulated.as_ref().map_or(0, |simulated| simulated.device.unsynced());
        Unsynced { log_writes, row_batches: self.tables.unflushed() }
    }

    /// The process ends: at any step of what it waits for, and with the tables as they were after some batch. It must
    /// have ended.
    pub fn kill(&self, row_batches: usize, chance: Chance<'_>) {
        if let Some(simulated) = &self.simulated {
            simulated.device.kill(chance);
        }
        self.tables.crash(row_batches);
    }

    /// The power goes: of what the log has not synced any part stays.
    pub fn cut_power(&self, row_batches: usize, chance: Chance<'_>) {
        if let Some(simulated) = &self.simulated {
            simulated.device.cut_power(chance);
        }
        self.tables.crash(row_batches);
    }

    /// Changes a bit of the log of a node that has ended, where it can be known that it was another. False: there is
    /// no such place.
    pub fn rot_log(&self, chance: Chance<'_>) -> bool {
        self.simulated.as_ref().is_some_and(|simulated| simulated.device.rot(chance))
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
        if let Some(simulated) = &self.simulated {
            simulated.device.set_free_bytes(free_and_total_bytes.map(|(free_bytes, _)| free_bytes));
        }
    }

    /// Everything that a member's directory would hold is gone.
    pub(crate) fn empty(&self) {
        self.log.empty();
        if let Some(simulated) = &self.simulated {
            simulated.device.empty();
        }
        self.tables.empty();
    }

    pub(crate) fn open_log(&self) -> Result<Arc<dyn LogDisk>, LogOpenError> {
        Ok(match &self.simulated {
            None => Arc::new(self.log.clone()),
            Some(simulated) => Arc::new(simulated.open()?),
        })
    }
}

/// Where the log of a simulated node is.
#[derive(Clone)]
pub(crate) struct Simulated {
    device: Device,
    segment_bytes: u64,
}

impl Simulated {
    fn open(&self) -> Result<SimulatedLog, LogOpenError> {
        let log = SegmentedLog::open_in(Arc::new(self.device.clone()), self.segment_bytes)?;
        // Who opens a log waits until it is open.
        self.device.settle();
        Ok(SimulatedLog { log, device: self.device.clone() })
    }
}

/// The real log, whose device takes its time when somebody waits for it, and not before.
struct SimulatedLog {
    log: SegmentedLog,
    device: Device,
}

impl LogDisk for SimulatedLog {
    fn load(&self) -> io::Result<LogHead> {
        self.log.load()
    }

    fn entries(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>> {
        self.log.entries(from, to)
    }

    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        self.log.write(writes)
    }

    fn settled(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            self.device.settled().await;
            Ok(())
        })
    }

    fn waits(&self) -> bool {
        false
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
        let disk = MemoryDisk::simulated(Arc::new(Prompt), 4096);
        put(&disk, "a");
        disk.tables.freeze().unwrap();
        for key in ["b", "c", "d"] {
            put(&disk, key);
        }
        assert_eq!(disk.unsynced(), Unsynced { log_writes: 0, row_batches: 3 });
        disk.cut_power(1, &|_| 0);
        assert_eq!(["a", "b", "c", "d"].map(|key| has(&disk, key)), [true, true, false, false]);
    }

    #[test]
    fn a_rotten_row_is_an_error_until_it_is_written_again() {
        let disk = MemoryDisk::simulated(Arc::new(Prompt), 4096);
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
