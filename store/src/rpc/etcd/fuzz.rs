//! Calls with bytes that no client would send, to every service but KV (`convert`): each is answered, and the store lives
//! on. The time of these tests stands still while something is to be done.

use std::sync::Arc;
use std::time::Duration;

use base::{ManualClock, SeededEntropy, Tasks, Timestamp};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use proto::authpb;
use proto::etcdserverpb as pb;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use tonic::service::Routes;

use super::{Front, services};
use crate::mutations::damaged_call;
use crate::{Range, Store};

/// More than a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// No request here asks for anything large.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

struct Bench {
    runtime: Runtime,
    tasks: Tasks,
    store: Store,
    routes: Routes,
}

impl Bench {
    fn start() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        let tasks = Tasks::new(CancellationToken::new());
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let store = runtime.block_on(Store::in_memory(clock, Arc::new(SeededEntropy::new(1)), &tasks));
        let front = Front::new(store.clone(), tasks.stop().clone());
        let routes = services(&front, &store.limits());
        Self { runtime, tasks, store, routes }
    }

    /// A stream that stays open ends with the client's patience.
    fn call(&self, path: &str, body: Bytes) {
        let request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::new(body)))
            .expect("a request");
        let mut routes = self.routes.clone();
        self.runtime.block_on(async {
            let answered = tokio::time::timeout(PATIENCE, async {
                let answer = routes.call(request).await.expect("a service answers whatever it is asked");
                assert_eq!(answer.status(), http::StatusCode::OK, "{path}");
                let mut body = answer.into_body();
                let mut bytes = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    assert!(bytes <= ANSWER_BYTES_MAX, "{path} answers without end");
                }
            });
            let _patience = answered.await;
        });
    }

    /// Calls one of `calls` with something like what belongs there, again and again.
    fn run(self, cases: u32, calls: Vec<(&'static str, Vec<Vec<u8>>)>) {
        let call = select(calls).prop_flat_map(|(path, valid)| (Just(path), damaged_call(valid)));
        proptest!(ProptestConfig::with_cases(cases), |((path, body) in call)| {
            self.call(path, body);
        });
        let alive = self.runtime.block_on(self.store.range(Range::key("alive")));
        assert_eq!(alive.expect("the store lives on").count, 0);
        self.tasks.stop().cancel();
        self.runtime.block_on(self.tasks.join(Duration::from_secs(60))).expect("no task has failed");
    }
}

fn call(path: &'static str, message: &impl Message) -> (&'static str, Vec<Vec<u8>>) {
    (path, vec![message.encode_to_vec()])
}

#[test]
fn damaged_watches_are_answered_or_refused() {
    use pb::watch_request::RequestUnion;
    let create = pb::WatchCreateRequest {
        key: "a".into(),
        range_end: "b".into(),
        start_revision: 3,
        progress_notify: true,
        prev_kv: true,
        watch_id: 7,
        fragment: true,
        filters: vec![0],
    };
    let requests = [
        RequestUnion::CreateRequest(create.clone()),
        RequestUnion::CreateRequest(pb::WatchCreateRequest { start_revision: 0, watch_id: 0, ..create }),
        RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 7 }),
        RequestUnion::ProgressRequest(pb::WatchProgressRequest {}),
    ];
    let messages = requests.map(|one| pb::WatchRequest { request_union: Some(one) }.encode_to_vec());
    Bench::start().run(400, vec![("/etcdserverpb.Watch/Watch", messages.to_vec())]);
}

