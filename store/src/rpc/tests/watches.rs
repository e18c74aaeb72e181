//! Watch: creation, order, cancellation, progress, compaction.

use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::Served;
use crate::{NodeConfig, Timings};

/// One Watch stream of a client.
pub(super) struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Stream {
    async fn open(served: &Served) -> Self {
        Self::over(served.channel()).await
    }

    async fn over(channel: Channel) -> Self {
        let (requests, inbox) = mpsc::channel(16);
        Self::of(channel, requests, inbox).await
    }

    /// A stream with a first request: etcd says nothing before it has one.
    pub(super) async fn begin(channel: Channel, create: pb::WatchCreateRequest) -> Self {
        let (requests, inbox) = mpsc::channel(16);
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.send(create).await.unwrap();
        Self::of(channel, requests, inbox).await
    }

    async fn of(
        channel: Channel,
        requests: mpsc::Sender<pb::WatchRequest>,
        inbox: mpsc::Receiver<pb::WatchRequest>,
    ) -> Self {
        let mut client = WatchClient::new(channel);
        let responses = client.watch(ReceiverStream::new(inbox)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    pub(super) async fn send(&self, request: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    pub(super) async fn create(&self, request: pb::WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request)).await;
    }

    pub(super) async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        let next = tokio::time::timeout(Duration::from_secs(30), self.responses.message());
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

/// etcd #15220: a progress response overtook events.
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

/// etcd #15220 again: a watch that reads the past, while the client asks how far it is.
#[tokio::test]
async fn progress_waits_for_a_watch_that_catches_up() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    let value = Bytes::from(vec![b'x'; 20_000]);
    for n in 0..200 {
        let put = pb::PutRequest { key: format!("a{n}").into(), value: value.clone(), ..Default::default() };
        kv.put(put).await.unwrap();
    }
    let mut stream = Stream::open(&served).await;
    stream.create(pb::WatchCreateRequest { start_revision: 2, ..prefix("a", "b") }).await;
    stream.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    assert_eq!(stream.seen().await, "0 created");
    let mut seen = 1;
    loop {
        let response = stream.next().await.unwrap();
        let reached = response.header.unwrap().revision;
        if response.events.is_empty() {
            assert_eq!((response.watch_id, reached, seen), (-1, 201, 201));
            break;
        }
        for event in &response.events {
            seen += 1;
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, seen);
        }
        // A response names the last revision that it completes.
        assert_eq!(reached, seen);
    }
    served.stop().await;
}

#[tokio::test]
async fn without_a_watch_or_before_the_start_of_one_there_is_no_progress() {
    let served = Served::start().await;
    let mut stream = Stream::open(&served).await;
    stream.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    stream.create(pb::WatchCreateRequest { start_revision: 5, ..prefix("a", "b") }).await;
    stream.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    assert_eq!(stream.seen().await, "0 created");
    for value in ["2", "3", "4", "5", "6"] {
        put(&served, "a", value).await;
    }
    let events = [stream.next().await.unwrap(), stream.next().await.unwrap()].map(|one| one.events);
    let values = events.iter().flatten().map(|event| event.kv.as_ref().unwrap().value.clone());
    assert_eq!(values.collect::<Vec<_>>(), ["5", "6"]);
    stream.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    assert_eq!(stream.seen().await, "-1");
    served.stop().await;
}

/// One revision larger than a response may be is split for those who said that they can join it, and for nobody else.
#[tokio::test]
async fn a_large_revision_is_split_only_for_those_who_asked() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel());
    for key in ["a1", "a2", "a3", "a4"] {
        let value = Bytes::from(vec![b'x'; 700_000]);
        kv.put(pb::PutRequest { key: key.into(), value, ..Default::default() }).await.unwrap();
    }
    let mut stream = Stream::open(&served).await;
    for fragment in [true, false] {
        let create = pb::WatchCreateRequest { fragment, prev_kv: true, ..prefix("a", "b") };
        stream.create(create).await;
        stream.next().await.unwrap();
    }
    delete(&served, "a", "b").await;
    let mut told = [Vec::new(), Vec::new()];
    while told[0].last().is_none_or(|(_, more)| *more) || told[1].is_empty() {
        let response = stream.next().await.unwrap();
        let watch = usize::try_from(response.watch_id).unwrap();
        told[watch].push((response.events.len(), response.fragment));
    }
    assert_eq!(told, [vec![(2, true), (2, false)], vec![(4, false)]]);
    served.stop().await;
}

