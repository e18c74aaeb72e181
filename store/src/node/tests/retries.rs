//! A client's retries, through other members, after the leader's death and after everybody's.

use base::NodeId;

use super::cluster::{Trio, get, put};
use crate::{Compare, Op, Put, Store, StoreError, Txn, TxnResult, WriteOptions};

/// Creates the key, as long as it is absent.
async fn create(store: &Store, id: &'static str) -> Result<TxnResult, StoreError> {
    let txn = Txn {
        compares: vec![Compare::absent("k")],
        success: vec![Op::Put(Put::of("k", "mine"))],
        failure: Vec::new(),
    };
    store.with(WriteOptions { request_id: Some(id.into()), fence: None }).txn(txn).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_through_another_member_finds_the_first_answer() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let first = create(trio.store(leader), "id").await.expect("a write");
    assert!(first.succeeded);
    put(trio.store(leader), "k", "changed").await.expect("a write");
    for id in trio.others(leader) {
        assert_eq!(create(trio.store(id), "id").await, Ok(first.clone()));
    }
    let disk = trio.kill(leader).await;
    trio.leader().await;
    for id in trio.others(leader) {
        assert_eq!(create(trio.store(id), "id").await, Ok(first.clone()));
    }
    trio.start_node(leader, disk).await;
    // Everybody stops and starts.
    for id in (1..=3).map(NodeId::new) {
        let disk = trio.kill(id).await;
        trio.start_node(id, disk).await;
    }
    trio.leader().await;
    assert_eq!(create(trio.store(leader), "id").await, Ok(first));
    assert!(!create(trio.store(leader), "another").await.expect("a write").succeeded);
    assert_eq!(get(trio.store(leader), "k").await, Some("changed".into()));
    trio.agree().await;
}
