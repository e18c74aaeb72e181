//! A node on a file system that another program fills to the last byte.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base::{NodeId, SeededEntropy, SystemClock, Tasks};
use tokio_util::sync::CancellationToken;

use crate::node::NoPeers;
use crate::{
    Alarm, AlarmKind, Delete, InitialMember, Node, NodeConfig, Op, Put, Range, Span, Store, StoreError, Txn,
};

const DEADLINE: Duration = Duration::from_secs(60);
const FULL: Alarm = Alarm { member: NodeId::new(1), kind: AlarmKind::NoSpace };

/// A file system in memory, gone with this.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = format!("size={size}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()));
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("filler")).expect("a file");
        let block = vec![1; 64 * 1024];
        while file.write_all(&block).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("it is there");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("it runs");
    assert!(status.success(), "{command:?}: {status}");
}

async fn start(dir: &Path, seed: u64) -> (Store, Tasks) {
    let member =
        InitialMember { name: "a".to_owned(), peer_url: "https://alone".to_owned(), client_urls: Vec::new() };
    let config = NodeConfig {
        snapshot_every_entries: 50,
        ..NodeConfig::founding("a".to_owned(), dir.to_owned(), "full".to_owned(), vec![member])
    };
    let tasks = Tasks::new(CancellationToken::new());
    let entropy = Arc::new(SeededEntropy::new(seed));
    let node = Node::start(config, Arc::new(NoPeers), Arc::new(SystemClock), entropy, &tasks).await;
    (node.expect("a start").store, tasks)
}

async fn put(store: &Store, n: usize) -> Result<(), StoreError> {
    let put = Put::of(format!("k{n:05}"), vec![u8::try_from(n % 251).expect("small"); 4000]);
    store.txn(Txn::of(Op::Put(put))).await.map(drop)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waits).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_makes_the_node_read_only_until_there_is_room() {
    let small = Small::mount("256m");
    let data = small.path().join("data");
    let (store, tasks) = start(&data, 1).await;
    store.read_barrier().await.expect("it leads itself");
    for n in 0..500 {
        put(&store, n).await.expect("there is room");
    }
    eventually("is there a ballast", async || data.join("state/ballast").exists()).await;
    small.fill();
    eventually("is there an alarm", async || store.alarms() == [FULL]).await;
    assert_eq!(put(&store, 1).await, Err(StoreError::NoSpace));
    // More than enough for two snapshots, whose tables have to go somewhere.
    for n in 0..120 {
        let gone = Delete::of(Span::key(format!("k{n:05}")));
        store.txn(Txn::of(Op::Delete(gone))).await.expect("deletions are taken on a full disk");
    }
    store.compact(store.revision()).await.expect("a compaction is taken on a full disk");
    let found = store.range(Range::prefix("k")).await.expect("reads go on");
    assert_eq!(found.count, 380);
    small.make_room();
    eventually("is the alarm gone", async || store.alarms().is_empty()).await;
    put(&store, 1).await.expect("there is room again");
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(10)).await.expect("no task failed");
    drop(store);
}
