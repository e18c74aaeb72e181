//! The seven calls of an unmodified kube-apiserver, as its storage layer makes them: Range, RangeStream, Txn, Compact,
//! Watch, LeaseGrant, Status.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::request_op::Request::{RequestDeleteRange, RequestPut, RequestRange};
use proto::etcdserverpb::response_op::Response::{ResponseDeleteRange, ResponsePut, ResponseRange};
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::mvccpb::event::EventType;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use super::Served;

const PODS: &str = "/registry/pods/";
const PODS_END: &str = "/registry/pods0";
const COMPACT_KEY: &str = "compact_rev_key";

/// What the API server's storage layer is, of one connection.
struct Storage {
    kv: KvClient<Channel>,
    channel: Channel,
}

/// The events of one watch, and the way to ask how far it is.
struct Watching {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Storage {
    fn of(served: &Served) -> Self {
        let channel = served.channel();
        Self { kv: KvClient::new(channel.clone()), channel }
    }

    async fn get(&mut self, key: &str) -> pb::RangeResponse {
        let range = pb::RangeRequest { key: bytes(key), limit: 1, ..Default::default() };
        self.kv.range(range).await.unwrap().into_inner()
    }

    /// The object's revision must be this; 0: there must be none. The answer to a conflict is the object.
    async fn put_if(&mut self, key: &str, revision: i64, value: &str, lease: i64) -> pb::TxnResponse {
        let put = pb::PutRequest { key: bytes(key), value: bytes(value), lease, ..Default::default() };
        self.txn(key, revision, RequestPut(put)).await
    }

    async fn delete_if(&mut self, key: &str, revision: i64) -> pb::TxnResponse {
        let delete = pb::DeleteRangeRequest { key: bytes(key), ..Default::default() };
        self.txn(key, revision, RequestDeleteRange(delete)).await
    }

    async fn txn(&mut self, key: &str, revision: i64, then: pb::request_op::Request) -> pb::TxnResponse {
        let compare = pb::Compare {
            result: pb::compare::CompareResult::Equal.into(),
            target: pb::compare::CompareTarget::Mod.into(),
            key: bytes(key),
            target_union: Some(pb::compare::TargetUnion::ModRevision(revision)),
            ..Default::default()
        };
        let get = RequestRange(pb::RangeRequest { key: bytes(key), ..Default::default() });
        let op = |request| pb::RequestOp { request: Some(request) };
        let txn = pb::TxnRequest { compare: vec![compare], success: vec![op(then)], failure: vec![op(get)] };
        self.kv.txn(txn).await.unwrap().into_inner()
    }

    async fn create(&mut self, name: &str) -> i64 {
        let made = self.put_if(&format!("{PODS}{name}"), 0, "v1", 0).await;
        assert!(made.succeeded, "{name} exists");
        let Some(ResponsePut(put)) = &made.responses[0].response else { panic!("a put") };
        assert_eq!(revision(&put.header), revision(&made.header), "the put's own header has the revision");
        revision(&made.header)
    }

    async fn watch(&self, start_revision: i64) -> Watching {
        let create = pb::WatchCreateRequest {
            key: bytes(PODS),
            range_end: bytes(PODS_END),
            start_revision,
            prev_kv: true,
            progress_notify: true,
            ..Default::default()
        };
        let mut watching = self.stream().await.unwrap();
        watching.send(RequestUnion::CreateRequest(create)).await;
        assert!(watching.next().await.unwrap().created);
        watching
    }

    async fn stream(&self) -> Result<Watching, Status> {
        let (requests, inbox) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(inbox));
        request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        let responses = WatchClient::new(self.channel.clone()).watch(request).await?.into_inner();
        Ok(Watching { requests, responses })
    }
}

impl Watching {
    async fn send(&self, request: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        let next = tokio::time::timeout(Duration::from_secs(30), self.responses.message());
        Ok(next.await.expect("a response in time")?.expect("the stream goes on"))
    }
}

fn bytes(text: &str) -> bytes::Bytes {
    text.to_owned().into()
}

fn revision(header: &Option<pb::ResponseHeader>) -> i64 {
    header.expect("a header").revision
}

fn pods() -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(PODS), range_end: bytes(PODS_END), ..Default::default() }
}

