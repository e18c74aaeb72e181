//! The whole tunnel on loopback: the agent dials, the roles swap, a log comes through.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use base::{SeededEntropy, SystemClock};
use http_body_util::BodyExt;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::desired::{Desired, PodKey};
use crate::gateway::pki::Pki;
use crate::logs::Logs;
use crate::probes::ProbeCounts;
use crate::runtime::hollow::HollowRuntime;
use crate::streams::Sessions;
use crate::usage;

const SOON: Duration = Duration::from_secs(10);

/// An agent's tunnel and the server that it dials.
struct Fixture {
    tasks: Tasks,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    root: tempfile::TempDir,
    desired: watch::Sender<Arc<Desired>>,
}

impl Fixture {
    async fn new() -> Self {
        let pki = Pki::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let settings = TunnelSettings {
            servers: vec![listener.local_addr().expect("bound").to_string()],
            identity: pki.issue("system:node:agent-1"),
        };
        let root = tempfile::tempdir().expect("a directory");
        let (desired, desired_rx) = Desired::channel();
        let (_statuses, statuses_rx) = watch::channel(Arc::default());
        let runtime = Arc::new(HollowRuntime::new(Arc::new(SystemClock), "agent-1"));
        let tasks = Tasks::new(CancellationToken::new());
        let usage = usage::start("agent-1", runtime.clone(), Arc::new(SystemClock), &tasks);
        let sessions = Sessions::new(runtime, desired_rx.clone(), Ipv4Addr::LOCALHOST, tasks.clone());
        let logs = Logs::new(root.path().to_owned(), desired_rx, statuses_rx, Arc::new(SystemClock));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        start(
            settings,
            &NodeApi::new(logs, sessions, usage, ProbeCounts::default(), Arc::new(String::new)),
            &entropy,
            &tasks,
        )
        .expect("started");
        let acceptor = TlsAcceptor::from(pki.server(TUNNEL));
        let fixture = Self { tasks, listener, acceptor, root, desired };
        fixture.assign_pod();
        fixture
    }

    fn assign_pod(&self) {
        let pod: Pod = serde_json::from_str(
            r#"{"metadata":{"name":"web","namespace":"default","uid":"u1"},
                "spec":{"containers":[{"name":"main","image":"i"}]}}"#,
        )
        .expect("a pod");
        let pods = BTreeMap::from([(PodKey::new("default", "web"), Arc::new(pod))]);
        self.desired.send_replace(Arc::new(Desired { pods, synced: true, ..Desired::default() }));
    }

    fn write_log(&self, attempt: u32, text: &str) {
        let directory = self.root.path().join("default_web_u1/main");
        std::fs::create_dir_all(&directory).expect("made");
        append(&directory.join(format!("{attempt}.log")), text);
    }

    /// Waits for the agent to dial, and becomes the client of what is inside the tunnel.
    async fn accept(&self) -> (SendRequest<Empty<Bytes>>, tokio::task::AbortHandle) {
        let (stream, _) =
            tokio::time::timeout(SOON, self.listener.accept()).await.expect("soon").expect("ok");
        let stream = self.acceptor.accept(stream).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(TUNNEL));
        let (client, connection) = hyper::client::conn::http2::Builder::new(OnTasks(self.tasks.clone()))
            .handshake(TokioIo::new(stream))
            .await
            .expect("the roles are swapped");
        let running = self.tasks.spawn_infallible("tunnel, server side", async move {
            let _ended = connection.await;
        });
        (client, running)
    }

    /// One request over a stream of its own: status and body.
    async fn get(&self, client: &mut SendRequest<Empty<Bytes>>, path: &str) -> (u16, hyper::body::Incoming) {
        let connect =
            Request::builder().method(Method::CONNECT).uri("node:1").body(Empty::new()).expect("a request");
        let response = client.send_request(connect).await.expect("a stream");
        assert_eq!(response.status(), StatusCode::OK);
        let pipe = hyper::upgrade::on(response).await.expect("a pipe");
        let (mut http, connection) = hyper::client::conn::http1::handshake(pipe).await.expect("HTTP/1.1");
        self.tasks.spawn_infallible("node API, server side", async move {
            let _ended = connection.await;
        });
        let request = Request::builder()
            .uri(path)
            .header("host", "node")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let response = http.send_request(request).await.expect("an answer");
        (response.status().as_u16(), response.into_body())
    }

    async fn text(&self, client: &mut SendRequest<Empty<Bytes>>, path: &str) -> (u16, String) {
        let (status, body) = self.get(client, path).await;
        let body = tokio::time::timeout(SOON, body.collect()).await.expect("soon").expect("a body");
        (status, String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.tasks.stop().cancel();
    }
}

