//! What a learner answers: etcd's codes and words, over a real connection.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use tonic::{Code, Status};

use super::fleet::{Fleet, eventually};

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let refused = answer.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, "etcdserver: rpc not supported for learner")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_answers_serializable_ranges_and_status_and_nothing_else() {
    let mut fleet = Fleet::start(1).await;
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    KvClient::new(fleet.channel(0)).put(put.clone()).await.unwrap();
    let learner = fleet.learner().await;
    let newest = fleet.nodes[0].store.revision();
    eventually("it has caught up and knows what it is", async || {
        let store = &fleet.nodes[learner].store;
        (store.revision() == newest && store.is_learner()).then_some(())
    })
    .await;
    let channel = fleet.channel(learner);
    let mut kv = KvClient::new(channel.clone());
    let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
    let found = kv.range(pb::RangeRequest { serializable: true, ..range.clone() }).await.unwrap();
    assert_eq!(found.get_ref().kvs[0].value, "v");
    let status = MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await.unwrap();
    assert!(status.get_ref().is_learner && status.get_ref().leader == fleet.id(0));

    refused(kv.range(range.clone()).await);
    refused(kv.range_stream(range).await);
    refused(kv.put(put).await);
    refused(kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }).await);
    refused(kv.txn(pb::TxnRequest::default()).await);
    refused(kv.compact(pb::CompactionRequest { revision: 1, physical: false }).await);
    let mut leases = LeaseClient::new(channel.clone());
    refused(leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 }).await);
    refused(leases.lease_revoke(pb::LeaseRevokeRequest { id: 1 }).await);
    refused(leases.lease_leases(pb::LeaseLeasesRequest {}).await);
    refused(leases.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 1, keys: false }).await);
    refused(leases.lease_keep_alive(tokio_stream::pending()).await);
    refused(WatchClient::new(channel.clone()).watch(tokio_stream::pending()).await);
    let mut cluster = ClusterClient::new(channel.clone());
    refused(cluster.member_list(pb::MemberListRequest { linearizable: true }).await);
    refused(cluster.member_promote(pb::MemberPromoteRequest { id: fleet.id(learner) }).await);
    let mut maintenance = MaintenanceClient::new(channel.clone());
    refused(maintenance.alarm(pb::AlarmRequest::default()).await);
    refused(maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await);
    refused(maintenance.defragment(pb::DefragmentRequest {}).await);
    refused(maintenance.move_leader(pb::MoveLeaderRequest { target_id: fleet.id(0) }).await);
    let mut auth = AuthClient::new(channel);
    refused(auth.user_list(pb::AuthUserListRequest {}).await);
    refused(auth.auth_status(pb::AuthStatusRequest {}).await);
    // A snapshot is the one stream that a learner serves.
    let mut parts = maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    assert!(parts.message().await.unwrap().is_some());
    fleet.stop().await;
}
