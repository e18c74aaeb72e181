//! openraft's own tests of log and state machine, on both disks.

use std::io;
use std::sync::Arc;

use base::Tasks;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio_util::sync::CancellationToken;

use crate::disk::rocks_state::RocksState;
use crate::disk::segments::SegmentedLog;
use crate::disk::{LogDisk, StateDisk};
use crate::node::MemoryDisk;
use crate::raft::log_store::{self, LogStore};
use crate::raft::replica::Replica;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::TypeConfig;

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
    let machine = StateMachine { replica: Arc::new(Replica::open(tables, 1_000_000)?) };
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

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_disk_conforms() {
    Suite::test_all(InMemory).await.expect("openraft's suite");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_conforms() {
    Suite::test_all(OnFiles).await.expect("openraft's suite");
}