#[tokio::test]
async fn lists_go_on_where_the_last_page_ended_at_its_revision() {
    let served = Served::start().await;
    let mut storage = Storage::of(&served);
    assert!(
        revision(&storage.get(PODS).await.header) > 0,
        "the current revision, from a key that is not there"
    );
    for name in ["a", "b", "c", "d", "e"] {
        storage.create(name).await;
    }
    let page = storage.kv.range(pb::RangeRequest { limit: 2, ..pods() }).await.unwrap().into_inner();
    let at = revision(&page.header);
    assert_eq!((page.kvs.len(), page.count, page.more), (2, 5, true));
    storage.create("cc").await;
    let rest = pb::RangeRequest { key: bytes("/registry/pods/b\0"), limit: 2, revision: at, ..pods() };
    let rest = storage.kv.range(rest).await.unwrap().into_inner();
    assert_eq!((rest.kvs.len(), rest.count, rest.more), (2, 3, true), "count is what is left from here");
    assert_eq!(revision(&rest.header), at + 1, "the header has the newest revision");
    let counted = pb::RangeRequest { count_only: true, ..pods() };
    let counted = storage.kv.range(counted).await.unwrap().into_inner();
    assert_eq!((counted.count, counted.kvs.len()), (6, 0));
    let keys = pb::RangeRequest { keys_only: true, ..pods() };
    let keys = storage.kv.range(keys).await.unwrap().into_inner();
    assert!(keys.kvs.len() == 6 && keys.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));

    let streamed = pb::RangeRequest { revision: at, limit: 4, ..pods() };
    let mut chunks = storage.kv.range_stream(streamed).await.unwrap().into_inner();
    let (mut seen, mut last) = (0, pb::RangeResponse::default());
    while let Some(chunk) = chunks.message().await.unwrap() {
        assert!(last.header.is_none(), "header, more and count come last");
        last = chunk.range_response.unwrap();
        seen += last.kvs.len();
    }
    assert_eq!((seen, last.count, last.more, revision(&last.header)), (4, 5, true, at + 1));
    served.stop().await;
}

#[tokio::test]
async fn writes_are_guarded_by_the_revision_and_a_conflict_returns_the_object() {
    let served = Served::start().await;
    let mut storage = Storage::of(&served);
    let made = storage.create("a").await;
    let key = format!("{PODS}a");
    let again = storage.put_if(&key, 0, "v2", 0).await;
    let Some(ResponseRange(current)) = &again.responses[0].response else { panic!("the object") };
    assert!(!again.succeeded && current.kvs[0].mod_revision == made && current.kvs[0].value == "v1");
    let updated = storage.put_if(&key, made, "v2", 0).await;
    assert!(updated.succeeded);
    let stale = storage.delete_if(&key, made).await;
    let Some(ResponseRange(current)) = &stale.responses[0].response else { panic!("the object") };
    assert!(!stale.succeeded && current.kvs[0].value == "v2", "a stale deletion changes nothing");
    let gone = storage.delete_if(&key, revision(&updated.header)).await;
    let Some(ResponseDeleteRange(deleted)) = &gone.responses[0].response else { panic!("a deletion") };
    assert_eq!((deleted.deleted, revision(&deleted.header)), (1, revision(&gone.header)));
    let missing = storage.delete_if(&key, made).await;
    let Some(ResponseRange(current)) = &missing.responses[0].response else { panic!("no object") };
    assert!(!missing.succeeded && current.kvs.is_empty());
    served.stop().await;
}