#[test]
fn damaged_lease_requests_are_answered_or_refused() {
    let calls = vec![
        call("/etcdserverpb.Lease/LeaseGrant", &pb::LeaseGrantRequest { ttl: 60, id: 7 }),
        call("/etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id: 7 }),
        call("/etcdserverpb.Lease/LeaseKeepAlive", &pb::LeaseKeepAliveRequest { id: 7 }),
        call("/etcdserverpb.Lease/LeaseTimeToLive", &pb::LeaseTimeToLiveRequest { id: 7, keys: true }),
        call("/etcdserverpb.Lease/LeaseLeases", &pb::LeaseLeasesRequest {}),
    ];
    Bench::start().run(500, calls);
}

#[test]
fn damaged_cluster_requests_are_answered_or_refused() {
    let urls = || vec!["https://127.0.0.1:9".to_owned()];
    let calls = vec![
        call(
            "/etcdserverpb.Cluster/MemberAdd",
            &pb::MemberAddRequest { peer_ur_ls: urls(), is_learner: true },
        ),
        call("/etcdserverpb.Cluster/MemberRemove", &pb::MemberRemoveRequest { id: 2 }),
        call("/etcdserverpb.Cluster/MemberUpdate", &pb::MemberUpdateRequest { id: 2, peer_ur_ls: urls() }),
        call("/etcdserverpb.Cluster/MemberPromote", &pb::MemberPromoteRequest { id: 2 }),
        call("/etcdserverpb.Cluster/MemberList", &pb::MemberListRequest { linearizable: true }),
    ];
    Bench::start().run(300, calls);
}

#[test]
fn damaged_maintenance_requests_are_answered_or_refused() {
    let alarm = |action, alarm| pb::AlarmRequest { action, member_id: 1, alarm }.encode_to_vec();
    let calls = vec![
        (
            "/etcdserverpb.Maintenance/Alarm",
            vec![alarm(0, 0), alarm(1, 1), alarm(2, 1), alarm(1, 2), alarm(2, 2)],
        ),
        call("/etcdserverpb.Maintenance/Status", &pb::StatusRequest {}),
        call("/etcdserverpb.Maintenance/Defragment", &pb::DefragmentRequest {}),
        call("/etcdserverpb.Maintenance/Hash", &pb::HashRequest {}),
        call("/etcdserverpb.Maintenance/HashKV", &pb::HashKvRequest { revision: 1 }),
        call("/etcdserverpb.Maintenance/Snapshot", &pb::SnapshotRequest {}),
        call("/etcdserverpb.Maintenance/MoveLeader", &pb::MoveLeaderRequest { target_id: 2 }),
        call(
            "/etcdserverpb.Maintenance/Downgrade",
            &pb::DowngradeRequest { action: 1, version: "3.6.0".to_owned() },
        ),
    ];
    Bench::start().run(400, calls);
}

#[test]
fn damaged_requests_about_users_are_answered_or_refused() {
    let name = || "somebody".to_owned();
    let options = Some(authpb::UserAddOptions { no_password: true });
    let perm = authpb::Permission { perm_type: 2, key: "a".into(), range_end: "b".into() };
    let long = "p".repeat(100);
    let granted = pb::AuthRoleGrantPermissionRequest { name: name(), perm: Some(perm) };
    let revoked =
        pb::AuthRoleRevokePermissionRequest { role: name(), key: "a".into(), range_end: "b".into() };
    let calls = vec![
        call("/etcdserverpb.Auth/AuthEnable", &pb::AuthEnableRequest {}),
        call("/etcdserverpb.Auth/AuthDisable", &pb::AuthDisableRequest {}),
        call("/etcdserverpb.Auth/AuthStatus", &pb::AuthStatusRequest {}),
        call("/etcdserverpb.Auth/Authenticate", &pb::AuthenticateRequest { name: name(), password: name() }),
        call(
            "/etcdserverpb.Auth/UserAdd",
            &pb::AuthUserAddRequest { name: name(), options, ..Default::default() },
        ),
        call("/etcdserverpb.Auth/UserGet", &pb::AuthUserGetRequest { name: name() }),
        call("/etcdserverpb.Auth/UserList", &pb::AuthUserListRequest {}),
        call("/etcdserverpb.Auth/UserDelete", &pb::AuthUserDeleteRequest { name: name() }),
        // Too long to be hashed: that takes its time.
        call(
            "/etcdserverpb.Auth/UserChangePassword",
            &pb::AuthUserChangePasswordRequest { name: name(), password: long, ..Default::default() },
        ),
        call(
            "/etcdserverpb.Auth/UserGrantRole",
            &pb::AuthUserGrantRoleRequest { user: name(), role: name() },
        ),
        call(
            "/etcdserverpb.Auth/UserRevokeRole",
            &pb::AuthUserRevokeRoleRequest { name: name(), role: name() },
        ),
        call("/etcdserverpb.Auth/RoleAdd", &pb::AuthRoleAddRequest { name: name() }),
        call("/etcdserverpb.Auth/RoleGet", &pb::AuthRoleGetRequest { role: name() }),
        call("/etcdserverpb.Auth/RoleList", &pb::AuthRoleListRequest {}),
        call("/etcdserverpb.Auth/RoleDelete", &pb::AuthRoleDeleteRequest { role: name() }),
        call("/etcdserverpb.Auth/RoleGrantPermission", &granted),
        call("/etcdserverpb.Auth/RoleRevokePermission", &revoked),
    ];
    Bench::start().run(500, calls);
}
