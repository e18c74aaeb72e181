//! Leases over time and over leaders.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{LeaseId, NodeId};
use tokio::time::{Instant, sleep};

use super::cluster::{Trio, get};
use super::single::store;
use crate::{Op, Put, Span, Store, StoreError, Txn, Watch};

/// The shortest time to live that the store grants.
const TTL: Duration = Duration::from_secs(2);

async fn attach(store: &Store, lease: LeaseId, keys: impl Iterator<Item = String>) {
    let puts: Vec<Op> = keys.map(|key| Op::Put(Put { lease, ..Put::of(key, "v") })).collect();
    for puts in puts.chunks(100) {
        store.txn(Txn { success: puts.to_vec(), ..Txn::default() }).await.expect("a write");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_takes_thousands_of_keys_along_in_one_revision() {
    let (store, _tasks) = store().await;
    let lease = store.lease_grant(LeaseId::NONE, 1).await.expect("a lease");
    attach(&store, lease.id, (0..3000).map(|n| format!("k{n:04}"))).await;
    let before = store.revision();
    let mut watcher = store.watch(Watch::of(Span::all())).expect("a watch");
    let batch = watcher.next().await.expect("the end of the lease");
    assert_eq!((batch.revision, batch.events.len()), (before.next(), 3000));
    let keys: Vec<_> = batch.events.iter().map(|event| event.kv.key.clone()).collect();
    assert!(keys.is_sorted());
    assert_eq!(store.revision(), before.next());
    let late = Put { lease: lease.id, ..Put::of("late", "v") };
    assert_eq!(store.txn(Txn::of(Op::Put(late))).await, Err(StoreError::LeaseNotFound));
    assert_eq!(store.lease_keep_alive(lease.id).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_leases_are_kept_alive_through_any_node_and_end_when_they_are_not() {
    let trio = Trio::start().await;
    let ids: Vec<LeaseId> = (1..=1000).map(LeaseId::new).collect();
    let granted = ids.iter().map(|id| trio.store(NodeId::new(1)).lease_grant(*id, 3600));
    for granted in futures::future::join_all(granted).await {
        granted.expect("a lease");
    }
    let short = trio.store(NodeId::new(2)).lease_grant(LeaseId::new(5000), 1).await.expect("a lease");
    for node in trio.members.keys() {
        let beats = ids.iter().map(|id| trio.store(*node).lease_keep_alive(*id));
        let answers: BTreeSet<_> =
            futures::future::join_all(beats).await.into_iter().map(|beat| beat.expect("an answer")).collect();
        assert_eq!(answers, BTreeSet::from([Some(3600)]));
    }
    let gone = async {
        while trio.store(NodeId::new(3)).lease_time_to_live(short.id).await != Ok(None) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the short lease ends");
    assert_eq!(trio.store(NodeId::new(3)).leases().await.expect("leases").len(), 1000);
    trio.agree().await;
}

/// etcd #15247: a leader that was cut off counts on; back in the cluster it must not end leases that were kept alive
/// with its successor meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_ends_no_lease_that_its_successor_keeps() {
    let trio = Trio::start().await;
    let old = trio.leader().await;
    let lease = trio.store(old).lease_grant(LeaseId::new(7), 1).await.expect("a lease");
    attach(trio.store(old), lease.id, std::iter::once("k".to_owned())).await;
    trio.agree().await;
    trio.cut(old);
    let new = trio.leader().await;
    let cut_at = Instant::now();
    let mut healed = false;
    // Long enough for the old leader to find the lease over, while it is cut off and after.
    while cut_at.elapsed() < 4 * TTL {
        let left = trio.store(new).lease_keep_alive(lease.id).await;
        assert_eq!(left, Ok(Some(lease.ttl_seconds)), "after {:?}", cut_at.elapsed());
        if !healed && cut_at.elapsed() > 2 * TTL {
            trio.heal();
            healed = true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(get(trio.store(old), "k").await, Some("v".into()));
    trio.agree().await;
}

/// A new leader does not know how long its predecessor has counted: nobody loses time.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lasts_its_whole_time_after_a_change_of_the_leader_and_then_ends() {
    let mut trio = Trio::start().await;
    let old = trio.leader().await;
    let lease = trio.store(old).lease_grant(LeaseId::new(7), 3).await.expect("a lease");
    attach(trio.store(old), lease.id, std::iter::once("k".to_owned())).await;
    trio.agree().await;
    let witness = trio.others(old)[0];
    let mut watcher = trio.store(witness).watch(Watch::of(Span::key("k"))).expect("a watch");
    // Most of its time passes under the first leader.
    sleep(TTL).await;
    let killed = Instant::now();
    trio.kill(old).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), watcher.next()).await.expect("it ends");
    assert_eq!(ended.expect("an event").events.len(), 1);
    let lasted = killed.elapsed();
    assert!(lasted >= Duration::from_secs(3), "{lasted:?}");
    assert_eq!(trio.store(witness).lease_time_to_live(lease.id).await, Ok(None));
}
