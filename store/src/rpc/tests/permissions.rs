//! Every call of the client port as nobody, as a user, as root; and what a token is worth when.

use std::fmt::Write as _;

use expect_test::expect;
use proto::authpb::{Permission, UserAddOptions, permission};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::Served;

/// Users `root` and `alice`, whom their certificates name; alice reads `r…`, writes `w…`. Lease 7 holds `other`,
/// lease 8 holds `w7` and `r7`.
async fn founded() -> Served {
    let served = Served::start().await;
    let mut auth = AuthClient::new(served.channel_of("root"));
    for name in ["root", "alice"] {
        let options = Some(UserAddOptions { no_password: true });
        let user = pb::AuthUserAddRequest { name: name.into(), options, ..Default::default() };
        auth.user_add(user).await.unwrap();
    }
    auth.role_add(pb::AuthRoleAddRequest { name: "r".into() }).await.unwrap();
    for (perm_type, key, range_end) in
        [(permission::Type::Read, "r", "s"), (permission::Type::Write, "w", "x")]
    {
        let perm = Permission { perm_type: perm_type.into(), key: key.into(), range_end: range_end.into() };
        let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
        auth.role_grant_permission(grant).await.unwrap();
    }
    for (user, role) in [("root", "root"), ("alice", "r")] {
        let grant = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        auth.user_grant_role(grant).await.unwrap();
    }
    let mut leases = LeaseClient::new(served.channel_of("root"));
    let mut kv = KvClient::new(served.channel_of("root"));
    for (id, key) in [(7, "other"), (8, "w7"), (8, "r7")] {
        let _ = leases.lease_grant(pb::LeaseGrantRequest { ttl: 600, id }).await;
        kv.put(pb::PutRequest { lease: id, ..put(key) }).await.unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    served
}

fn range(key: &'static str, range_end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() }
}

fn delete(key: &'static str, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.into(), prev_kv, ..Default::default() }
}

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// `put w1` unless the compared key exists; or deep in the branch that is not taken, a put of `key`.
fn txn(compared: &'static str, key: &'static str) -> pb::TxnRequest {
    use pb::request_op::Request::{RequestPut, RequestTxn};
    let inner = pb::TxnRequest { failure: vec![op(RequestPut(put(key)))], ..Default::default() };
    let compare = pb::Compare { key: compared.into(), ..Default::default() };
    pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(RequestTxn(inner))],
        failure: vec![op(RequestPut(put("w1")))],
    }
}

/// `in`, or why the caller was refused. What else went wrong is not of interest here.
fn shown<T>(answer: Result<T, Status>) -> &'static str {
    answer.map_or_else(|status| why(status.code(), status.message()), |_| "in")
}

fn why(code: Code, text: &str) -> &'static str {
    match (code, text) {
        (Code::InvalidArgument, "etcdserver: user name is empty") => "nameless",
        (Code::FailedPrecondition, "etcdserver: user name not found") => "unknown",
        (Code::PermissionDenied, "etcdserver: permission denied") => "denied",
        (Code::Unauthenticated, "etcdserver: invalid auth token") => "bad token",
        _ => "in",
    }
}

