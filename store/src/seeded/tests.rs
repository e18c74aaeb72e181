//! Each bug beside the store without it: what a client sees honestly, and what it sees with the bug.

use std::sync::Arc;
use std::time::Duration;

use base::{LeaseId, ManualClock, Revision, SeededEntropy, Tasks, Timestamp};
use bytes::Bytes;
use expect_test::{Expect, expect};
use tokio_util::sync::CancellationToken;

use super::{Bug, planted};
use crate::disk::segments::SegmentedLog;
use crate::disk::{LogDisk as _, LogWrite};
use crate::node::{MemoryDisk, NoPeers};
use crate::raft::replica::Replica;
use crate::{
    Compare, Disk, Fence, Node, NodeConfig, Op, OpResult, Put, Range, Span, Store, StoreError, Txn,
    TxnResult, Watch, WriteOptions,
};

/// A node that can be started again on its disk. All of it runs in the test's thread, as the bug does.
struct Life {
    disk: MemoryDisk,
    starts: u64,
    store: Store,
    tasks: Tasks,
}

impl Life {
    async fn begin() -> Self {
        let disk = MemoryDisk::default();
        let (store, tasks) = start(&disk, 1).await;
        Self { disk, starts: 1, store, tasks }
    }

    async fn again(&mut self) {
        self.tasks.stop().cancel();
        let old = std::mem::replace(&mut self.tasks, Tasks::new(CancellationToken::new()));
        old.join(Duration::from_secs(10)).await.expect("no task failed");
        self.starts += 1;
        (self.store, self.tasks) = start(&self.disk, self.starts).await;
    }

    async fn put(&self, put: Put) -> Result<TxnResult, StoreError> {
        self.store.txn(Txn::of(Op::Put(put))).await
    }

    async fn puts(&self, key: &str, values: &[&str]) {
        for value in values {
            self.put(Put::of(key.to_owned(), (*value).to_owned())).await.expect("a write");
        }
    }

    /// The key's value and version; at a revision, if one is given.
    async fn get(&self, key: &str, at: Option<i64>) -> String {
        let range = Range { revision: at.map(Revision::new), ..Range::key(key.to_owned()) };
        match self.store.range(range).await {
            Err(error) => format!("{error}"),
            Ok(found) => match found.kvs.first() {
                None => "nothing".to_owned(),
                Some(kv) => format!("{} (version {})", text(&kv.value), kv.version),
            },
        }
    }

    async fn compact(&self, at: i64) {
        self.store.compact(Revision::new(at)).await.expect("a compaction");
        self.store.replica().wait_until_clean(Revision::new(at)).await;
    }
}

