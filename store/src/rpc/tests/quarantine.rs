//! A member whose data is wrong, as its clients see it over the wire.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::replica::RebuildRequest;
use proto::replica::replica_client::ReplicaClient;
use tokio::process::Command;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::fleet::{Fleet, Running, eventually};
use crate::mvcc::layout;
use crate::mvcc::tables::Table;

const DEADLINE: Duration = Duration::from_secs(30);

fn corrupt<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let refused = answer.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: corrupt cluster"));
}

fn put(value: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: "k".into(), value: value.into(), ..Default::default() }
}

fn range(serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest { key: "k".into(), serializable, ..Default::default() }
}

async fn watch(channel: Channel) -> Result<Streaming<pb::WatchResponse>, Status> {
    let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = tokio_stream::once(create).chain(tokio_stream::pending());
    WatchClient::new(channel).watch(requests).await.map(tonic::Response::into_inner)
}

async fn next<T>(responses: &mut Streaming<T>) -> Result<T, Status> {
    let next = tokio::time::timeout(DEADLINE, responses.message());
    Ok(next.await.expect("an answer in time")?.expect("the stream goes on"))
}

async fn status(channel: &Channel) -> pb::StatusResponse {
    let status = MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await;
    status.unwrap().into_inner()
}

/// Code and text of the page that probes ask for.
async fn health(node: &Running) -> String {
    let mut command = Command::new("curl");
    command
        .args(["-sSk", "--max-time", "30", "-w", " %{http_code}"])
        .arg(format!("https://127.0.0.1:{}/health", node.client_port))
        .stdin(Stdio::null());
    String::from_utf8(command.output().await.unwrap().stdout).unwrap()
}

/// Remembers one gauge.
#[derive(Default)]
struct Remembered {
    untrusted: Arc<Value>,
}

#[derive(Default)]
struct Value(AtomicU64);

impl GaugeFn for Value {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::SeqCst);
    }
}

impl Recorder for Remembered {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        if key.name() == "navarch_store_replica_untrusted_info" {
            Gauge::from_arc(self.untrusted.clone())
        } else {
            Gauge::noop()
        }
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// What the metric says of a member in this state.
fn untrusted(node: &Running) -> f64 {
    let recorder = Remembered::default();
    metrics::with_local_recorder(&recorder, || crate::metrics::observe_status(&node.store.status()));
    f64::from_bits(recorder.untrusted.0.load(Ordering::SeqCst))
}

async fn serves_nothing(fleet: &Fleet, at: usize) {
    let channel = fleet.channel(at);
    let mut kv = KvClient::new(channel.clone());
    corrupt(kv.range(range(false)).await);
    corrupt(kv.range(range(true)).await);
    let streamed = kv.range_stream(range(false)).await;
    corrupt(next(&mut streamed.unwrap().into_inner()).await);
    corrupt(kv.put(put("through it")).await);
    corrupt(kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }).await);
    corrupt(kv.txn(pb::TxnRequest::default()).await);
    corrupt(kv.compact(pb::CompactionRequest { revision: 1, physical: false }).await);
    let mut leases = LeaseClient::new(channel.clone());
    corrupt(leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 }).await);
    corrupt(leases.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 7, keys: false }).await);
    corrupt(leases.lease_leases(pb::LeaseLeasesRequest {}).await);
    let beats = tokio_stream::once(pb::LeaseKeepAliveRequest { id: 7 });
    let mut kept = leases.lease_keep_alive(beats).await.unwrap().into_inner();
    corrupt(next(&mut kept).await);
    corrupt(watch(channel.clone()).await);
    let mut cluster = ClusterClient::new(channel.clone());
    corrupt(cluster.member_list(pb::MemberListRequest { linearizable: true }).await);
    corrupt(MaintenanceClient::new(channel.clone()).snapshot(pb::SnapshotRequest {}).await);

    let errors = status(&channel).await.errors;
    assert!(errors.iter().any(|error| error.starts_with("etcdserver: corrupt cluster: ")), "{errors:?}");
    let health = health(&fleet.nodes[at]).await;
    assert!(health.starts_with(r#"{"health":"false""#) && health.ends_with(" 503"), "{health}");
    assert!((untrusted(&fleet.nodes[at]) - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_member_refuses_its_clients_until_it_is_rebuilt() {
    let fleet = Fleet::start(3).await;
    let leader = fleet.leader().await;
    let wrong = (leader + 1) % 3;
    KvClient::new(fleet.channel(leader)).put(put("right")).await.unwrap();
    let found = KvClient::new(fleet.channel(wrong)).range(range(false)).await.unwrap();
    assert_eq!(found.get_ref().kvs[0].value, "right");
    let mut watching = watch(fleet.channel(wrong)).await.unwrap();
    assert!(next(&mut watching).await.unwrap().created);
    assert!(untrusted(&fleet.nodes[wrong]).abs() < f64::EPSILON);

    fleet.nodes[wrong].disk.tables.flip(Table::Ver, &layout::key_prefix(b"k"));
    let channel = fleet.channel(wrong);
    let says_so = async || {
        let errors = status(&channel).await.errors;
        errors.iter().any(|error| error.starts_with("etcdserver: corrupt cluster: Keys")).then_some(())
    };
    eventually("its status says so", says_so).await;
    corrupt(next(&mut watching).await);
    serves_nothing(&fleet, wrong).await;
    // The others go on, and everybody can see whose data is wrong.
    KvClient::new(fleet.channel(leader)).put(put("newer")).await.unwrap();
    let alarm = format!("memberID:{} alarm:CORRUPT ", fleet.id(wrong));
    eventually("the others say so", async || {
        (status(&fleet.channel(leader)).await.errors == [alarm.clone()]).then_some(())
    })
    .await;

    let refused = ReplicaClient::new(fleet.channel(leader)).rebuild(RebuildRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let rebuilt = ReplicaClient::new(channel.clone()).rebuild(RebuildRequest {}).await.unwrap();
    assert!(rebuilt.get_ref().revision >= 3);
    let mut kv = KvClient::new(channel.clone());
    assert_eq!(kv.range(range(false)).await.unwrap().get_ref().kvs[0].value, "newer");
    let mut watching = watch(channel.clone()).await.unwrap();
    assert!(next(&mut watching).await.unwrap().created);
    kv.put(put("newest")).await.unwrap();
    assert_eq!(next(&mut watching).await.unwrap().events.len(), 1);
    eventually("nothing is left of it", async || status(&channel).await.errors.is_empty().then_some(()))
        .await;
    assert!(health(&fleet.nodes[wrong]).await.ends_with(" 200"));
    assert!(untrusted(&fleet.nodes[wrong]).abs() < f64::EPSILON);
    fleet.stop().await;
}
