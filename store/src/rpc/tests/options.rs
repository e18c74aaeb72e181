//! What goes with a write in its metadata: an id for retries, and a fence.

use expect_test::{Expect, expect};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use tonic::Request;

use super::Served;

fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn with<T>(message: T, name: &'static str, value: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test]
async fn a_request_with_an_id_is_applied_once() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    let mut revisions = Vec::new();
    for (value, id) in [("1", "x"), ("1", "x"), ("2", "x"), ("1", "y"), ("1", "x")] {
        let answer = kv.put(with(put("k", value), "navarch-request-id", id)).await.unwrap();
        revisions.push(answer.into_inner().header.unwrap().revision);
    }
    assert_eq!(revisions, [2, 2, 3, 4, 2]);
    let mut leases = LeaseClient::new(served.channel());
    let mut ids = Vec::new();
    for id in ["x", "x", "y"] {
        let grant = pb::LeaseGrantRequest { ttl: 100, id: 0 };
        let granted = leases.lease_grant(with(grant, "navarch-request-id", id)).await.unwrap();
        ids.push(granted.into_inner().id);
    }
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    served.stop().await;
}

#[tokio::test]
async fn a_stale_fence_is_refused_and_says_who_holds_the_key() {
    async fn check(kv: &mut KvClient<tonic::transport::Channel>, fence: &'static str, expected: Expect) {
        let answer = kv.put(with(put("k", "v"), "navarch-fence", fence)).await;
        expected.assert_eq(&match answer {
            Ok(answer) => format!("revision {}", answer.into_inner().header.unwrap().revision),
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        });
    }
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    kv.put(put("/leader", "one")).await.unwrap();
    check(&mut kv, "2 /leader", expect!["revision 3"]).await;
    check(
        &mut kv,
        "9 /leader",
        expect![[
            r#"FailedPrecondition: etcdserver: fenced: lease key "/leader" is held by "one" (epoch 2), not by the sender (epoch 9)"#
        ]],
    )
    .await;
    check(
        &mut kv,
        "2 /nobody",
        expect![[
            r#"FailedPrecondition: etcdserver: fenced: lease key "/nobody" is held by nobody, not by the sender (epoch 2)"#
        ]],
    )
    .await;
    check(
        &mut kv,
        "leader",
        expect!["InvalidArgument: navarch-fence must read `<epoch> <percent-encoded key>`"],
    )
    .await;
    // A transaction that only reads is held to its fence, too.
    let txn = pb::TxnRequest::default();
    assert!(kv.txn(with(txn.clone(), "navarch-fence", "9 /leader")).await.is_err());
    assert!(kv.txn(with(txn, "navarch-fence", "2 /leader")).await.is_ok());
    served.stop().await;
}

#[tokio::test]
async fn a_range_can_name_a_wall_time() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    kv.put(put("k", "1")).await.unwrap();
    let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
    let now = kv.range(with(range.clone(), "navarch-at", "99999999999999")).await.unwrap().into_inner();
    assert_eq!(now.kvs[0].value, "1");
    let before = kv.range(with(range.clone(), "navarch-at", "1999-12-31T23:59:59Z")).await.unwrap();
    assert!(before.into_inner().kvs.is_empty());
    kv.compact(pb::CompactionRequest { revision: 2, physical: false }).await.unwrap();
    let gone = kv.range(with(range.clone(), "navarch-at", "1999-12-31T23:59:59Z")).await.unwrap_err();
    assert_eq!(gone.message(), "etcdserver: mvcc: required revision has been compacted");
    let wrong = kv.range(with(range, "navarch-at", "yesterday")).await.unwrap_err();
    expect!["navarch-at must be a time in RFC 3339, or milliseconds since 1970"].assert_eq(wrong.message());
    served.stop().await;
}
