//! What a client sees of a member that has lost its leader.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use super::fleet::{Fleet, eventually};
use crate::Timings;

const DEADLINE: Duration = Duration::from_secs(30);

/// Whether the client wants to hear that there is no leader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    ForLeader,
    Nothing,
}

fn request<T>(message: T, asks: Asks) -> Request<T> {
    let mut request = Request::new(message);
    if asks == Asks::ForLeader {
        request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    }
    request
}

struct Watching {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

async fn watch(fleet: &Fleet, at: usize, asks: Asks) -> Watching {
    let (requests, inbox) = mpsc::channel(4);
    let mut client = WatchClient::new(fleet.channel(at));
    let responses = client.watch(request(ReceiverStream::new(inbox), asks)).await.unwrap().into_inner();
    let mut watching = Watching { requests, responses };
    watching.create().await;
    watching
}

impl Watching {
    async fn create(&mut self) {
        let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        self.requests.send(create).await.unwrap();
        assert!(next(&mut self.responses).await.unwrap().created);
    }
}

async fn next<T>(responses: &mut Streaming<T>) -> Result<T, Status> {
    let next = tokio::time::timeout(DEADLINE, responses.message());
    Ok(next.await.expect("an answer in time")?.expect("the stream goes on"))
}

fn no_leader<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let refused = answer.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
}

/// A member whose majority is gone: a leader that nobody answers, or a follower that hears nobody.
async fn tells_whoever_asked(fleet: &mut Fleet, left: usize) {
    let mut asking = watch(fleet, left, Asks::ForLeader).await;
    let mut other = watch(fleet, left, Asks::Nothing).await;
    let mut leases = LeaseClient::new(fleet.channel(left));
    let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 7 }).await.unwrap().into_inner();
    let (beats, inbox) = mpsc::channel(4);
    let kept = leases.lease_keep_alive(request(ReceiverStream::new(inbox), Asks::ForLeader));
    beats.send(pb::LeaseKeepAliveRequest { id: granted.id }).await.unwrap();
    let mut kept = kept.await.unwrap().into_inner();
    assert_eq!(next(&mut kept).await.unwrap().ttl, 600);

    let mut channels = vec![fleet.channel(left)];
    for at in (0..fleet.nodes.len()).rev().filter(|at| *at != left) {
        fleet.stop_one(at).await;
    }
    no_leader(next(&mut asking.responses).await);
    no_leader(next(&mut kept).await);
    // Who did not ask keeps its stream.
    other.create().await;
    let channel = channels.remove(0);
    let read = pb::RangeRequest { key: "k".into(), serializable: true, ..Default::default() };
    no_leader(KvClient::new(channel.clone()).range(request(read.clone(), Asks::ForLeader)).await);
    KvClient::new(channel.clone()).range(request(read, Asks::Nothing)).await.unwrap();
    let status = MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await.unwrap();
    assert_eq!(status.get_ref().errors, ["etcdserver: no leader"]);
    assert_eq!(status.get_ref().leader, 0);
    let inbox = tokio_stream::pending::<pb::WatchRequest>();
    no_leader(WatchClient::new(channel).watch(request(inbox, Asks::ForLeader)).await);
}

fn quick() -> Timings {
    Timings { leaderless_time_max: Duration::from_millis(200), ..Timings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_hears_no_leader_ends_the_streams_that_asked_for_one() {
    let mut fleet = Fleet::start_with(3, quick()).await;
    let follower = (fleet.leader().await + 1) % 3;
    tells_whoever_asked(&mut fleet, follower).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_nobody_answers_ends_the_streams_that_asked_for_one() {
    let mut fleet = Fleet::start_with(3, quick()).await;
    let leader = fleet.leader().await;
    tells_whoever_asked(&mut fleet, leader).await;
    fleet.stop().await;
}

/// The leader of one voter needs nobody's answer, also once a learner has answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_voter_keeps_its_leader_when_its_learner_goes() {
    let mut fleet = Fleet::start_with(1, quick()).await;
    let learner = fleet.learner().await;
    let leader = fleet.nodes[0].store.status().leader;
    eventually("the learner hears it", async || {
        (fleet.nodes[learner].store.status().leader == leader).then_some(())
    })
    .await;
    let mut asking = watch(&fleet, 0, Asks::ForLeader).await;
    fleet.stop_one(learner).await;
    let silence = 4 * Timings::default().election_max + quick().leaderless_time_max;
    let told = tokio::time::timeout(silence, asking.responses.message()).await;
    assert!(told.is_err(), "the stream goes on: {told:?}");
    assert_eq!(fleet.nodes[0].store.status().leader, leader);
    fleet.stop().await;
}