async fn start(disk: &MemoryDisk, seed: u64) -> (Store, Tasks) {
    let tasks = Tasks::new(CancellationToken::new());
    let config = NodeConfig { disk: Disk::Memory(disk.clone()), ..NodeConfig::in_memory() };
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let entropy = Arc::new(SeededEntropy::new(seed));
    let node = Node::start(config, Arc::new(NoPeers), clock, entropy, &tasks).await.expect("a start");
    (node.store, tasks)
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a client sees of an honest store, then of one with the bug.
async fn check(bug: Bug, look: impl AsyncFn(Life) -> String, expected: Expect) {
    let honest = look(Life::begin().await).await;
    let planted = planted::plant_here(bug);
    let wrong = look(Life::begin().await).await;
    drop(planted);
    expected.assert_eq(&format!("{honest}; {wrong}"));
    assert_eq!(look(Life::begin().await).await, honest, "it is off again");
}

#[test]
fn names_are_unique_and_found() {
    for bug in Bug::ALL {
        assert_eq!(Bug::named(bug.name()), Some(bug));
        assert!(!planted::is(bug), "nothing is planted by itself");
    }
}

#[tokio::test]
async fn answers_of_writes() {
    let previous = async |life: Life| {
        life.puts("k", &["1"]).await;
        let put = life.put(Put { prev_kv: true, ..Put::of("k", "2") }).await.expect("a write");
        match &put.responses[0] {
            OpResult::Put { prev: Some(prev) } => text(&prev.value),
            other => format!("{other:?}"),
        }
    };
    check(Bug::PreviousIsNew, previous, expect!["1; 2"]).await;

    let compare = async |life: Life| {
        life.puts("k", &["1"]).await;
        let compares = vec![Compare::mod_revision("k", Revision::new(99))];
        let txn = Txn { compares, success: vec![Op::Put(Put::of("k", "2"))], failure: Vec::new() };
        life.store.txn(txn).await.expect("an answer").succeeded.to_string()
    };
    check(Bug::CompareIgnoresRevision, compare, expect!["false; true"]).await;

    let fenced = async |life: Life| {
        let fence = Some(Fence { key: "leader".into(), epoch: Revision::new(9) });
        let store = life.store.with(WriteOptions { fence, request_id: None });
        let landed = store.txn(Txn::of(Op::Put(Put::of("k", "late")))).await.is_ok();
        format!("{} {landed}", life.get("k", None).await)
    };
    check(Bug::FenceUnchecked, fenced, expect!["nothing false; late (version 1) true"]).await;

    let retried = async |life: Life| {
        let store = life.store.with(WriteOptions { request_id: Some("id".into()), fence: None });
        for _ in 0..2 {
            store.txn(Txn::of(Op::Put(Put::of("k", "once")))).await.expect("a write");
        }
        life.get("k", None).await
    };
    check(Bug::RetryAppliedTwice, retried, expect!["once (version 1); once (version 2)"]).await;
}

#[tokio::test]
async fn replicas_by_chance() {
    let counted = async |life: Life| {
        for _ in 0..400 {
            life.puts("k", &["v"]).await;
        }
        (life.get("k", None).await == "v (version 400)").to_string()
    };
    check(Bug::ApplyByChance, counted, expect!["true; false"]).await;
}

#[tokio::test]
async fn leases() {
    let leaves = async |life: Life| {
        let lease = life.store.lease_grant(LeaseId::new(7), 60).await.expect("a lease").id;
        for key in ["a", "b", "c"] {
            life.put(Put { lease, ..Put::of(key, "v") }).await.expect("a write");
        }
        life.store.lease_revoke(lease).await.expect("its end");
        life.store.range(Range::of(Span::all())).await.expect("a read").kvs.len().to_string()
    };
    check(Bug::LeaseLeavesKeys, leaves, expect!["0; 2"]).await;

    let dead = async |life: Life| {
        life.put(Put { lease: LeaseId::new(7), ..Put::of("k", "v") }).await.is_ok().to_string()
    };
    check(Bug::DeadLeaseIsTaken, dead, expect!["false; true"]).await;
}

#[tokio::test]
async fn the_past() {
    let past = async |life: Life| {
        life.puts("k", &["a", "b", "c"]).await;
        life.get("k", Some(3)).await
    };
    check(Bug::PastReadOffByOne, past, expect!["b (version 2); a (version 1)"]).await;

    let compacted = async |life: Life| {
        life.puts("k", &["a", "b", "c"]).await;
        life.compact(4).await;
        life.get("k", Some(3)).await
    };
    let expected = expect!["revision 3 has been compacted; the oldest readable revision is 4; nothing"];
    check(Bug::CompactedIsRead, compacted, expected).await;

    let live = async |life: Life| {
        life.puts("k", &["a", "b"]).await;
        life.puts("j", &["x"]).await;
        life.compact(4).await;
        life.get("k", None).await
    };
    check(Bug::CompactionEatsLiveKey, live, expect!["b (version 2); a (version 1)"]).await;

    // What is at hand in memory is not missing: the watch has to read the disk.
    let events = async |mut life: Life| {
        life.puts("k", &["a", "b", "c"]).await;
        life.compact(3).await;
        life.again().await;
        let mut watch = life.store.watch(Watch::of(Span::all()).from(Revision::new(3))).expect("a watch");
        watch.next().await.expect("events").revision.to_string()
    };
    check(Bug::CompactionEatsEvents, events, expect!["3; 4"]).await;

    // Opened here: a node opens its tables in another thread, which has no bug.
    let again = async |life: Life| {
        life.puts("k", &["a", "b", "c"]).await;
        life.compact(3).await;
        let replica = Replica::open(Arc::new(life.disk.tables.clone()), 0).expect("its tables");
        replica.progress().horizon.newest.to_string()
    };
    check(Bug::RevisionGoesBack, again, expect!["4; 3"]).await;
}

#[test]
fn a_damaged_log_is_refused_or_cut() {
    let open_damaged = || {
        let dir = tempfile::tempdir().expect("a directory");
        let log = SegmentedLog::open(dir.path()).expect("a log");
        for index in 1..=9_u64 {
            let entry = Bytes::from(index.to_be_bytes().repeat(50));
            log.write(&[LogWrite::Entry { index, entry }]).expect("a write");
        }
        drop(log);
        let path = dir.path().join("segment-1");
        let mut bytes = std::fs::read(&path).expect("a segment");
        bytes[2_000] ^= 1;
        std::fs::write(&path, bytes).expect("damage");
        SegmentedLog::open(dir.path()).map(|log| log.entries(0, 100).expect("entries").len()).ok()
    };
    assert_eq!(open_damaged(), None);
    let _planted = planted::plant_here(Bug::DamagedLogIsCut);
    assert!(open_damaged().is_some_and(|entries| entries < 9), "acknowledged entries are forgotten");
}

#[test]
fn a_vote_may_wait_for_the_disk() {
    let vote = LogWrite::Vote(Bytes::new());
    assert!(vote.must_be_durable());
    let _planted = planted::plant_here(Bug::VoteNotSynced);
    assert!(!vote.must_be_durable());
}
