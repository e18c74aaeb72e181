//! The pages for probes and scrapers, as curl sees them, and gRPC's health service.

use std::process::Stdio;

use expect_test::{Expect, expect};
use futures::stream::StreamExt as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::health::health_client::HealthClient;
use proto::health::{HealthCheckRequest, HealthListRequest};
use tokio::process::Command;
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::{ADMITTED, Served};

struct Curl {
    served: Served,
    files: tempfile::TempDir,
}

impl Curl {
    fn of(served: Served) -> Self {
        let files = tempfile::tempdir().unwrap();
        let tls = served.authority.tls(ADMITTED);
        for (name, pem) in [("ca", &tls.ca_pem), ("cert", &tls.certificate_pem), ("key", &tls.key_pem)] {
            std::fs::write(files.path().join(name), pem).unwrap();
        }
        Self { served, files }
    }

    /// Status, type, and text.
    async fn get(&self, path: &str, flags: &str) -> String {
        let shown = "%{stderr}%{http_version} %{http_code} %{content_type}\n";
        let mut command = Command::new("curl");
        command
            .current_dir(self.files.path())
            .args(["-sS", "--max-time", "30", "--cacert", "ca", "-w", shown])
            .args(flags.split_whitespace())
            .arg(format!("https://127.0.0.1:{}{path}", self.served.port))
            .stdin(Stdio::null());
        let output = command.output().await.unwrap();
        String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
    }

    async fn check(&self, path: &str, flags: &str, expected: Expect) {
        expected.assert_eq(&self.get(path, flags).await);
    }
}

const OWN: &str = "--cert cert --key key";