fn append(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().append(true).create(true).open(path).expect("opened");
    writeln!(file, "2026-11-21T02:00:00Z stdout F {text}").expect("written");
}

#[tokio::test]
async fn logs_come_through_the_tunnel() {
    let fixture = Fixture::new().await;
    fixture.write_log(0, "first run");
    fixture.write_log(1, "hello");
    fixture.write_log(1, "world");
    let (mut client, _running) = fixture.accept().await;
    let path = "/containerLogs/default/web/main";
    let get = async |client: &mut SendRequest<Empty<Bytes>>, path: &str| fixture.text(client, path).await;
    assert_eq!(get(&mut client, path).await, (200, "hello\nworld\n".into()));
    assert_eq!(get(&mut client, &format!("{path}?tailLines=1")).await, (200, "world\n".into()));
    assert_eq!(get(&mut client, &format!("{path}?previous=true")).await, (200, "first run\n".into()));
    let refused = [
        ("/containerLogs/default/other/main", 404, r#"pod "other" not found"#),
        ("/containerLogs/default/web/other", 400, r#"container "other" in pod "web" is not available"#),
        ("/containerLogs/default/web/main?tailLines=x", 400, r#"invalid value "x" for tailLines"#),
        ("/containerLogs/default/web/..%2f..", 400, r#"container "..%2f.." in pod "web" is not available"#),
        ("/healthz", 404, "404 page not found"),
    ];
    for (path, status, text) in refused {
        assert_eq!(get(&mut client, path).await, (status, text.into()), "{path}");
    }
}

#[tokio::test]
async fn a_followed_log_streams_until_the_pod_is_gone() {
    let fixture = Fixture::new().await;
    fixture.write_log(0, "one");
    let (mut client, _running) = fixture.accept().await;
    let (status, mut body) = fixture.get(&mut client, "/containerLogs/default/web/main?follow=true").await;
    assert_eq!(status, 200);
    let mut next = async || {
        let frame = tokio::time::timeout(SOON, body.frame()).await.expect("soon");
        frame.map(|frame| frame.expect("a frame").into_data().expect("data"))
    };
    assert_eq!(next().await.as_deref(), Some(b"one\n".as_slice()));
    fixture.write_log(0, "two");
    assert_eq!(next().await.as_deref(), Some(b"two\n".as_slice()));
    fixture.desired.send_replace(Arc::new(Desired { synced: true, ..Desired::default() }));
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn a_broken_tunnel_is_dialled_again_and_streams_do_not_hold_each_other_up() {
    let fixture = Fixture::new().await;
    fixture.write_log(0, &"x".repeat(8000));
    let (_first, running) = fixture.accept().await;
    running.abort();
    let (client, _running) = fixture.accept().await;
    // One stream that nobody reads, and many others.
    let mut unread = client.clone();
    let _held = fixture.get(&mut unread, "/containerLogs/default/web/main?follow=true").await;
    let many = (0..20).map(|_| {
        let (mut client, fixture) = (client.clone(), &fixture);
        async move { fixture.text(&mut client, "/containerLogs/default/web/main").await }
    });
    for (status, text) in futures::future::join_all(many).await {
        assert_eq!((status, text.len()), (200, 8001));
    }
}
