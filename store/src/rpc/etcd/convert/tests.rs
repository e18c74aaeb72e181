//! Requests with bytes that no client would send: each is an answer or a refusal, and the store lives on.

use std::sync::Arc;

use base::{ManualClock, SeededEntropy, Tasks, Timestamp};
use proptest::prelude::*;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Store;
use crate::mutations::damaged;

fn range_request() -> pb::RangeRequest {
    pb::RangeRequest {
        key: "a".into(),
        range_end: "b".into(),
        limit: 3,
        revision: 2,
        sort_order: 1,
        sort_target: 2,
        min_mod_revision: 1,
        max_create_revision: 9,
        ..Default::default()
    }
}

fn txn_request() -> pb::TxnRequest {
    use pb::compare::TargetUnion;
    use pb::request_op::Request;
    let op = |request| pb::RequestOp { request: Some(request) };
    let put = pb::PutRequest { key: "a1".into(), value: "v".into(), prev_kv: true, ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: "a".into(), range_end: "\0".into(), prev_kv: true };
    let compare = |target, union| pb::Compare {
        result: 1,
        target,
        key: "a".into(),
        range_end: "b".into(),
        target_union: Some(union),
    };
    let inner = pb::TxnRequest {
        compare: vec![compare(3, TargetUnion::Value("v".into()))],
        success: vec![op(Request::RequestRange(range_request()))],
        failure: vec![op(Request::RequestPut(pb::PutRequest { key: "a2".into(), ..put.clone() }))],
    };
    pb::TxnRequest {
        compare: vec![compare(0, TargetUnion::Version(1)), compare(2, TargetUnion::ModRevision(2))],
        success: vec![op(Request::RequestPut(put)), op(Request::RequestTxn(inner))],
        failure: vec![op(Request::RequestDeleteRange(delete))],
    }
}

async fn ask(store: &Store, bytes: &[u8]) {
    if let Ok(Ok(asked)) = pb::RangeRequest::decode(bytes).map(range) {
        let _ = store.range(asked).await;
    }
    if let Ok(Ok(asked)) = pb::TxnRequest::decode(bytes).map(txn) {
        let _ = store.txn(asked).await;
    }
    if let Ok(asked) = pb::PutRequest::decode(bytes).map(put) {
        let _ = store.txn(Txn::of(Op::Put(asked))).await;
    }
    if let Ok(Ok(asked)) = pb::DeleteRangeRequest::decode(bytes).map(delete) {
        let _ = store.txn(Txn::of(Op::Delete(asked))).await;
    }
}

#[test]
fn a_damaged_request_is_answered_or_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = Tasks::new(CancellationToken::new());
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = runtime.block_on(Store::in_memory(clock, Arc::new(SeededEntropy::new(1)), &tasks));
    let valid = vec![range_request().encode_to_vec(), txn_request().encode_to_vec()];
    proptest!(ProptestConfig::with_cases(2000), |(bytes in damaged(valid))| {
        runtime.block_on(ask(&store, &bytes));
    });
    let put = pb::PutRequest { key: "alive".into(), ..Default::default() };
    let alive = runtime.block_on(store.txn(Txn::of(Op::Put(super::put(put)))));
    assert!(alive.expect("the store lives on").succeeded);
}