/// etcd #15402 and #17529: large reads on the same TLS connection starved watches.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_told_while_large_reads_fill_its_connection() {
    let served = Served::start().await;
    let channel = served.channel();
    let mut kv = KvClient::new(channel.clone());
    for n in 0..30 {
        let value = Bytes::from(vec![b'x'; 100_000]);
        kv.put(pb::PutRequest { key: format!("big{n}").into(), value, ..Default::default() }).await.unwrap();
    }
    let mut stream = Stream::over(channel.clone()).await;
    stream.create(prefix("a", "b")).await;
    assert_eq!(stream.seen().await, "0 created");
    let read = || async {
        let mut kv = KvClient::new(channel.clone());
        loop {
            let range = pb::RangeRequest { key: "big".into(), range_end: "bih".into(), ..Default::default() };
            let found = kv.range(range).await;
            assert_eq!(found.unwrap().into_inner().kvs.len(), 30);
        }
    };
    let watch = async {
        for n in 0..20 {
            put(&served, "a", "v").await;
            assert_eq!(stream.seen().await, format!("0 Put a=v@{}", 32 + n));
        }
    };
    tokio::select! {
        biased;
        () = watch => {}
        _ = futures::future::join_all((0..8).map(|_| read())) => {}
    }
    served.stop().await;
}

/// The client sends its requests, and says that no more come: what it watches goes on.
#[tokio::test]
async fn a_stream_whose_client_has_said_everything_goes_on() {
    let served = Served::start().await;
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(prefix("a", ""))) };
    let mut client = WatchClient::new(served.channel());
    let responses = client.watch(tokio_stream::iter([create])).await.unwrap().into_inner();
    let (requests, _) = mpsc::channel(1);
    let mut stream = Stream { requests, responses };
    assert_eq!(stream.seen().await, "0 created");
    put(&served, "a", "v").await;
    assert_eq!(stream.seen().await, "0 Put a=v@2");
    served.stop().await;
}

#[tokio::test]
async fn a_quiet_watch_that_asked_for_it_gives_signs_of_life() {
    let config = NodeConfig::in_memory();
    let timings = Timings { watch_notify_every: Duration::from_millis(20), ..config.timings };
    let served = Served::start_with(NodeConfig { timings, ..config }).await;
    put(&served, "a", "1").await;
    let mut stream = Stream::open(&served).await;
    stream.create(pb::WatchCreateRequest { progress_notify: true, ..prefix("a", "b") }).await;
    stream.create(prefix("b", "")).await;
    stream
        .create(pb::WatchCreateRequest { progress_notify: true, start_revision: 9, ..prefix("c", "") })
        .await;
    let mut created = Vec::new();
    let mut signs = 0;
    while created.len() < 3 || signs < 3 {
        let response = stream.next().await.unwrap();
        if response.created {
            created.push(response.watch_id);
            continue;
        }
        // Neither from the one that did not ask for it, nor from the one whose time has not come.
        assert_eq!((response.watch_id, response.events.len()), (0, 0), "{response:?}");
        assert_eq!(response.header.unwrap().revision, 2);
        signs += 1;
    }
    assert_eq!(created, [0, 1, 2]);
    // A sign is of what went before it on this stream, whoever wrote it.
    put(&served, "elsewhere", "2").await;
    put(&served, "a", "3").await;
    let (mut newest, mut seen) = (2, false);
    while newest < 4 {
        let response = stream.next().await.unwrap();
        let revision = response.header.unwrap().revision;
        assert!(revision >= newest, "{revision} after {newest}");
        seen |= response.events.iter().any(|event| event.kv.as_ref().unwrap().mod_revision == 4);
        assert!(revision < 4 || seen, "a sign came before the event that it tells of");
        newest = revision;
    }
    served.stop().await;
}