#[tokio::test]
async fn a_watch_follows_a_list_and_tells_how_far_it_is() {
    let served = Served::start().await;
    let mut storage = Storage::of(&served);
    let listed = storage.create("a").await;
    let mut watching = storage.watch(listed + 1).await;
    let created = storage.create("b").await;
    storage.put_if(&format!("{PODS}a"), listed, "v2", 0).await;
    let newest = revision(&storage.delete_if(&format!("{PODS}b"), created).await.header);
    watching.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let mut seen = Vec::new();
    loop {
        let response = watching.next().await.unwrap();
        if response.watch_id == -1 {
            assert!(response.events.is_empty() && revision(&response.header) >= newest);
            break;
        }
        for event in response.events {
            let (kv, prev) = (event.kv.clone().unwrap(), event.prev_kv.clone());
            assert_eq!(revision(&response.header), kv.mod_revision);
            seen.push((event.r#type(), kv.version, prev.map(|prev| prev.mod_revision)));
        }
    }
    let expected =
        [(EventType::Put, 1, None), (EventType::Put, 2, Some(listed)), (EventType::Delete, 0, Some(created))];
    assert_eq!(seen, expected, "what came before the progress, in order, with what was there before");
    served.stop().await;
}

#[tokio::test]
async fn the_compactor_elects_itself_and_old_revisions_are_gone() {
    let served = Served::start().await;
    let mut storage = Storage::of(&served);
    let old = storage.create("a").await;
    let compare = |version| pb::Compare {
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Version.into(),
        key: bytes(COMPACT_KEY),
        target_union: Some(pb::compare::TargetUnion::Version(version)),
        ..Default::default()
    };
    let op = |request| pb::RequestOp { request: Some(request) };
    let turn = |version, value: &str| pb::TxnRequest {
        compare: vec![compare(version)],
        success: vec![op(RequestPut(pb::PutRequest {
            key: bytes(COMPACT_KEY),
            value: bytes(value),
            ..Default::default()
        }))],
        failure: vec![op(RequestRange(pb::RangeRequest { key: bytes(COMPACT_KEY), ..Default::default() }))],
    };
    assert!(storage.kv.txn(turn(0, "1")).await.unwrap().into_inner().succeeded);
    let lost = storage.kv.txn(turn(0, "1")).await.unwrap().into_inner();
    let Some(ResponseRange(winner)) = &lost.responses[0].response else { panic!("the winner's record") };
    assert!(!lost.succeeded && winner.kvs[0].version == 1);
    let won = storage.kv.txn(turn(1, "2")).await.unwrap().into_inner();
    let at = revision(&won.header);
    storage.kv.compact(pb::CompactionRequest { revision: at, physical: false }).await.unwrap();
    let refused = storage.kv.range(pb::RangeRequest { revision: old, ..pods() }).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")
    );
    let mut watching = storage.watch(old).await;
    let ended = watching.next().await.unwrap();
    assert!(ended.canceled && ended.compact_revision == at, "{ended:?}");
    served.stop().await;
}

#[tokio::test]
async fn objects_that_share_a_lease_end_together() {
    const EVENTS: usize = 300;
    let served = Served::start().await;
    let mut storage = Storage::of(&served);
    let grant = pb::LeaseGrantRequest { ttl: 5, id: 0 };
    let lease = LeaseClient::new(storage.channel.clone()).lease_grant(grant).await.unwrap().into_inner();
    let mut watching = storage.watch(0).await;
    // In few transactions, so that the lease outlives them on a busy machine.
    for chunk in (0..EVENTS).collect::<Vec<_>>().chunks(100) {
        let put = |n: &usize| {
            let key = bytes(&format!("{PODS}{n:04}"));
            RequestPut(pb::PutRequest { key, lease: lease.id, ..Default::default() })
        };
        let success = chunk.iter().map(|n| pb::RequestOp { request: Some(put(n)) }).collect();
        storage.kv.txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap();
    }
    let mut ended = std::collections::BTreeSet::new();
    let mut deleted = 0;
    while deleted < EVENTS {
        for event in watching.next().await.unwrap().events {
            if event.r#type() == EventType::Delete {
                deleted += 1;
                ended.insert(event.kv.unwrap().mod_revision);
            }
        }
    }
    assert_eq!((ended.len(), deleted), (1, EVENTS), "one revision deletes them all");
    served.stop().await;
}

#[tokio::test]
async fn the_version_switches_the_newest_features_on() {
    let served = Served::start().await;
    let mut maintenance = MaintenanceClient::new(served.channel());
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    let version: Vec<u32> = status.version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version >= vec![3, 5, 13], "progress requests need 3.5.13: {version:?}");
    assert!(status.db_size > 0 && status.leader == status.header.unwrap().member_id);
    served.stop().await;
}

#[tokio::test]
async fn without_a_leader_a_watch_that_needs_one_is_refused() {
    let served = Served::alone().await;
    let storage = Storage::of(&served);
    let refused = match storage.stream().await {
        Err(refused) => refused,
        Ok(mut watching) => watching.next().await.expect_err("no leader, no events"),
    };
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    let range = Storage::of(&served).kv.range(pods()).await.unwrap_err();
    assert_eq!((range.code(), range.message()), (Code::Unavailable, "etcdserver: no leader"));
    served.stop().await;
}
