//! openraft's own tests of log and state machine, on both disks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base::Tasks;
use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogStorage as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt as _;
use openraft::{EntryPayload, StorageError};
use tokio_util::sync::CancellationToken;

use crate::disk::memory::MemoryLog;
use crate::disk::rocks_state::RocksState;
use crate::disk::segments::SegmentedLog;
use crate::disk::{LogDisk, LogHead, LogWrite, StateDisk};
use crate::node::MemoryDisk;
use crate::raft::log_store::{self, LogStore};
use crate::raft::record::decode_log_id;
use crate::raft::replica::Replica;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::{Entry, LeaderId, LogId, TypeConfig, Vote};

/// Keeps what a store needs for as long as it is tested.
struct Guard {
    _dir: Option<tempfile::TempDir>,
    _tasks: Tasks,
}

fn assemble(
    log: Arc<dyn LogDisk>,
    tables: Arc<dyn StateDisk>,
    dir: Option<tempfile::TempDir>,
) -> io::Result<(Guard, LogStore, StateMachine)> {
    let tasks = Tasks::new(CancellationToken::new());
    let (store, writer) = log_store::open(log)?;
    tasks.spawn("writer", writer.run());
    let machine = StateMachine::of(Arc::new(Replica::open(tables, 1_000_000)?));
    Ok((Guard { _dir: dir, _tasks: tasks }, store, machine))
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Guard> for InMemory {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<TypeConfig>> {
        let MemoryDisk { log, tables, .. } = MemoryDisk::default();
        Ok(assemble(Arc::new(log), Arc::new(tables), None).expect("memory opens"))
    }
}

struct OnFiles;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Guard> for OnFiles {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a directory");
        let log = SegmentedLog::open(&dir.path().join("log")).expect("a log");
        let tables = RocksState::open(&dir.path().join("state")).expect("tables");
        Ok(assemble(Arc::new(log), Arc::new(tables), Some(dir)).expect("it opens"))
    }
}

/// A disk on which writes fail once it is told so.
#[derive(Default)]
struct Failing {
    log: MemoryLog,
    fails: AtomicBool,
    waits: bool,
    writes: AtomicUsize,
}

impl LogDisk for Failing {
    fn load(&self) -> io::Result<LogHead> {
        self.log.load()
    }

    fn entries(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>> {
        self.log.entries(from, to)
    }

    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.log.write(writes)
    }

    fn waits(&self) -> bool {
        self.waits
    }
}

fn id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

/// Ends when the entry is durable.
async fn append(store: &mut LogStore, index: u64) -> io::Result<()> {
    let entry = Entry { log_id: id(index), payload: EntryPayload::Blank };
    let (flushed_tx, flushed) = TypeConfig::oneshot();
    store.append([entry], IOFlushed::signal(flushed_tx)).await.expect("it is queued");
    flushed.await.expect("a report")
}

#[tokio::test]
async fn what_is_committed_goes_with_the_next_write_behind_its_entries() {
    let disk = Arc::new(Failing::default());
    let (mut store, writer) = log_store::open(disk.clone()).expect("memory opens");
    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("writer", writer.run());
    let written = || {
        let head = disk.load().expect("memory");
        let committed = head.committed.map(|id| decode_log_id(&id).expect("an id").index);
        (committed, disk.writes.load(Ordering::SeqCst))
    };
    append(&mut store, 1).await.expect("memory");
    store.save_committed(Some(id(1))).await.expect("it is noted");
    assert_eq!(store.read_committed().await.expect("it is known"), Some(id(1)));
    assert_eq!(written(), (None, 1), "it is not worth a write of its own");
    append(&mut store, 2).await.expect("memory");
    assert_eq!(written(), (Some(1), 2));
    store.save_committed(Some(id(2))).await.expect("it is noted");
    drop(store);
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(30)).await.expect("the writer ends");
    assert_eq!(written(), (Some(2), 3));
}

/// With a thread of the writer's own, and without.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_reported_to_all_and_ends_the_node() {
    for waits in [false, true] {
        let disk = Arc::new(Failing { waits, ..Failing::default() });
        let tasks = Tasks::new(CancellationToken::new());
        let (mut store, writer) = log_store::open(disk.clone()).expect("memory opens");
        tasks.spawn("writer", writer.run());
        let vote = |term| Vote { leader_id: LeaderId { term, node_id: 1 }, committed: false };
        store.save_vote(&vote(1)).await.expect("it is durable");
        disk.fails.store(true, Ordering::SeqCst);
        append(&mut store, 1).await.expect_err("the disk fails");
        tasks.join(Duration::from_secs(30)).await.expect_err("the writer has failed");
        // The disk works again, but what it has is not known any more.
        disk.fails.store(false, Ordering::SeqCst);
        let writes = disk.writes.load(Ordering::SeqCst);
        store.save_vote(&vote(2)).await.expect_err("nothing follows a failed write");
        assert_eq!(disk.writes.load(Ordering::SeqCst), writes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_disk_conforms() {
    Suite::test_all(InMemory).await.expect("openraft's suite");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_conforms() {
    Suite::test_all(OnFiles).await.expect("openraft's suite");
}
