//! The log's twin in memory. A simulated one keeps apart what was synced, and takes its time to sync.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::lock;
use super::simulated::{DiskWhims, SyncFate};
use crate::disk::{LogDisk, LogHead, LogWrite};
use crate::seeded::{self, Bug};

#[derive(Clone, Default)]
pub(crate) struct MemoryLog {
    log: Arc<Mutex<Written>>,
    whims: Option<Arc<dyn DiskWhims>>,
    #[cfg(test)]
    fails: Arc<std::sync::atomic::AtomicBool>,
}

#[derive(Default)]
struct Written {
    now: LogRows,
    /// Of a simulated disk: what the device has, and what has been written since, in order.
    durable: LogRows,
    unsynced: Vec<LogWrite>,
    /// Somebody waits for a sync.
    is_awaited: bool,
}

#[derive(Clone, Default)]
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
    pub(super) fn simulated(whims: Arc<dyn DiskWhims>) -> Self {
        Self { whims: Some(whims), ..Self::default() }
    }

    /// How many writes a crash may lose.
    pub(super) fn unsynced(&self) -> usize {
        lock(&self.log).unsynced.len()
    }

    /// Loses what was not synced, except for the first `kept` writes.
    pub(super) fn crash(&self, kept: usize) {
        let mut log = lock(&self.log);
        let unsynced = std::mem::take(&mut log.unsynced);
        for write in unsynced.iter().take(kept) {
            log.durable.apply(write);
        }
        log.now = log.durable.clone();
        log.is_awaited = false;
    }

    /// From now on no write succeeds.
    #[cfg(test)]
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, std::sync::atomic::Ordering::SeqCst);
    }

    async fn sync(&self, whims: &dyn DiskWhims) -> io::Result<()> {
        let count = {
            let mut log = lock(&self.log);
            if !std::mem::take(&mut log.is_awaited) || seeded::is(Bug::AckBeforeSync) {
                return Ok(());
            }
            log.unsynced.len()
        };
        let (after, keeps) = match whims.sync() {
            SyncFate::Durable { after } => (after, true),
            SyncFate::Forgotten { after } => (after, false),
            SyncFate::Fails(kind) => return Err(kind.into()),
        };
        tokio::time::sleep(after).await;
        if keeps {
            let mut log = lock(&self.log);
            for write in log.unsynced.drain(..count).collect::<Vec<_>>() {
                log.durable.apply(&write);
            }
        }
        Ok(())
    }
}

impl LogDisk for MemoryLog {
    fn load(&self) -> io::Result<LogHead> {
        let log = &lock(&self.log).now;
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
        let log = &lock(&self.log).now;
        Ok(log.entries.range(from..to).map(|(index, entry)| (*index, entry.clone())).collect())
    }

    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        #[cfg(test)]
        if self.fails.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::Error::other("the disk is made to fail"));
        }
        let mut log = lock(&self.log);
        for write in writes {
            log.now.apply(write);
        }
        if self.whims.is_some() {
            log.unsynced.extend_from_slice(writes);
            log.is_awaited |= writes.iter().any(LogWrite::must_be_durable);
        }
        Ok(())
    }

    fn settled(&self) -> BoxFuture<'_, io::Result<()>> {
        match &self.whims {
            None => Box::pin(std::future::ready(Ok(()))),
            Some(whims) => Box::pin(self.sync(whims.as_ref())),
        }
    }

    fn waits(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Fate(Mutex<SyncFate>);

    impl DiskWhims for Fate {
        fn sync(&self) -> SyncFate {
            *lock(&self.0)
        }
    }

    fn entries(log: &MemoryLog) -> Vec<u64> {
        log.entries(0, 100).unwrap().into_iter().map(|(index, _)| index).collect()
    }

    fn write(log: &MemoryLog, index: u64) {
        log.write(&[LogWrite::Entry { index, entry: Bytes::from_static(b"e") }]).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_loses_what_was_not_synced_and_keeps_a_beginning_of_it() {
        let fate = Arc::new(Fate(Mutex::new(SyncFate::Durable { after: Duration::from_millis(5) })));
        let log = MemoryLog::simulated(fate.clone());
        write(&log, 1);
        log.settled().await.unwrap();
        for index in 2..=4 {
            write(&log, index);
        }
        assert_eq!(log.unsynced(), 3);
        log.crash(2);
        assert_eq!(entries(&log), [1, 2, 3]);
        log.crash(0);
        assert_eq!(entries(&log), [1, 2, 3], "what was found after a crash stays");
        write(&log, 4);
        let cut_short = tokio::time::timeout(Duration::from_millis(1), log.settled()).await;
        assert!(cut_short.is_err(), "a sync takes its time");
        log.crash(0);
        assert_eq!(entries(&log), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_may_lie_and_may_fail() {
        let fate = Arc::new(Fate(Mutex::new(SyncFate::Forgotten { after: Duration::ZERO })));
        let log = MemoryLog::simulated(fate.clone());
        write(&log, 1);
        log.settled().await.unwrap();
        log.crash(0);
        assert_eq!(entries(&log), []);
        *lock(&fate.0) = SyncFate::Fails(io::ErrorKind::StorageFull);
        write(&log, 1);
        assert_eq!(log.settled().await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        log.write(&[LogWrite::Committed(None)]).unwrap();
        log.settled().await.expect("nobody waits for it");
    }
}
