//! KV: what a client sees of ranges, puts, deletions, transactions and compaction.

use expect_test::{Expect, expect};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::request_op::Request::{
    self, RequestDeleteRange, RequestPut, RequestRange, RequestTxn,
};
use tonic::Status;
use tonic::transport::Channel;

use super::Served;

type Kv = KvClient<Channel>;

fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn range(key: &'static str, end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// `key=value@create.mod.version`, then more, count and the header's revision.
fn show(response: &pb::RangeResponse) -> String {
    let kvs: Vec<String> = response
        .kvs
        .iter()
        .map(|kv| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!(
                "{}={}@{}.{}.{}",
                text(&kv.key),
                text(&kv.value),
                kv.create_revision,
                kv.mod_revision,
                kv.version
            )
        })
        .collect();
    let more = if response.more { " more" } else { "" };
    let revision = response.header.map_or(0, |header| header.revision);
    format!("{} | {}{more} rev {revision}", kvs.join(" "), response.count)
}

fn check(result: Result<tonic::Response<pb::RangeResponse>, Status>, expected: &Expect) {
    expected.assert_eq(&match result {
        Ok(response) => show(response.get_ref()),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    });
}

/// Five writes: revisions 2 to 6.
async fn filled(client: &mut Kv) {
    for (key, value) in [("a", "3"), ("b", "2"), ("c", "1"), ("b", "9"), ("d", "0")] {
        client.put(put(key, value)).await.unwrap();
    }
}

#[tokio::test]
async fn ranges_take_every_option() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    check(kv.range(range("a", "")).await, &expect![" | 0 rev 1"]);
    filled(&mut kv).await;
    check(kv.range(range("b", "")).await, &expect!["b=9@3.5.2 | 1 rev 6"]);
    check(kv.range(range("a", "c")).await, &expect!["a=3@2.2.1 b=9@3.5.2 | 2 rev 6"]);
    check(kv.range(range("c", "\0")).await, &expect!["c=1@4.4.1 d=0@6.6.1 | 2 rev 6"]);
    let all = range("\0", "\0");
    check(kv.range(all.clone()).await, &expect!["a=3@2.2.1 b=9@3.5.2 c=1@4.4.1 d=0@6.6.1 | 4 rev 6"]);
    let past = pb::RangeRequest { revision: 3, ..all.clone() };
    check(kv.range(past).await, &expect!["a=3@2.2.1 b=2@3.3.1 | 2 rev 6"]);
    let limited = pb::RangeRequest { limit: 3, ..all.clone() };
    check(kv.range(limited).await, &expect!["a=3@2.2.1 b=9@3.5.2 c=1@4.4.1 | 4 more rev 6"]);
    let counted = pb::RangeRequest { count_only: true, ..all.clone() };
    check(kv.range(counted).await, &expect![" | 4 rev 6"]);
    let keys = pb::RangeRequest { keys_only: true, serializable: true, ..range("a", "c") };
    check(kv.range(keys).await, &expect!["a=@2.2.1 b=@3.5.2 | 2 rev 6"]);
    let mut by_value = pb::RangeRequest { limit: 2, ..all.clone() };
    by_value.set_sort_target(SortTarget::Value);
    check(kv.range(by_value).await, &expect!["d=0@6.6.1 c=1@4.4.1 | 4 more rev 6"]);
    let mut downward = all.clone();
    downward.set_sort_order(SortOrder::Descend);
    check(kv.range(downward).await, &expect!["d=0@6.6.1 c=1@4.4.1 b=9@3.5.2 a=3@2.2.1 | 4 rev 6"]);
    let recent = pb::RangeRequest { min_mod_revision: 5, max_create_revision: 5, ..all };
    check(kv.range(recent).await, &expect!["b=9@3.5.2 | 4 rev 6"]);
    served.stop().await;
}

#[tokio::test]
async fn refusals_have_etcds_words() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    filled(&mut kv).await;
    check(kv.range(range("", "")).await, &expect!["InvalidArgument: etcdserver: key is not provided"]);
    let future = pb::RangeRequest { revision: 99, ..range("a", "") };
    check(
        kv.range(future).await,
        &expect!["OutOfRange: etcdserver: mvcc: required revision is a future revision"],
    );
    kv.compact(pb::CompactionRequest { revision: 4, physical: true }).await.unwrap();
    let past = pb::RangeRequest { revision: 3, ..range("a", "") };
    check(
        kv.range(past).await,
        &expect!["OutOfRange: etcdserver: mvcc: required revision has been compacted"],
    );
    check(
        kv.range(pb::RangeRequest { revision: 4, ..range("b", "") }).await,
        &expect!["b=2@3.3.1 | 1 rev 6"],
    );
    let mut unsorted = range("a", "b");
    unsorted.sort_order = 17;
    check(kv.range(unsorted).await, &expect!["InvalidArgument: etcdserver: invalid sort option"]);
    let refused = |result: Result<tonic::Response<pb::PutResponse>, Status>| {
        result.map(|_| ()).unwrap_err().message().to_owned()
    };
    assert_eq!(refused(kv.put(put("", "v")).await), "etcdserver: key is not provided");
    let leased = pb::PutRequest { lease: 77, ..put("a", "v") };
    assert_eq!(refused(kv.put(leased).await), "etcdserver: requested lease not found");
    let kept = pb::PutRequest { ignore_value: true, ..put("none", "") };
    assert_eq!(refused(kv.put(kept.clone()).await), "etcdserver: key not found");
    let both = pb::PutRequest { value: "v".into(), ..kept };
    assert_eq!(refused(kv.put(both).await), "etcdserver: value is provided");
    let large = pb::PutRequest { value: vec![0; 1700 * 1024].into(), ..put("a", "") };
    assert_eq!(refused(kv.put(large).await), "etcdserver: request is too large");
    let twice = pb::TxnRequest {
        success: vec![op(RequestPut(put("x", "1"))), op(RequestPut(put("x", "2")))],
        ..Default::default()
    };
    let refusal = kv.txn(twice).await.unwrap_err();
    assert_eq!(refusal.message(), "etcdserver: duplicate key given in txn request");
    served.stop().await;
}