#[tokio::test]
async fn probes_are_answered_without_a_certificate() {
    let curl = Curl::of(Served::start().await);
    curl.check(
        "/health",
        "",
        expect![[r#"
        2 200 text/plain; charset=utf-8
        {"health":"true","reason":""}"#]],
    )
    .await;
    curl.check(
        "/health",
        "--http1.1",
        expect![[r#"
        1.1 200 text/plain; charset=utf-8
        {"health":"true","reason":""}"#]],
    )
    .await;
    curl.check(
        "/version",
        "--http1.1",
        expect![[r#"
        1.1 200 application/json
        {"etcdserver":"3.7.0","etcdcluster":"3.7.0"}"#]],
    )
    .await;
    curl.served.stop().await;
}

#[tokio::test]
async fn checks_can_be_named_left_out_and_seen() {
    let curl = Curl::of(Served::start().await);
    curl.check(
        "/livez",
        "",
        expect![[r#"
        2 200 text/plain; charset=utf-8
        ok
    "#]],
    )
    .await;
    curl.check(
        "/livez?verbose",
        "",
        expect![[r#"
        2 200 text/plain; charset=utf-8
        [+]serializable_read ok
        ok
    "#]],
    )
    .await;
    curl.check(
        "/readyz?verbose&exclude=linearizable_read",
        "",
        expect![[r#"
        2 200 text/plain; charset=utf-8
        [+]data_corruption ok
        [+]serializable_read ok
        [+]linearizable_read excluded: ok
        [+]non_learner ok
        ok
    "#]],
    )
    .await;
    curl.check(
        "/readyz/linearizable_read?verbose",
        "",
        expect![[r#"
        2 200 text/plain; charset=utf-8
        [+]linearizable_read ok
        ok
    "#]],
    )
    .await;
    curl.check(
        "/readyz/nothing",
        "",
        expect![[r#"
        2 404 text/plain; charset=utf-8
        404 page not found
    "#]],
    )
    .await;
    curl.check(
        "/health",
        "-X POST",
        expect![[r#"
        2 405 text/plain; charset=utf-8
        Method Not Allowed
    "#]],
    )
    .await;
    curl.served.stop().await;
}

#[tokio::test]
async fn metrics_and_calls_need_a_certificate() {
    let curl = Curl::of(Served::start().await);
    curl.check(
        "/metrics",
        "",
        expect![[r#"
        2 403 text/plain; charset=utf-8
        metrics need a client certificate
    "#]],
    )
    .await;
    curl.check(
        "/metrics",
        &format!("{OWN} --http1.1"),
        expect![[r#"
        1.1 200 text/plain; version=0.0.4; charset=utf-8
        a_metric 1
    "#]],
    )
    .await;
    let anonymous = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&curl.served.authority.pem));
    let url = format!("https://127.0.0.1:{}", curl.served.port);
    let channel = Endpoint::from_shared(url).unwrap().tls_config(anonymous).unwrap().connect_lazy();
    let range = pb::RangeRequest { key: "a".into(), ..Default::default() };
    let refused = KvClient::new(channel).range(range).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    curl.served.stop().await;
}

#[tokio::test]
async fn a_node_without_a_leader_lives_and_is_not_ready() {
    let curl = Curl::of(Served::alone().await);
    curl.check(
        "/health",
        "",
        expect![[r#"
        2 503 text/plain; charset=utf-8
        {"health":"false","reason":"RAFT NO LEADER"}
    "#]],
    )
    .await;
    curl.check(
        "/health?serializable=true",
        "",
        expect![[r#"
        2 200 text/plain; charset=utf-8
        {"health":"true","reason":""}"#]],
    )
    .await;
    curl.check(
        "/livez",
        "",
        expect![[r#"
        2 200 text/plain; charset=utf-8
        ok
    "#]],
    )
    .await;
    curl.check(
        "/readyz",
        "",
        expect![[r#"
        2 503 text/plain; charset=utf-8
        [+]data_corruption ok
        [+]serializable_read ok
        [-]linearizable_read failed: etcdserver: no leader
        [+]non_learner ok
        readyz check failed
    "#]],
    )
    .await;
    let mut health = HealthClient::new(curl.served.channel());
    let whole = || HealthCheckRequest::default();
    assert_eq!(health.check(whole()).await.unwrap().get_ref().status().as_str_name(), "NOT_SERVING");
    curl.served.stop().await;
}

#[tokio::test]
async fn an_alarm_is_told_unless_it_is_left_out() {
    let curl = Curl::of(Served::start().await);
    let mut maintenance = MaintenanceClient::new(curl.served.channel());
    for alarm in [pb::AlarmType::Nospace, pb::AlarmType::Corrupt] {
        let action = pb::alarm_request::AlarmAction::Activate.into();
        maintenance.alarm(pb::AlarmRequest { action, member_id: 1, alarm: alarm.into() }).await.unwrap();
    }
    let said = async |path: &str| curl.get(path, "").await.lines().last().unwrap_or_default().to_owned();
    assert_eq!(said("/health").await, r#"{"health":"false","reason":"ALARM NOSPACE"}"#);
    assert_eq!(said("/health?exclude=NOSPACE").await, r#"{"health":"false","reason":"ALARM CORRUPT"}"#);
    let excluded = said("/health?exclude=NOSPACE&exclude=CORRUPT").await;
    assert_eq!(excluded, r#"{"health":"true","reason":""}"#);
    assert_eq!(said("/readyz").await, "readyz check failed");
    assert_eq!(said("/readyz?exclude=data_corruption").await, "ok");
    assert_eq!(said("/livez").await, "ok");
    curl.served.stop().await;
}

#[tokio::test]
async fn grpc_health_is_checked_watched_and_listed() {
    let served = Served::start().await;
    let mut health = HealthClient::new(served.channel());
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "etcdserverpb.KV"] {
        let answer = health.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status().as_str_name(), "SERVING");
    }
    assert_eq!(health.check(of("nobody")).await.unwrap_err().code(), Code::NotFound);
    let mut watched = health.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watched.next().await.unwrap().unwrap().status().as_str_name(), "SERVING");
    let mut stranger = health.watch(of("nobody")).await.unwrap().into_inner();
    assert_eq!(stranger.next().await.unwrap().unwrap().status().as_str_name(), "SERVICE_UNKNOWN");
    let list = health.list(HealthListRequest {}).await.unwrap().into_inner().statuses;
    assert!(list.contains_key("") && list.contains_key("etcdserverpb.KV"));
    served.stop().await;
}
