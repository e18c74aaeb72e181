//! A cluster that begins with what another one had.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{LeaseId, NodeId, Revision, SeededEntropy, SystemClock, Tasks};
use tokio_util::sync::CancellationToken;

use crate::node::NoPeers;
use crate::offline::{OfflineError, Restore, Restored, restore, snapshot_status};
use crate::{
    Alarm, AlarmKind, Delete, InitialMember, Node, NodeConfig, Op, Put, Raise, Range, Span, Store,
    StoreError, Txn, Watch,
};

const GRACE: Duration = Duration::from_secs(10);

fn members(names: &[&str]) -> Vec<InitialMember> {
    let member = |name: &&str| InitialMember {
        name: (*name).to_owned(),
        peer_url: format!("https://{name}"),
        client_urls: Vec::new(),
    };
    names.iter().map(member).collect()
}

async fn start(config: NodeConfig) -> (Store, Tasks) {
    let tasks = Tasks::new(CancellationToken::new());
    let entropy = Arc::new(SeededEntropy::new(1));
    let node = Node::start(config, Arc::new(NoPeers), Arc::new(SystemClock), entropy, &tasks).await;
    (node.expect("a start").store, tasks)
}

async fn stop((store, tasks): (Store, Tasks)) {
    drop(store);
    tasks.stop().cancel();
    tasks.join(GRACE).await.expect("no task failed");
}

async fn put(store: &Store, key: String, value: Vec<u8>, lease: LeaseId) -> Revision {
    let put = Put { lease, ..Put::of(key, value) };
    store.txn(Txn::of(Op::Put(put))).await.expect("a write").revision
}

/// Keys in several versions, with and without a lease, deletions, large values, a compaction, an alarm.
async fn write_history(store: &Store) {
    let lease = store.lease_grant(LeaseId::new(77), 600).await.expect("a lease");
    for n in 0..60 {
        let lease = if n % 10 == 0 { lease.id } else { LeaseId::NONE };
        put(store, format!("k{}", n % 25), vec![u8::try_from(n).expect("small"); n * 60], lease).await;
    }
    let gone = Delete::of(Span::range("k20", "k22"));
    store.txn(Txn::of(Op::Delete(gone))).await.expect("a deletion");
    store.compact(Revision::new(20)).await.expect("a compaction");
    let alarm = Alarm { member: NodeId::new(1), kind: AlarmKind::Corrupt };
    store.alarm_raise(alarm).await.expect("an alarm");
}

async fn save(store: &Store, path: &Path) {
    let mut outgoing = store.snapshot().await.expect("a copy");
    // What comes after the copy is not in it.
    put(store, "later".to_owned(), Vec::new(), LeaseId::NONE).await;
    let mut all = Vec::new();
    while let Some(chunk) = outgoing.next().expect("it can be read") {
        all.extend_from_slice(&chunk.bytes);
    }
    std::fs::write(path, all).expect("it is written");
}

/// Everything that a client can see: keys at every revision, events, leases.
async fn seen(store: &Store, newest: Revision) -> String {
    let mut lines = Vec::new();
    for at in 20..=newest.get() {
        let range = Range { revision: Some(Revision::new(at)), ..Range::of(Span::all()) };
        let found = store.range(range).await.expect("a read");
        let kvs = found.kvs.iter().filter(|kv| kv.key != "later");
        lines.push(format!("{at}: {:?}", kvs.collect::<Vec<_>>()));
    }
    let mut watch = store.watch(Watch::of(Span::prefix("k")).from(Revision::new(20))).expect("a watch");
    while watch.position() < newest {
        lines.push(format!("{:?}", watch.next().await.expect("a batch")));
    }
    lines.push(format!("{:?}", store.leases().await.expect("leases")));
    let keys = store.lease_time_to_live(LeaseId::new(77)).await.expect("an answer").expect("a lease").keys;
    lines.push(format!("{keys:?}"));
    lines.join("\n")
}

fn restoring(snapshot: &Path, dir: &Path, raise: Raise) -> Restore {
    Restore {
        snapshot: snapshot.to_owned(),
        dir: dir.to_owned(),
        name: "new".to_owned(),
        token: "second".to_owned(),
        members: members(&["new"]),
        raise,
    }
}

