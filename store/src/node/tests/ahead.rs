//! A node whose tables have applied what its log has lost: the other members had made it durable before it had.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{SeededEntropy, SystemClock, Tasks};
use tokio_util::sync::CancellationToken;

use crate::node::NoPeers;
use crate::{Disk, DiskWhims, MemoryDisk, Node, NodeConfig, Op, Put, Range, Store, SyncFate, Txn};

const PROMPT: SyncFate = SyncFate::Durable { after: Duration::ZERO };
const FORGOTTEN: SyncFate = SyncFate::Forgotten { after: Duration::ZERO };

struct Fate(Mutex<SyncFate>);

impl DiskWhims for Fate {
    fn sync(&self) -> SyncFate {
        *self.0.lock().unwrap()
    }
}

async fn start(disk: &MemoryDisk, seed: u64) -> (Store, Tasks) {
    let config = NodeConfig {
        disk: Disk::Memory(disk.clone()),
        snapshot_every_entries: 10,
        ..NodeConfig::in_memory()
    };
    let tasks = Tasks::new(CancellationToken::new());
    let entropy = Arc::new(SeededEntropy::new(seed));
    let node = Node::start(config, Arc::new(NoPeers), Arc::new(SystemClock), entropy, &tasks).await;
    (node.expect("a start").store, tasks)
}

async fn write(store: &Store, from: u64, to: u64) {
    for n in from..to {
        store.txn(Txn::of(Op::Put(Put::of(format!("k{n:02}"), "v")))).await.expect("a write");
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_are_ahead_of_the_log_are_where_it_goes_on() {
    let fate = Arc::new(Fate(Mutex::new(PROMPT)));
    let disk = MemoryDisk::simulated(fate.clone(), 16 * 1024);
    let mut written = 0;
    for seed in 1..=3 {
        let (store, tasks) = start(&disk, seed).await;
        let found = store.range(Range::prefix("k")).await.expect("a read");
        assert_eq!(found.count, written, "life {seed}");
        *fate.0.lock().unwrap() = PROMPT;
        write(&store, written, written + 15).await;
        // From here on the log is in other members' hands.
        *fate.0.lock().unwrap() = FORGOTTEN;
        write(&store, written + 15, written + 20).await;
        written += 20;
        tasks.stop().cancel();
        tasks.join(Duration::from_secs(10)).await.expect("no task failed");
        drop(store);
        assert!(disk.unsynced().log_writes >= 5);
        disk.cut_power(disk.unsynced().row_batches, &|_| 0);
    }
}
