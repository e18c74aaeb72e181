//! Bugs of etcd in reading and acknowledging, each with its number: they must not be ours.

use std::sync::Arc;
use std::time::Duration;

use base::{Revision, SeededEntropy, SystemClock, Tasks};
use tokio_util::sync::CancellationToken;

use super::cluster::{Trio, get, put};
use crate::node::NoPeers;
use crate::{Call, Disk, MemoryDisk, Node, NodeConfig, StoreError};

/// etcd #20418: an answer to an earlier ReadIndex question served a read that began later, and the read missed a write
/// that had been acknowledged in between.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_20418_a_late_read_index_serves_no_later_read() {
    let trio = Trio::start().await;
    let leader = trio.leader().await;
    let reader = trio.others(leader)[0];
    for round in 0..5 {
        let (before, after) = (format!("{round} before"), format!("{round} after"));
        put(trio.store(leader), "k", &before).await.expect("a write");
        // The leader answers the question of the first read, and the answer takes its time.
        let network = trio.network();
        network.hold(Call::ReadIndex);
        let later = async {
            network.somebody_waits().await;
            put(trio.store(leader), "k", &after).await.expect("a write");
            let release = async { network.release() };
            tokio::join!(get(trio.store(reader), "k"), release).0
        };
        let (early, later) = tokio::join!(get(trio.store(reader), "k"), later);
        assert_eq!(later, Some(after.clone().into()));
        assert!(early == Some(before.into()) || early == Some(after.into()), "{early:?}");
    }
}

/// etcd #14370: a single member acknowledged a write before its log was on disk, and a crash lost it.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_14370_a_write_that_is_not_on_disk_is_not_acknowledged() {
    let disk = MemoryDisk::default();
    let start = || async {
        let tasks = Tasks::new(CancellationToken::new());
        let config = NodeConfig { disk: Disk::Memory(disk.clone()), ..NodeConfig::in_memory() };
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SeededEntropy::new(1)));
        let node = Node::start(config, Arc::new(NoPeers), clock, entropy, &tasks).await;
        (node.expect("a node starts").store, tasks)
    };
    let (store, tasks) = start().await;
    put(&store, "k", "kept").await.expect("a write");
    disk.log.fail(true);
    let lost = put(&store, "k", "lost").await;
    assert!(
        matches!(lost, Err(StoreError::Timeout | StoreError::NoLeader | StoreError::Stopping)),
        "{lost:?}"
    );
    tasks.stop().cancel();
    // A failed write of the log ends the node, whoever is first to notice.
    let _ended = tasks.join(Duration::from_secs(10)).await;
    disk.log.fail(false);
    let (store, tasks) = start().await;
    assert_eq!(get(&store, "k").await, Some("kept".into()));
    assert_eq!(store.revision(), Revision::new(2));
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(10)).await.expect("no task failed");
}