#[tokio::test]
async fn deletions_count_and_return_what_was_there() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    filled(&mut kv).await;
    let gone = pb::DeleteRangeRequest { key: "a".into(), range_end: "c".into(), prev_kv: true };
    let deleted = kv.delete_range(gone.clone()).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.prev_kvs.len(), deleted.header.unwrap().revision), (2, 2, 7));
    let nothing = kv.delete_range(gone).await.unwrap().into_inner();
    assert_eq!((nothing.deleted, nothing.header.unwrap().revision), (0, 7));
    let replaced = pb::PutRequest { prev_kv: true, ..put("c", "new") };
    let prev = kv.put(replaced).await.unwrap().into_inner().prev_kv.unwrap();
    assert_eq!((&prev.value[..], prev.version), (&b"1"[..], 1));
    served.stop().await;
}

#[tokio::test]
async fn transactions_nest_and_see_their_own_writes() {
    use pb::response_op::Response::{ResponseDeleteRange, ResponsePut, ResponseRange, ResponseTxn};
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    filled(&mut kv).await;
    let compare = pb::Compare {
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Mod.into(),
        key: "b".into(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(5)),
        ..Default::default()
    };
    let inner = pb::TxnRequest {
        success: vec![op(RequestPut(put("e", "5"))), op(RequestRange(range("e", "")))],
        ..Default::default()
    };
    let success = vec![
        op(RequestRange(range("a", ""))),
        op(RequestDeleteRange(pb::DeleteRangeRequest { key: "none".into(), ..Default::default() })),
        op(RequestPut(put("a", "new"))),
        op(RequestTxn(inner)),
    ];
    let failure = vec![op(RequestRange(range("b", "")))];
    let txn = pb::TxnRequest { compare: vec![compare], success, failure };
    let done = kv.txn(txn.clone()).await.unwrap().into_inner();
    assert!(done.succeeded);
    assert_eq!(done.header.unwrap().revision, 7);
    let [first, second, third, fourth] = &done.responses[..] else { panic!("four responses") };
    let (Some(ResponseRange(before)), Some(ResponseDeleteRange(none))) = (&first.response, &second.response)
    else {
        panic!("a range and a deletion");
    };
    expect!["a=3@2.2.1 | 1 rev 6"].assert_eq(&show(before));
    assert_eq!((none.deleted, none.header.unwrap().revision), (0, 6));
    let (Some(ResponsePut(changed)), Some(ResponseTxn(nested))) = (&third.response, &fourth.response) else {
        panic!("a put and a transaction");
    };
    assert_eq!(changed.header.unwrap().revision, 7);
    let Some(ResponseRange(own)) = &nested.responses[1].response else { panic!("a range") };
    expect!["e=5@7.7.1 | 1 rev 7"].assert_eq(&show(own));

    let compare = pb::Compare {
        target_union: Some(pb::compare::TargetUnion::ModRevision(4)),
        ..txn.compare[0].clone()
    };
    let refused = kv.txn(pb::TxnRequest { compare: vec![compare], ..txn }).await.unwrap().into_inner();
    assert!(!refused.succeeded);
    assert_eq!((refused.responses.len(), refused.header.unwrap().revision), (1, 7));
    served.stop().await;
}

#[tokio::test]
async fn a_streamed_range_is_whole_and_of_one_revision() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    for n in 0..95 {
        let key = format!("k{n:03}");
        kv.put(pb::PutRequest { key: key.into(), value: vec![1; 20_000].into(), ..Default::default() })
            .await
            .unwrap();
    }
    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let mut chunks = kv.range_stream(all.clone()).await.unwrap().into_inner();
    let mut keys = Vec::new();
    let mut sizes = Vec::new();
    let mut last = pb::RangeResponse::default();
    while let Some(chunk) = chunks.message().await.unwrap() {
        assert!(last.header.is_none(), "only the last chunk has a header");
        last = chunk.range_response.unwrap();
        sizes.push(last.kvs.len());
        keys.extend(last.kvs.iter().map(|kv| kv.key.clone()));
    }
    assert_eq!(keys.len(), 95);
    assert!(keys.is_sorted() && sizes[0] == 10 && sizes.len() > 3, "{sizes:?}");
    assert_eq!((last.count, last.more, last.header.unwrap().revision), (95, false, 96));

    let mut chunks =
        kv.range_stream(pb::RangeRequest { limit: 30, ..all.clone() }).await.unwrap().into_inner();
    let (mut seen, mut last) = (0, pb::RangeResponse::default());
    while let Some(chunk) = chunks.message().await.unwrap() {
        last = chunk.range_response.unwrap();
        seen += last.kvs.len();
    }
    assert_eq!((seen, last.count, last.more), (30, 95, true));
    let refused = kv.range_stream(pb::RangeRequest { min_mod_revision: 3, ..all }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    served.stop().await;
}
