//! A store that runs out of room, and gets some again.

use std::sync::Arc;
use std::time::Duration;

use base::{LeaseId, NodeId, Revision, SeededEntropy, SystemClock, Tasks};
use tokio_util::sync::CancellationToken;

use crate::mvcc::alarm::{AlarmChange, Lasts};
use crate::node::NoPeers;
use crate::{
    Alarm, AlarmKind, Delete, Disk, MemoryDisk, NewMember, Node, NodeConfig, Op, Put, Range, Span, Store,
    StoreError, Txn,
};

const FULL: Alarm = Alarm { member: NodeId::new(1), kind: AlarmKind::NoSpace };

async fn start(config: NodeConfig) -> (Store, Tasks) {
    let tasks = Tasks::new(CancellationToken::new());
    let entropy = Arc::new(SeededEntropy::new(1));
    let node = Node::start(config, Arc::new(NoPeers), Arc::new(SystemClock), entropy, &tasks).await;
    (node.expect("a node on memory starts").store, tasks)
}

async fn put(store: &Store, key: &str, bytes: usize) -> Result<Revision, StoreError> {
    let txn = Txn::of(Op::Put(Put::of(key.to_owned(), vec![7; bytes])));
    store.txn(txn).await.map(|done| done.revision)
}

async fn delete(store: &Store, key: &str) -> Result<Revision, StoreError> {
    let txn = Txn::of(Op::Delete(Delete::of(Span::key(key.to_owned()))));
    store.txn(txn).await.map(|done| done.revision)
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waits = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test]
async fn a_used_up_quota_refuses_what_grows_until_somebody_disarms() {
    let (store, tasks) = start(NodeConfig { quota_bytes: Some(100_000), ..NodeConfig::in_memory() }).await;
    let mut written = 0;
    let refused = loop {
        match put(&store, &format!("k{written}"), 2000).await {
            Ok(_) => written += 1,
            Err(refused) => break refused,
        }
        assert!(written < 100, "the quota holds");
    };
    assert_eq!(refused, StoreError::NoSpace);
    assert!(written > 10, "most of the quota can be used");
    assert_eq!(store.alarms(), [FULL]);
    assert_eq!(store.status().alarms, [FULL]);
    assert_eq!(store.lease_grant(LeaseId::new(1), 60).await, Err(StoreError::NoSpace));
    assert_eq!(put(&store, "small", 1).await, Err(StoreError::NoSpace), "the alarm refuses, not the size");
    assert_eq!(store.range(Range::of(Span::all())).await.expect("a read").count, written);

    let mut newest = store.revision();
    for n in 0..written {
        newest = delete(&store, &format!("k{n}")).await.expect("deletions are taken");
    }
    store.compact(newest).await.expect("compactions are taken");
    eventually("is it clean", || store.status().db_size_bytes < 20_000).await;
    assert_eq!(put(&store, "k", 2000).await, Err(StoreError::NoSpace), "until it is disarmed");
    assert_eq!(store.alarm_disarm(FULL).await, Ok(true));
    assert_eq!(store.alarm_disarm(FULL).await, Ok(false));
    put(&store, "k", 2000).await.expect("there is room again");
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(10)).await.expect("no task failed");
}

#[tokio::test(start_paused = true)]
async fn a_short_disk_makes_the_store_read_only_and_room_makes_it_writable() {
    let disk = MemoryDisk::default();
    let room = |free_bytes| disk.set_room(Some((free_bytes, 1_000_000)));
    room(40_000);
    let config = NodeConfig {
        disk: Disk::Memory(disk.clone()),
        disk_reserve_bytes: 10_000,
        ..NodeConfig::in_memory()
    };
    let (store, tasks) = start(config).await;
    put(&store, "k", 10).await.expect("there is room");
    room(9_000);
    eventually("is there an alarm", || store.alarms() == [FULL]).await;
    assert_eq!(put(&store, "k", 10).await, Err(StoreError::NoSpace));
    delete(&store, "k").await.expect("deletions are taken");
    store.compact(store.revision()).await.expect("compactions are taken");
    // Disarming does not make room.
    assert_eq!(store.alarm_disarm(FULL).await, Ok(true));
    assert_eq!(put(&store, "k", 10).await, Err(StoreError::NoSpace));
    eventually("is the alarm back", || store.alarms() == [FULL]).await;
    room(40_000);
    eventually("is the alarm gone", || store.alarms().is_empty()).await;
    put(&store, "k", 10).await.expect("there is room again");
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(10)).await.expect("no task failed");
}

#[tokio::test]
async fn an_alarm_that_ends_by_itself_ends_with_its_member() {
    let (store, tasks) = start(NodeConfig::in_memory()).await;
    let learner = NewMember {
        name: "two".to_owned(),
        peer_url: "https://two".to_owned(),
        client_urls: Vec::new(),
        votes_when_ready: false,
    };
    let member = store.member_add(learner).await.expect("a learner is added").id;
    let full = Alarm { member, kind: AlarmKind::NoSpace };
    let corrupt = Alarm { member, kind: AlarmKind::Corrupt };
    store.change_alarm(AlarmChange::Raise(full, Lasts::UntilCleared)).await.expect("its disk is short");
    store.alarm_raise(corrupt).await.expect("somebody thinks ill of it");
    assert_eq!(put(&store, "k", 10).await, Err(StoreError::NoSpace));
    store.member_remove(member).await.expect("it is removed");
    eventually("is its alarm gone", || store.alarms() == [corrupt]).await;
    put(&store, "k", 10).await.expect("the others have room");
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(10)).await.expect("no task failed");
}
