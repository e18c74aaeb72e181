//! One node alone.

use std::sync::Arc;
use std::time::Duration;

use base::{LeaseId, ManualClock, Revision, SeededEntropy, Tasks, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    Compare, Delete, EventKind, Op, Put, Range, Role, Span, Store, StoreError, Txn, Watch, WatchError,
};

pub(super) async fn store() -> (Store, Tasks) {
    let tasks = Tasks::new(CancellationToken::new());
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    (Store::in_memory(clock, Arc::new(SeededEntropy::new(1)), &tasks).await, tasks)
}

async fn put(store: &Store, key: &str, value: &str) -> Revision {
    let txn = Txn::of(Op::Put(Put::of(key.to_owned(), value.to_owned())));
    store.txn(txn).await.expect("a write").revision
}

#[tokio::test]
async fn a_watch_delivers_each_revision_once_from_any_that_is_retained() {
    let (store, _tasks) = store().await;
    let mut from_now = store.watch(Watch::of(Span::prefix("a/"))).expect("a watch");
    put(&store, "a/1", "x").await;
    put(&store, "b/1", "x").await;
    store.txn(Txn::of(Op::Delete(Delete::of(Span::prefix("a/"))))).await.expect("a deletion");
    let first = from_now.next().await.expect("a batch");
    assert_eq!((first.revision, first.events.len()), (Revision::new(2), 1));
    let second = from_now.next().await.expect("a batch");
    assert_eq!((second.revision, second.events[0].kind), (Revision::new(4), EventKind::Delete));
    assert_eq!(from_now.position(), Revision::new(4));

    let past = Watch { prev_kv: true, ..Watch::of(Span::all()).from(Revision::new(3)) };
    let mut past = store.watch(past).expect("a watch");
    assert_eq!(past.next().await.expect("a batch").revision, Revision::new(3));
    let gone = past.next().await.expect("a batch");
    assert_eq!(gone.events[0].prev.as_ref().map(|prev| &prev.value[..]), Some(&b"x"[..]));

    let mut future = store.watch(Watch::of(Span::all()).from(Revision::new(6))).expect("a watch");
    put(&store, "a/2", "5").await;
    put(&store, "a/2", "6").await;
    assert_eq!(future.next().await.expect("a batch").revision, Revision::new(6));
}

#[tokio::test]
async fn a_compacted_revision_is_refused() {
    let (store, _tasks) = store().await;
    for n in 0..10 {
        put(&store, "k", &n.to_string()).await;
    }
    let at = Revision::new(5);
    store.compact(at).await.expect("a compaction");
    let old = Range { revision: Some(Revision::new(4)), ..Range::key("k") };
    let refused = Err(StoreError::Compacted { asked: Revision::new(4), compacted: at });
    assert_eq!(store.range(old).await.map(drop), refused);
    assert!(store.watch(Watch::of(Span::all()).from(Revision::new(4))).is_err());
    let kept = store.range(Range { revision: Some(at), ..Range::key("k") }).await.expect("a read");
    assert_eq!(&kept.kvs[0].value[..], b"3");
}

#[tokio::test]
async fn a_read_only_transaction_makes_no_revision() {
    let (store, _tasks) = store().await;
    let at = put(&store, "k", "v").await;
    let txn = Txn {
        compares: vec![Compare::mod_revision("k", at)],
        success: vec![Op::Range(Range::key("k"))],
        failure: Vec::new(),
    };
    let answer = store.txn(txn).await.expect("an answer");
    assert!(answer.succeeded);
    assert_eq!((answer.revision, store.revision()), (at, at));
    assert_eq!(store.status().role, Role::Leader);
}

#[tokio::test]
async fn a_lease_that_nobody_keeps_alive_ends() {
    let (store, _tasks) = store().await;
    let lease = store.lease_grant(LeaseId::new(7), 3).await.expect("a lease");
    let attached = Put { lease: lease.id, ..Put::of("k", "v") };
    store.txn(Txn::of(Op::Put(attached))).await.expect("a write");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = store.lease_time_to_live(lease.id).await.expect("an answer").expect("it lives");
    assert!(status.remaining_seconds <= 2 && status.keys == ["k"], "{status:?}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(store.range(Range::key("k")).await.expect("a read").count, 0);
    assert_eq!(store.lease_time_to_live(lease.id).await, Ok(None));
}

#[tokio::test]
async fn a_watcher_ends_with_the_store() {
    let (store, tasks) = store().await;
    put(&store, "k", "v").await;
    let mut watcher = store.watch(Watch::of(Span::all())).expect("a watch");
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(5)).await.expect("no task failed");
    drop(store);
    let ended = tokio::time::timeout(Duration::from_secs(5), watcher.next()).await;
    assert!(matches!(ended, Err(_) | Ok(Err(WatchError::Stopping))));
}

/// What is applied is told to the status a moment later; the replica knows at once.
fn applied(store: &Store) -> u64 {
    store.inner().replica.progress().applied
}

#[tokio::test]
async fn writes_that_a_node_is_about_to_read_share_an_entry() {
    let (store, _tasks) = store().await;
    put(&store, "k", "first").await;
    let before = applied(&store);
    let later = |turns: usize| {
        let store = &store;
        async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            put(store, "k", &turns.to_string()).await
        }
    };
    let revisions = futures::future::join_all((0..4).map(later)).await;
    assert_eq!(revisions.len(), 4);
    assert_eq!(applied(&store) - before, 1, "each came one turn after the one before");
}