async fn watched(channel: &Channel, key: &'static str) -> &'static str {
    let create = pb::WatchCreateRequest { key: key.into(), ..Default::default() };
    let request = pb::watch_request::RequestUnion::CreateRequest(create);
    let requests = futures::stream::iter([pb::WatchRequest { request_union: Some(request) }]);
    let requests = futures::StreamExt::chain(requests, futures::stream::pending());
    let mut answers = WatchClient::new(channel.clone()).watch(requests).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().expect("an answer to the creation");
    match &*answer.cancel_reason {
        "" => "in",
        "rpc error: code = InvalidArgument desc = etcdserver: user name is empty" => "nameless",
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied" => "denied",
        other => panic!("{other}"),
    }
}

async fn kept_alive(channel: &Channel, id: i64) -> Result<(), Status> {
    let beats = futures::stream::iter([pb::LeaseKeepAliveRequest { id }]);
    let mut answers = LeaseClient::new(channel.clone()).lease_keep_alive(beats).await?.into_inner();
    answers.message().await.map(drop)
}

async fn streamed(channel: &Channel, key: &'static str) -> Result<(), Status> {
    let mut chunks = KvClient::new(channel.clone()).range_stream(range(key, "")).await?.into_inner();
    chunks.message().await.map(drop)
}

async fn keys_and_values(channel: &Channel) -> Vec<(&'static str, &'static str)> {
    let mut kv = KvClient::new(channel.clone());
    vec![
        ("range r", shown(kv.range(range("r", "")).await)),
        ("range r1..r9", shown(kv.range(range("r1", "r9")).await)),
        ("range q..s", shown(kv.range(range("q", "s")).await)),
        ("range w, serializable", {
            shown(kv.range(pb::RangeRequest { serializable: true, ..range("w", "") }).await)
        }),
        ("stream r", shown(streamed(channel, "r").await)),
        ("stream w", shown(streamed(channel, "w").await)),
        ("put r", shown(kv.put(put("r")).await)),
        ("put w", shown(kv.put(put("w")).await)),
        ("put w prev", shown(kv.put(pb::PutRequest { prev_kv: true, ..put("w") }).await)),
        ("put w on lease 7", shown(kv.put(pb::PutRequest { lease: 7, ..put("w") }).await)),
        ("delete w prev", shown(kv.delete_range(delete("w", true)).await)),
        ("delete w", shown(kv.delete_range(delete("w", false)).await)),
        ("txn if r then w", shown(kv.txn(txn("r", "w2")).await)),
        ("txn if w then w", shown(kv.txn(txn("w", "w2")).await)),
        ("txn if r then q", shown(kv.txn(txn("r", "q")).await)),
        ("watch r", watched(channel, "r").await),
        ("watch w", watched(channel, "w").await),
        ("compact", shown(kv.compact(pb::CompactionRequest { revision: 2, physical: false }).await)),
    ]
}

async fn leases(channel: &Channel) -> Vec<(&'static str, &'static str)> {
    let mut leases = LeaseClient::new(channel.clone());
    let ask = |id, keys| pb::LeaseTimeToLiveRequest { id, keys };
    vec![
        ("grant", shown(leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 }).await)),
        ("keep 7 alive", shown(kept_alive(channel, 7).await)),
        ("time to live of 7", shown(leases.lease_time_to_live(ask(7, false)).await)),
        ("time to live of 7 with keys", shown(leases.lease_time_to_live(ask(7, true)).await)),
        ("list", shown(leases.lease_leases(pb::LeaseLeasesRequest {}).await)),
        ("revoke 8", shown(leases.lease_revoke(pb::LeaseRevokeRequest { id: 8 }).await)),
    ]
}

async fn the_rest(channel: &Channel) -> Vec<(&'static str, &'static str)> {
    let mut cluster = ClusterClient::new(channel.clone());
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let mut auth = AuthClient::new(channel.clone());
    let get = |name: &str| pb::AuthUserGetRequest { name: name.into() };
    let role = |role: &str| pb::AuthRoleGetRequest { role: role.into() };
    let alarm = |action: pb::alarm_request::AlarmAction| pb::AlarmRequest {
        action: action.into(),
        ..Default::default()
    };
    vec![
        ("member list", shown(cluster.member_list(pb::MemberListRequest { linearizable: true }).await)),
        ("member promote", shown(cluster.member_promote(pb::MemberPromoteRequest { id: 9 }).await)),
        ("status", shown(maintenance.status(pb::StatusRequest {}).await)),
        ("alarm list", shown(maintenance.alarm(alarm(pb::alarm_request::AlarmAction::Get)).await)),
        ("alarm disarm", shown(maintenance.alarm(alarm(pb::alarm_request::AlarmAction::Deactivate)).await)),
        ("defragment", shown(maintenance.defragment(pb::DefragmentRequest {}).await)),
        ("hash", shown(maintenance.hash(pb::HashRequest {}).await)),
        ("hash kv", shown(maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await)),
        ("move leader", shown(maintenance.move_leader(pb::MoveLeaderRequest { target_id: 9 }).await)),
        ("auth status", shown(auth.auth_status(pb::AuthStatusRequest {}).await)),
        ("user list", shown(auth.user_list(pb::AuthUserListRequest {}).await)),
        ("user get alice", shown(auth.user_get(get("alice")).await)),
        ("user get root", shown(auth.user_get(get("root")).await)),
        ("role get r", shown(auth.role_get(role("r")).await)),
        ("role get root", shown(auth.role_get(role("root")).await)),
        (
            "user add",
            shown(auth.user_add(pb::AuthUserAddRequest { name: "eve".into(), ..Default::default() }).await),
        ),
    ]
}

