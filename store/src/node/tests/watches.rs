//! Watches beside compactions, snapshots and nodes that lag: what etcd got wrong, and ours must not.

use std::time::Duration;

use base::Revision;

use super::cluster::{Trio, put};
use crate::{Delete, EventKind, Op, Span, Store, StoreError, Txn, Watch, WatchError, Watcher};

const TIME_MAX: Duration = Duration::from_secs(30);

async fn delete(store: &Store, key: &str) -> Revision {
    let done = store.txn(Txn::of(Op::Delete(Delete::of(Span::key(key.to_owned()))))).await;
    done.expect("a deletion").revision
}

async fn next(watcher: &mut Watcher) -> Result<String, WatchError> {
    let batch = tokio::time::timeout(TIME_MAX, watcher.next()).await.expect("an answer")?;
    let event = |event: &std::sync::Arc<crate::Event>| {
        let kind = if event.kind == EventKind::Put { "+" } else { "-" };
        format!("{kind}{}", String::from_utf8_lossy(&event.kv.key))
    };
    let events: Vec<String> = batch.events.iter().map(event).collect();
    Ok(format!("{}: {}", batch.revision, events.join(" ")))
}

/// More than the ring of a node of [`Trio`] holds.
async fn push_out_of_the_ring(store: &Store) {
    for n in 0..60 {
        put(store, &format!("filler-{n}"), &"x".repeat(200)).await.expect("a write");
    }
}

/// etcd #18089 and #19179: a deletion at the very revision of the compaction was lost, to a watch that starts there.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_at_the_compacted_revision_is_told_to_a_watch_that_starts_there() {
    let trio = Trio::start().await;
    let leader = trio.leader().await;
    let store = trio.store(leader);
    put(store, "k", "v").await.expect("a write");
    let deleted = delete(store, "k").await;
    let again = put(store, "k", "w").await.expect("a write");
    push_out_of_the_ring(store).await;
    store.compact(deleted).await.expect("a compaction");
    // A later compaction would take it; until then the deletion stays, however long cleaning has been at work.
    push_out_of_the_ring(store).await;
    trio.agree().await;
    for (node, member) in &trio.members {
        let before = member.store.watch(Watch::of(Span::key("k")).from(Revision::new(deleted.get() - 1)));
        assert!(
            matches!(before.err(), Some(StoreError::Compacted { compacted, .. }) if compacted == deleted)
        );
        let mut watcher = member.store.watch(Watch::of(Span::key("k")).from(deleted)).expect("a watch");
        assert_eq!(next(&mut watcher).await, Ok(format!("{deleted}: -k")), "on {node}");
        assert_eq!(next(&mut watcher).await, Ok(format!("{again}: +k")), "on {node}");
    }
}

/// etcd #17529: events were lost when a watch that lagged met a compaction. It must hear of all of them, or of the
/// compaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_lags_behind_a_compaction_is_told_so_and_never_skips() {
    let trio = Trio::start().await;
    let store = trio.store(trio.leader().await);
    let mut slow = store.watch(Watch::of(Span::prefix("filler"))).expect("a watch");
    let first = next_revision(store);
    push_out_of_the_ring(store).await;
    assert_eq!(next(&mut slow).await, Ok(format!("{first}: +filler-0")));
    push_out_of_the_ring(store).await;
    let compacted = store.revision();
    store.compact(compacted).await.expect("a compaction");
    push_out_of_the_ring(store).await;
    let mut expected = first.next();
    let ended = loop {
        match next(&mut slow).await {
            Ok(told) => assert!(told.starts_with(&format!("{expected}: ")), "{told} instead of {expected}"),
            Err(ended) => break ended,
        }
        expected = expected.next();
        if expected > store.revision() {
            return;
        }
    };
    assert_eq!(ended, WatchError::Compacted { asked: expected, compacted });
}

fn next_revision(store: &Store) -> Revision {
    store.revision().next()
}

/// etcd #15271: a watch on a follower went back in time when the follower was given a snapshot. etcd #20221: a watch of
/// a future revision was told of earlier ones.
#[tokio::test(flavor = "multi_thread")]
async fn watches_on_a_node_that_gets_a_snapshot_go_forward_only_and_future_ones_wait() {
    let trio = Trio::start().await;
    let leader = trio.leader().await;
    let behind = trio.others(leader)[0];
    put(trio.store(leader), "k", "0").await.expect("a write");
    trio.agree().await;
    let start = trio.store(behind).revision().next();
    let future = Revision::new(start.get() + 250);
    let mut from_now = trio.store(behind).watch(Watch::of(Span::all())).expect("a watch");
    let mut from_future = trio.store(behind).watch(Watch::of(Span::all()).from(future)).expect("a watch");
    let mut in_future = trio.store(leader).watch(Watch::of(Span::all()).from(future)).expect("a watch");
    trio.cut(behind);
    for n in 0..300 {
        put(trio.store(leader), "k", &n.to_string()).await.expect("a write");
    }
    let newest = trio.store(leader).revision();
    trio.heal();
    trio.agree().await;
    for (watcher, first) in [(&mut from_now, start), (&mut from_future, future), (&mut in_future, future)] {
        for revision in first.get()..=newest.get() {
            assert_eq!(next(watcher).await, Ok(format!("{revision}: +k")));
        }
    }
}