fn config(dir: &Path) -> NodeConfig {
    NodeConfig::founding("new".to_owned(), dir.to_owned(), "second".to_owned(), members(&["new"]))
}

async fn round_trip(original: NodeConfig) {
    let files = tempfile::tempdir().expect("a directory");
    let snapshot = files.path().join("snapshot");
    let old = start(original).await;
    old.0.read_barrier().await.expect("it leads itself");
    write_history(&old.0).await;
    let newest = old.0.revision();
    save(&old.0, &snapshot).await;
    let expected = seen(&old.0, newest).await;
    let hash = old.0.hash_key_space(Some(newest)).await.expect("a hash");
    let old_cluster = old.0.status().cluster_id;
    stop(old).await;

    let status = snapshot_status(&snapshot).expect("a sound snapshot");
    assert_eq!((status.revision, status.compacted), (newest, Revision::new(20)));
    assert_eq!(status.cluster_id, old_cluster);

    let dir = files.path().join("restored");
    let restored = restore(&restoring(&snapshot, &dir, Raise::default())).expect("a restore");
    assert_eq!((restored.node_id, restored.revision), (NodeId::new(1), newest));
    let new = start(config(&dir)).await;
    new.0.read_barrier().await.expect("it leads itself");
    assert_eq!(new.0.status().cluster_id, restored.cluster_id);
    assert_ne!(restored.cluster_id, old_cluster);
    assert_eq!(new.0.revision(), newest);
    assert_eq!(seen(&new.0, newest).await, expected);
    assert_eq!(new.0.hash_key_space(Some(newest)).await.expect("a hash").hash, hash.hash);
    assert_eq!(new.0.alarms(), [], "alarms were about the old members");
    assert_eq!(put(&new.0, "k".to_owned(), Vec::new(), LeaseId::NONE).await, newest.next());
    let again = restore(&restoring(&snapshot, &dir, Raise::default()));
    assert!(matches!(again, Err(OfflineError::NotEmpty { .. })), "{again:?}");
    stop(new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_files_becomes_a_cluster_with_all_that_it_held() {
    let dir = tempfile::tempdir().expect("a directory");
    let of_files = NodeConfig {
        snapshot_every_entries: 30,
        ..NodeConfig::founding("old".to_owned(), dir.path().to_owned(), "first".to_owned(), members(&["old"]))
    };
    round_trip(of_files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_memory_becomes_a_cluster_with_all_that_it_held() {
    round_trip(NodeConfig::in_memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_revision_ends_old_watches() {
    let files = tempfile::tempdir().expect("a directory");
    let snapshot = files.path().join("snapshot");
    let old = start(NodeConfig::in_memory()).await;
    write_history(&old.0).await;
    let newest = old.0.revision();
    save(&old.0, &snapshot).await;
    stop(old).await;
    let make = |dir: &str, raise| -> Restored {
        restore(&restoring(&snapshot, &files.path().join(dir), raise)).expect("a restore")
    };
    let plain = make("plain", Raise::default());
    let raised = make("raised", Raise { by: 1000, mark_compacted: true });
    assert_ne!(plain.cluster_id, raised.cluster_id, "members with other rows never meet");
    let (store, tasks) = start(config(&files.path().join("raised"))).await;
    store.read_barrier().await.expect("it leads itself");
    let now = Revision::new(newest.get() + 1000);
    assert_eq!((store.revision(), store.status().compacted), (now, now));
    let stale = store.watch(Watch::of(Span::all()).from(newest)).map(drop);
    assert_eq!(stale, Err(StoreError::Compacted { asked: newest, compacted: now }));
    let all = store.range(Range::prefix("k")).await.expect("a read");
    assert_eq!(all.count, 23);
    assert!(all.kvs.iter().all(|kv| kv.mod_revision <= newest));
    assert_eq!(put(&store, "k1".to_owned(), Vec::new(), LeaseId::NONE).await, now.next());
    stop((store, tasks)).await;
}