/// One line for each call: what somebody without a name, a stranger, alice and root are told.
async fn check(
    calls: impl AsyncFn(&Channel) -> Vec<(&'static str, &'static str)>,
    expected: &expect_test::Expect,
) {
    let served = founded().await;
    let mut rows: Vec<String> = Vec::new();
    for name in ["", "stranger", "alice", "root"] {
        for (at, (call, answer)) in calls(&served.channel_of(name)).await.into_iter().enumerate() {
            if rows.len() <= at {
                rows.push(format!("{call}:"));
            }
            let _ = write!(rows[at], " {answer}");
        }
    }
    expected.assert_eq(&(rows.join("\n") + "\n"));
    served.stop().await;
}

#[tokio::test]
async fn keys_are_for_those_who_may() {
    check(
        keys_and_values,
        &expect![[r#"
        range r: nameless denied in in
        range r1..r9: nameless denied in in
        range q..s: nameless denied denied in
        range w, serializable: nameless denied denied in
        stream r: nameless denied in in
        stream w: nameless denied denied in
        put r: nameless denied denied in
        put w: nameless denied in in
        put w prev: nameless denied denied in
        put w on lease 7: nameless denied denied in
        delete w prev: nameless denied denied in
        delete w: nameless denied in in
        txn if r then w: nameless denied in in
        txn if w then w: nameless denied denied in
        txn if r then q: nameless denied denied in
        watch r: nameless denied in in
        watch w: nameless denied denied in
        compact: nameless unknown denied in
    "#]],
    )
    .await;
}

#[tokio::test]
async fn leases_are_for_those_who_may_their_keys() {
    check(
        leases,
        &expect![[r#"
        grant: nameless denied in in
        keep 7 alive: nameless denied denied in
        time to live of 7: nameless in in in
        time to live of 7 with keys: nameless denied denied in
        list: nameless denied denied in
        revoke 8: nameless denied denied in
    "#]],
    )
    .await;
}

#[tokio::test]
async fn the_cluster_is_roots() {
    check(
        the_rest,
        &expect![[r#"
        member list: in in in in
        member promote: nameless unknown denied in
        status: nameless in in in
        alarm list: nameless in in in
        alarm disarm: nameless unknown denied in
        defragment: nameless unknown denied in
        hash: nameless unknown denied in
        hash kv: nameless unknown denied in
        move leader: nameless unknown denied in
        auth status: in in in in
        user list: nameless unknown denied in
        user get alice: nameless unknown in in
        user get root: nameless unknown denied in
        role get r: nameless unknown in in
        role get root: nameless unknown denied in
        user add: nameless unknown denied in
    "#]],
    )
    .await;
}

fn with<T>(message: T, header: &'static str, text: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(header, text.parse().unwrap());
    request
}

#[tokio::test]
async fn a_token_ends_with_its_password_and_with_auth() {
    let served = founded().await;
    let mut auth = AuthClient::new(served.channel_of("root"));
    let mut kv = KvClient::new(served.channel_of("stranger"));
    let name = || "bob".to_owned();
    let user = pb::AuthUserAddRequest { name: name(), password: "first".into(), ..Default::default() };
    auth.user_add(user).await.unwrap();
    let grant = pb::AuthUserGrantRoleRequest { user: name(), role: "r".into() };
    let login = |password: &str| pb::AuthenticateRequest { name: name(), password: password.into() };
    let token = auth.authenticate(login("first")).await.unwrap().into_inner().token;
    assert_eq!(shown(kv.range(with(range("r", ""), "token", &token)).await), "denied");
    // What is granted later counts for a token that was there before.
    auth.user_grant_role(grant).await.unwrap();
    assert_eq!(shown(kv.range(with(range("r", ""), "token", &token)).await), "in");
    let bearer = format!("Bearer {token}");
    assert_eq!(shown(kv.range(with(range("r", ""), "authorization", &bearer)).await), "in");
    // A token counts more than the certificate.
    let mut as_root = KvClient::new(served.channel_of("root"));
    let refused = as_root.range(with(range("w", ""), "token", &token)).await;
    assert_eq!(shown(refused), "denied");

    let invalid = "bad token";
    assert_eq!(shown(as_root.range(with(range("r", ""), "token", "nonsense")).await), invalid);
    assert_eq!(shown(kv.put(with(put("w"), "token", &token[2..])).await), invalid);
    let changed =
        pb::AuthUserChangePasswordRequest { name: name(), password: "second".into(), ..Default::default() };
    auth.user_change_password(changed).await.unwrap();
    assert_eq!(shown(kv.range(with(range("r", ""), "token", &token)).await), invalid);
    assert_eq!(shown(kv.put(with(put("w"), "token", &token)).await), invalid);
    assert_eq!(auth.authenticate(login("first")).await.unwrap_err().code(), Code::InvalidArgument);

    let token = auth.authenticate(login("second")).await.unwrap().into_inner().token;
    assert_eq!(shown(kv.put(with(put("w"), "token", &token)).await), "in");
    auth.auth_disable(pb::AuthDisableRequest {}).await.unwrap();
    assert_eq!(shown(kv.put(with(put("q"), "token", &token)).await), "in");
    let off = auth.authenticate(login("second")).await.unwrap_err();
    assert_eq!(
        (off.code(), off.message()),
        (Code::FailedPrecondition, "etcdserver: authentication is not enabled")
    );
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    assert_eq!(shown(kv.put(with(put("w"), "token", &token)).await), invalid);
    served.stop().await;
}

/// The stream of a client with an old token is not refused: each watch is, and the client logs in again.
#[tokio::test]
async fn a_watch_with_a_worthless_token_is_canceled_with_the_reason() {
    let served = founded().await;
    let create = pb::WatchCreateRequest { key: "r".into(), ..Default::default() };
    let request = pb::watch_request::RequestUnion::CreateRequest(create);
    let requests = futures::stream::iter([pb::WatchRequest { request_union: Some(request) }]);
    let requests = with(requests, "token", "nonsense");
    let mut answers = WatchClient::new(served.channel_of("root")).watch(requests).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().expect("an answer");
    assert!(answer.created && answer.canceled && answer.watch_id == -1);
    assert_eq!(
        answer.cancel_reason,
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
    );
    served.stop().await;
}

#[tokio::test]
async fn auth_status_and_the_root_role_are_told() {
    let served = founded().await;
    let mut auth = AuthClient::new(served.channel_of("root"));
    let status = auth.auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner();
    assert!(status.enabled);
    assert_eq!(status.auth_revision, 8);
    auth.role_add(pb::AuthRoleAddRequest { name: "root".into() }).await.unwrap();
    let role = auth.role_get(pb::AuthRoleGetRequest { role: "root".into() }).await.unwrap().into_inner();
    let everything =
        Permission { perm_type: permission::Type::Readwrite.into(), key: "".into(), range_end: "\0".into() };
    assert_eq!(role.perm, [everything]);
    let unfit = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: None };
    let refused = auth.role_grant_permission(unfit).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "etcdserver: permission not given")
    );
    let long = pb::AuthUserAddRequest { name: "x".into(), password: "p".repeat(73), ..Default::default() };
    let refused = auth.user_add(long).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unknown, "bcrypt: password length exceeds 72 bytes")
    );
    served.stop().await;
}
