//! Lease, Cluster and Maintenance: what a client sees.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Code;

use super::Served;

#[tokio::test]
async fn a_lease_lives_as_long_as_it_is_kept_and_takes_its_keys_along() {
    let served = Served::start().await;
    let mut leases = LeaseClient::new(served.channel());
    let mut kv = KvClient::new(served.channel());
    let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 42 }).await.unwrap().into_inner();
    assert_eq!((granted.id, granted.ttl), (42, 60));
    let again = leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 42 }).await.unwrap_err();
    assert_eq!(
        (again.code(), again.message()),
        (Code::FailedPrecondition, "etcdserver: lease already exists")
    );
    let chosen = leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 }).await.unwrap().into_inner();
    assert!(chosen.id > 0);

    let put = pb::PutRequest { key: "k".into(), value: "v".into(), lease: 42, ..Default::default() };
    kv.put(put).await.unwrap();
    let asked = pb::LeaseTimeToLiveRequest { id: 42, keys: true };
    let known = leases.lease_time_to_live(asked).await.unwrap().into_inner();
    assert!(known.ttl > 50 && known.granted_ttl == 60);
    assert_eq!(known.keys, ["k"]);
    let asked = pb::LeaseTimeToLiveRequest { id: 43, keys: true };
    assert_eq!(leases.lease_time_to_live(asked).await.unwrap().into_inner().ttl, -1);

    let beats = futures::stream::iter([42, 43].map(|id| pb::LeaseKeepAliveRequest { id }));
    let mut answers = leases.lease_keep_alive(beats).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 60);
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 0);
    assert!(answers.message().await.unwrap().is_none());

    let all = leases.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.leases.len(), 2);
    let ended = leases.lease_revoke(pb::LeaseRevokeRequest { id: 42 }).await.unwrap().into_inner();
    let ended = ended.header.unwrap().revision;
    let range = |revision| pb::RangeRequest { key: "k".into(), revision, ..Default::default() };
    for (revision, count) in [(ended - 1, 1), (ended, 0)] {
        assert_eq!(kv.range(range(revision)).await.unwrap().into_inner().count, count, "at {revision}");
    }
    let gone = leases.lease_revoke(pb::LeaseRevokeRequest { id: 42 }).await.unwrap_err();
    assert_eq!((gone.code(), gone.message()), (Code::NotFound, "etcdserver: requested lease not found"));
    served.stop().await;
}

#[tokio::test]
async fn members_and_status_are_told() {
    let served = Served::start().await;
    let mut cluster = ClusterClient::new(served.channel());
    let list = cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    assert_eq!(list.members.len(), 1);
    assert_eq!(list.members[0].name, "memory");
    let mut maintenance = MaintenanceClient::new(served.channel());
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.leader, list.members[0].id);
    assert!(status.version.starts_with("3.") && status.raft_index > 0 && status.errors.is_empty());
    let hash = maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!(hash.hash_revision, 1);
    let moved = maintenance.move_leader(pb::MoveLeaderRequest { target_id: 999 }).await.unwrap_err();
    assert_eq!(moved.message(), "etcdserver: bad leader transferee");
    served.stop().await;
}
