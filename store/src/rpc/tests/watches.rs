//! Watch: creation, order, cancellation, progress, compaction.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::Served;

/// One Watch stream of a client.
struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Stream {
    async fn open(served: &Served) -> Self {
        let (requests, inbox) = mpsc::channel(16);
        let mut client = WatchClient::new(served.channel());
        let responses = client.watch(ReceiverStream::new(inbox)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    async fn send(&self, request: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    async fn create(&self, request: pb::WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request)).await;
    }

    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.responses.message());
        Ok(next.await.expect("a response in time")?.expect("the stream goes on"))
    }

    /// `id flags: events`
    async fn seen(&mut self) -> String {
        let response = self.next().await.unwrap();
        let mut text = response.watch_id.to_string();
        for (flag, set) in [("created", response.created), ("canceled", response.canceled)] {
            if set {
                text = format!("{text} {flag}");
            }
        }
        if response.compact_revision != 0 {
            text = format!("{text} compacted={}", response.compact_revision);
        }
        if !response.cancel_reason.is_empty() {
            text = format!("{text} ({})", response.cancel_reason);
        }
        for event in &response.events {
            let kv = event.kv.as_ref().unwrap();
            let prev = event.prev_kv.as_ref().map(|prev| String::from_utf8_lossy(&prev.value).into_owned());
            text = format!(
                "{text} {:?} {}={}@{}{}",
                event.r#type(),
                String::from_utf8_lossy(&kv.key),
                String::from_utf8_lossy(&kv.value),
                kv.mod_revision,
                prev.map(|prev| format!(" was {prev}")).unwrap_or_default()
            );
        }
        text
    }
}

fn prefix(key: &'static str, end: &'static str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

async fn put(served: &Served, key: &'static str, value: &'static str) {
    let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
    KvClient::new(served.channel()).put(put).await.unwrap();
}

async fn delete(served: &Served, key: &'static str, end: &'static str) {
    let delete = pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: false };
    KvClient::new(served.channel()).delete_range(delete).await.unwrap();
}

#[tokio::test]
async fn events_come_in_order_after_created_and_stop_when_canceled() {
    let served = Served::start().await;
    put(&served, "a1", "x").await;
    put(&served, "a2", "y").await;
    let mut stream = Stream::open(&served).await;
    stream.create(pb::WatchCreateRequest { start_revision: 2, prev_kv: true, ..prefix("a", "b") }).await;
    assert_eq!(stream.seen().await, "0 created");
    assert_eq!(stream.seen().await, "0 Put a1=x@2 Put a2=y@3");
    put(&served, "a1", "z").await;
    assert_eq!(stream.seen().await, "0 Put a1=z@4 was x");
    delete(&served, "a", "b").await;
    assert_eq!(stream.seen().await, "0 Delete a1=@5 was z Delete a2=@5 was y");
    stream.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 })).await;
    assert_eq!(stream.seen().await, "0 canceled");
    put(&served, "a1", "after").await;
    stream.create(pb::WatchCreateRequest { watch_id: 9, ..prefix("c", "") }).await;
    assert_eq!(stream.seen().await, "9 created");
    put(&served, "c", "now").await;
    assert_eq!(stream.seen().await, "9 Put c=now@7");
    served.stop().await;
}

#[tokio::test]
async fn many_watches_share_a_stream_with_their_own_filters() {
    let served = Served::start().await;
    let mut stream = Stream::open(&served).await;
    stream
        .create(pb::WatchCreateRequest { filters: vec![FilterType::Noput.into()], ..prefix("a", "") })
        .await;
    stream
        .create(pb::WatchCreateRequest { filters: vec![FilterType::Nodelete.into()], ..prefix("", "\0") })
        .await;
    assert_eq!(stream.seen().await, "0 created");
    assert_eq!(stream.seen().await, "1 created");
    put(&served, "a", "v").await;
    assert_eq!(stream.seen().await, "1 Put a=v@2");
    delete(&served, "a", "").await;
    assert_eq!(stream.seen().await, "0 Delete a=@3");
    served.stop().await;
}

#[tokio::test]
async fn impossible_watches_are_refused_one_by_one() {
    let served = Served::start().await;
    put(&served, "a", "1").await;
    put(&served, "a", "2").await;
    put(&served, "a", "3").await;
    KvClient::new(served.channel())
        .compact(pb::CompactionRequest { revision: 3, physical: false })
        .await
        .unwrap();
    let mut stream = Stream::open(&served).await;
    stream.create(pb::WatchCreateRequest { watch_id: 5, ..prefix("a", "") }).await;
    assert_eq!(stream.seen().await, "5 created");
    stream.create(pb::WatchCreateRequest { watch_id: 5, ..prefix("a", "") }).await;
    assert_eq!(
        stream.seen().await,
        "-1 created canceled (mvcc: duplicate watch ID provided on the WatchStream)"
    );
    stream.create(prefix("b", "a")).await;
    assert_eq!(stream.seen().await, "-1 created canceled (mvcc: watcher range is empty)");
    stream.create(pb::WatchCreateRequest { start_revision: -1, ..prefix("a", "") }).await;
    assert_eq!(
        stream.seen().await,
        "-1 created canceled (etcdserver: mvcc: required revision has been compacted)"
    );
    stream.create(pb::WatchCreateRequest { start_revision: 2, ..prefix("a", "") }).await;
    assert_eq!(stream.seen().await, "0 created");
    assert_eq!(stream.seen().await, "0 canceled compacted=3");
    stream.create(pb::WatchCreateRequest { start_revision: 3, ..prefix("a", "") }).await;
    assert_eq!(stream.seen().await, "1 created");
    assert_eq!(stream.seen().await, "1 Put a=2@3 Put a=3@4");
    served.stop().await;
}

#[tokio::test]
async fn progress_is_told_after_the_events_before_it() {
    let served = Served::start().await;
    let mut stream = Stream::open(&served).await;
    stream.create(prefix("a", "b")).await;
    stream.create(prefix("z", "")).await;
    assert_eq!(stream.seen().await, "0 created");
    assert_eq!(stream.seen().await, "1 created");
    for revision in 2..22 {
        put(&served, "a", "v").await;
        stream.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
        let event = stream.next().await.unwrap();
        assert_eq!(event.events[0].kv.as_ref().unwrap().mod_revision, revision);
        let progress = stream.next().await.unwrap();
        assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, revision));
    }
    served.stop().await;
}

#[tokio::test]
async fn the_stream_ends_with_a_reason_when_the_port_stops() {
    let served = Served::start().await;
    let mut stream = Stream::open(&served).await;
    stream.create(prefix("a", "b")).await;
    assert_eq!(stream.seen().await, "0 created");
    served.tasks.stop().cancel();
    let ended = stream.next().await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: server stopped"));
    served.stop().await;
}
