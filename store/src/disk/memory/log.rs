//! The log's twin in memory: what was written is there, and nothing is ever lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::lock;
use crate::disk::{LogDisk, LogHead, LogWrite};

#[derive(Clone, Default)]
pub(crate) struct MemoryLog {
    rows: Arc<Mutex<LogRows>>,
    #[cfg(test)]
    fails: Arc<std::sync::atomic::AtomicBool>,
}

#[derive(Default)]
struct LogRows {
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<Bytes>,
    entries: BTreeMap<u64, Bytes>,
}

impl LogRows {
    fn apply(&mut self, write: &LogWrite) {
        match write {
            LogWrite::Vote(vote) => self.vote = Some(vote.clone()),
            LogWrite::Committed(id) => self.committed.clone_from(id),
            LogWrite::Entry { index, entry } => {
                self.entries.insert(*index, entry.clone());
            }
            LogWrite::TruncateFrom(index) => {
                self.entries.split_off(index);
            }
            LogWrite::PurgeTo { index, id } => {
                self.entries = self.entries.split_off(&(index + 1));
                self.purged = Some(id.clone());
            }
        }
    }
}

impl MemoryLog {
    pub(super) fn empty(&self) {
        *lock(&self.rows) = LogRows::default();
    }

    /// From now on no write succeeds.
    #[cfg(test)]
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, std::sync::atomic::Ordering::SeqCst);
    }
}

impl LogDisk for MemoryLog {
    fn load(&self) -> io::Result<LogHead> {
        let log = lock(&self.rows);
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
        let log = lock(&self.rows);
        Ok(log.entries.range(from..to).map(|(index, entry)| (*index, entry.clone())).collect())
    }

    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        #[cfg(test)]
        if self.fails.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::Error::other("the disk is made to fail"));
        }
        let mut rows = lock(&self.rows);
        for write in writes {
            rows.apply(write);
        }
        Ok(())
    }

    fn waits(&self) -> bool {
        false
    }
}
