//! A node on RocksDB that stops and starts again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{LeaseId, Revision, SeededEntropy, SystemClock, Tasks};
use tokio_util::sync::CancellationToken;

use super::cluster::when_free;
use crate::node::NoPeers;
use crate::{Disk, InitialMember, Node, NodeConfig, Op, Put, Range, Span, StartError, Store, Txn, Watch};

fn config(dir: &Path, name: &str) -> NodeConfig {
    let member = InitialMember {
        name: name.to_owned(),
        peer_url: "https://alone".to_owned(),
        client_urls: Vec::new(),
    };
    NodeConfig {
        snapshot_every_entries: 40,
        disk: Disk::Directory(dir.to_owned()),
        ..NodeConfig::founding(name.to_owned(), dir.to_owned(), "restart".to_owned(), vec![member])
    }
}

/// Each start draws other request ids, as a real process does.
async fn start(dir: &Path, seed: u64) -> Result<(Store, Tasks), StartError> {
    let tasks = Tasks::new(CancellationToken::new());
    let entropy = Arc::new(SeededEntropy::new(seed));
    let node =
        Node::start(config(dir, "a"), Arc::new(NoPeers), Arc::new(SystemClock), entropy, &tasks).await?;
    Ok((node.store, tasks))
}

async fn start_again(dir: &Path, seed: u64) -> (Store, Tasks) {
    when_free(async || start(dir, seed).await).await.expect("a start")
}

async fn stop(tasks: Tasks) {
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(10)).await.expect("no task failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_each_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut before = (Revision::new(1), 0);
    for round in 0..3_u8 {
        let (store, tasks) = start_again(dir.path(), round.into()).await;
        store.read_barrier().await.expect("it leads itself");
        assert_eq!(store.hash(), before);
        for n in 0..60 {
            let put = Put::of(format!("k{n}"), vec![round; 2000]);
            store.txn(Txn::of(Op::Put(put))).await.expect("a write");
        }
        if round == 0 {
            store.lease_grant(LeaseId::new(5), 600).await.expect("a lease");
        }
        let found = store.range(Range::of(Span::prefix("k"))).await.expect("a read");
        assert_eq!(found.count, 60);
        assert!(found.kvs.iter().all(|kv| kv.value[0] == round && kv.version == i64::from(round) + 1));
        assert_eq!(store.leases().await.expect("leases").len(), 1);
        let mut past = store.watch(Watch::of(Span::all()).from(Revision::new(2))).expect("a watch");
        let mut events = 0;
        while past.position() < store.revision() {
            events += past.next().await.expect("a batch").events.len();
        }
        assert_eq!(events, 60 * (usize::from(round) + 1));
        before = store.hash();
        stop(tasks).await;
        drop((store, past));
    }
    let (store, tasks) = start_again(dir.path(), 9).await;
    store.read_barrier().await.expect("it leads itself");
    store.compact(before.0).await.expect("a compaction");
    assert_eq!(store.range(Range::of(Span::all())).await.expect("a read").count, 60);
    stop(tasks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_serves_one_process_and_one_member() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, tasks) = start(dir.path(), 1).await.expect("a start");
    let second = start(dir.path(), 2).await.map(drop).expect_err("the directory is in use");
    assert!(matches!(second, StartError::InUse { .. }), "{second:?}");
    stop(tasks).await;
    drop(store);
    let tasks = Tasks::new(CancellationToken::new());
    let entropy = Arc::new(SeededEntropy::new(3));
    let other =
        Node::start(config(dir.path(), "b"), Arc::new(NoPeers), Arc::new(SystemClock), entropy, &tasks).await;
    let other = other.map(|_| ()).expect_err("it belongs to a");
    assert!(matches!(other, StartError::WrongIdentity { .. }), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defragmentation_frees_what_was_compacted_while_others_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, tasks) = start(dir.path(), 1).await.expect("a start");
    store.read_barrier().await.expect("it leads itself");
    // Values that do not compress.
    let mut seed = 1_u64;
    for n in 0..300 {
        let value: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[0]
        })
        .take(20_000)
        .collect();
        let put = Put::of(format!("k{}", n % 3), value);
        store.txn(Txn::of(Op::Put(put))).await.expect("a write");
    }
    store.compact(store.revision()).await.expect("a compaction");
    let before = store.status().db_size_bytes;
    assert!(before > 3_000_000, "{before}");
    let (defragmented, written) = tokio::join!(store.defragment(), async {
        store.txn(Txn::of(Op::Put(Put::of("meanwhile", "v")))).await
    });
    defragmented.expect("a defragmentation");
    written.expect("a write beside it");
    let after = store.status().db_size_bytes;
    assert!(after < before / 4, "{before} bytes became {after}");
    assert_eq!(store.range(Range::of(Span::all())).await.expect("a read").count, 4);
    stop(tasks).await;
}
