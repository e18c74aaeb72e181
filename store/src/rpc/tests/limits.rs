//! What one request and one client may take, and what they are told when it is too much.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::watch_client::WatchClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::Served;
use crate::{Limits, NodeConfig};

fn put(key: &str, bytes: usize) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: vec![b'x'; bytes].into(), ..Default::default() }
}

fn limited(limits: Limits) -> NodeConfig {
    NodeConfig { limits, ..NodeConfig::in_memory() }
}

#[tokio::test]
async fn a_request_over_a_limit_is_refused_in_etcds_words() {
    let served = Served::start_with(limited(Limits {
        request_bytes_max: 10_000,
        txn_ops_max: 2,
        ..Limits::default()
    }))
    .await;
    let mut kv = KvClient::new(served.channel());
    kv.put(put("k", 9_000)).await.unwrap();
    let refused = kv.put(put("k", 11_000)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "etcdserver: request is too large")
    );
    let refused = kv.put(put("k", 700_000)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().starts_with("grpc: received message larger than max"), "{refused}");
    let op = |key: &str| pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put(key, 1))) };
    let three = pb::TxnRequest { success: vec![op("a"), op("b"), op("c")], ..Default::default() };
    let refused = kv.txn(three).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "etcdserver: too many operations in txn request")
    );
    served.stop().await;
}

/// A node without a leader answers nothing for a while, so that what it was sent piles up.
#[tokio::test]
async fn who_has_too_much_unanswered_is_refused_and_others_are_not() {
    let served =
        Served::alone_with(Limits { unanswered_bytes_per_client_max: 1_000_000, ..Limits::default() }).await;
    let greedy = served.channel();
    let mut waiting: FuturesUnordered<_> = (0..20)
        .map(|_| {
            let mut kv = KvClient::new(greedy.clone());
            async move { kv.put(put("k", 100_000)).await.unwrap_err() }
        })
        .collect();
    let mut refused = 0;
    let first = waiting.next().await.unwrap();
    assert_eq!((first.code(), first.message()), (Code::ResourceExhausted, "etcdserver: too many requests"));
    let modest = KvClient::new(served.channel()).put(put("k", 100_000)).await.unwrap_err();
    assert_eq!(modest.message(), "etcdserver: no leader", "another client has room of its own");
    while let Some(answer) = waiting.next().await {
        refused += usize::from(answer.code() == Code::ResourceExhausted);
    }
    assert!((9..=11).contains(&(refused + 1)), "half of them fitted, {refused} more did not");
    let again = KvClient::new(greedy).put(put("k", 100_000)).await.unwrap_err();
    assert_eq!(again.message(), "etcdserver: no leader", "what was answered counts no more");
    served.stop().await;
}

#[tokio::test]
async fn who_does_not_read_its_answers_gets_no_more_of_them() {
    let served =
        Served::start_with(limited(Limits { unread_bytes_per_client_max: 300_000, ..Limits::default() }))
            .await;
    let channel = served.channel();
    let mut kv = KvClient::new(channel.clone());
    for n in 0..20 {
        kv.put(put(&format!("k{n:02}"), 200_000)).await.unwrap();
    }
    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    // Its windows fill up, and the rest waits in the server.
    let unread = kv.range_stream(all.clone()).await.unwrap();
    let mut refused = None;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while refused.is_none() && tokio::time::Instant::now() < deadline {
        let one = pb::RangeRequest { key: "nothing".into(), ..Default::default() };
        refused = kv.range(one).await.err();
    }
    let refused = refused.expect("the unread answer counts");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, "etcdserver: too many requests")
    );
    kv.put(put("w", 10)).await.expect("writes go on");
    KvClient::new(served.channel()).range(all).await.expect("so do the ranges of others");
    drop(unread);
    served.stop().await;
}

fn create(key: Vec<u8>) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest { key: key.into(), ..Default::default() };
    pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) }
}

#[tokio::test]
async fn a_stream_has_so_many_watches_and_no_more() {
    let served = Served::start_with(limited(Limits { watches_per_stream_max: 2, ..Limits::default() })).await;
    let requests = ["a", "b", "c"].map(|key| create(key.into()));
    let mut watch = WatchClient::new(served.channel());
    let mut answers = watch.watch(tokio_stream::iter(requests)).await.unwrap().into_inner();
    for refused in [false, false, true] {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.created, answer.canceled), (true, refused), "{answer:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_stream_of_many_messages_holds_one_at_a_time() {
    let served =
        Served::start_with(limited(Limits { unanswered_bytes_per_client_max: 100_000, ..Limits::default() }))
            .await;
    let (requests, inbox) = mpsc::channel(4);
    let mut watch = WatchClient::new(served.channel());
    let mut answers = watch.watch(ReceiverStream::new(inbox)).await.unwrap().into_inner();
    for _ in 0..20 {
        requests.send(create(vec![b'k'; 20_000])).await.unwrap();
        assert!(answers.message().await.unwrap().unwrap().created);
    }
    served.stop().await;
}
