//! The client against real servers on loopback: mTLS, failover, nothing lost, nothing stopped.

use std::sync::{Mutex, PoisonError};

use base::SeededEntropy;
use k8s_openapi::api::core::v1::{NodeStatus, PodStatus};
use proto::agent::gateway_server::{Gateway as GatewayService, GatewayServer};
use proto::agent::{
    Object, ObjectId, ObjectKind, PollRequest, PollResponse, ReportRequest, ReportResponse, Settings,
    TokenRequest, TokenResponse,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity as TonicIdentity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::pki::Pki;
use super::*;
use crate::desired::PodKey;

const SOON: Duration = Duration::from_secs(10);

/// A gateway that says one thing and remembers what it was told.
#[derive(Clone, Default)]
struct FakeGateway {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    polls: Vec<PollRequest>,
    reports: Vec<ReportRequest>,
}

impl FakeGateway {
    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[tonic::async_trait]
impl GatewayService for FakeGateway {
    async fn poll(&self, request: Request<PollRequest>) -> Result<Response<PollResponse>, Status> {
        let request = request.into_inner();
        let seen_revision = request.seen_revision;
        self.with(|seen| seen.polls.push(request));
        if seen_revision == 7 {
            // Nothing newer: a long poll.
            std::future::pending::<()>().await;
        }
        let id = ObjectId {
            kind: ObjectKind::Pod.into(),
            namespace: "default".into(),
            name: "web".into(),
            uid: "1".into(),
        };
        let json = r#"{"metadata":{"name":"web","namespace":"default","uid":"1","resourceVersion":"5"}}"#;
        Ok(Response::new(PollResponse {
            revision: 7,
            changed: vec![Object { id: Some(id.clone()), json: json.into() }],
            live: vec![id],
            settings: Some(Settings::default()),
            ..PollResponse::default()
        }))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        self.with(|seen| seen.reports.push(request.into_inner()));
        Ok(Response::new(ReportResponse {}))
    }

    async fn token(&self, request: Request<TokenRequest>) -> Result<Response<TokenResponse>, Status> {
        let request = request.into_inner();
        if request.pod_uid != "1" {
            return Err(Status::not_found("no such pod"));
        }
        let token = format!("{} as {}", request.pod, request.node);
        Ok(Response::new(TokenResponse { token, expires_at: 4000, lifetime_seconds: 3607 }))
    }
}

struct Fixture {
    pki: Pki,
    tasks: Tasks,
}

impl Fixture {
    fn new() -> Self {
        Self { pki: Pki::new(), tasks: Tasks::new(CancellationToken::new()) }
    }

    /// A gateway on a port of its own; cancelling the token freezes it: its connections stay open and
    /// silent, as when a process is stopped or a network is cut.
    async fn server(&self) -> (String, FakeGateway, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let front = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let front_address = front.local_addr().expect("bound").to_string();
        let (fake, freeze) = (FakeGateway::default(), CancellationToken::new());
        let identity = self.pki.issue("server");
        let tls = ServerTlsConfig::new()
            .identity(TonicIdentity::from_pem(&identity.certificate, &identity.key))
            .client_ca_root(Certificate::from_pem(&identity.ca));
        let serve = Server::builder()
            .tls_config(tls)
            .expect("a configuration")
            .add_service(GatewayServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        self.tasks.spawn("fake gateway", serve);
        let (tasks, frozen) = (self.tasks.clone(), freeze.clone());
        self.tasks.spawn_infallible("front of the fake gateway", async move {
            while let Ok((outer, _)) = front.accept().await {
                tasks.spawn_infallible("connection", carry(outer, address.clone(), frozen.clone()));
            }
        });
        (front_address, fake, freeze)
    }

    fn client(&self, servers: Vec<String>) -> Gateway {
        let identity = self.pki.issue("system:node:agent-1");
        let settings = GatewaySettings { node_name: "agent-1".into(), servers, identity };
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        start(settings, &entropy, &self.tasks).expect("started")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.tasks.stop().cancel();
    }
}

/// Copies bytes both ways until frozen, then keeps both sockets open.
async fn carry(mut outer: TcpStream, address: String, frozen: CancellationToken) {
    let mut inner = TcpStream::connect(address).await.expect("connected");
    tokio::select! {
        biased;
        () = frozen.cancelled() => std::future::pending().await,
        _ended = tokio::io::copy_bidirectional(&mut outer, &mut inner) => {}
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_assigned_arrives_and_what_is_reported_is_told() {
    let fixture = Fixture::new();
    let (address, fake, _freeze) = fixture.server().await;
    let mut gateway = fixture.client(vec![address]);
    let desired = gateway.desired.wait_for(|desired| desired.synced).await.expect("alive").clone();
    assert!(desired.pods.contains_key(&PodKey::new("default", "web")));

    gateway.reports.node(NodeStatus::default(), BTreeMap::new()).await;
    gateway.reports.pod_status(&PodKey::new("default", "web"), "1", PodStatus::default()).await;
    gateway.reports.pod_terminated(&PodKey::new("default", "web"), "1").await;
    eventually("everything is told", || {
        fake.with(|seen| {
            let told = |wanted: fn(&ReportRequest) -> bool| seen.reports.iter().any(wanted);
            told(|report| report.self_report.is_some())
                && told(|report| report.pods.iter().any(|pod| pod.terminated))
        })
    })
    .await;
    fake.with(|seen| {
        assert_eq!(seen.polls[0].seen_revision, 0);
        assert_eq!(seen.polls[1].seen_revision, 7, "the cursor is sent back");
        assert!(seen.reports.iter().all(|report| report.node == "agent-1" && !report.instance.is_empty()));
    });
}

#[tokio::test]
async fn tokens_come_from_the_server_of_the_session() {
    use crate::tokens::{TokenAsk, TokenSource};
    let fixture = Fixture::new();
    let ask = |uid: &str| TokenAsk {
        pod_uid: uid.into(),
        namespace: "default".into(),
        pod: "web".into(),
        audience: String::new(),
        lifetime_seconds: 3607,
    };
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let away = fixture.client(vec![nobody.local_addr().expect("bound").to_string()]);
    assert_eq!(away.tokens.issue(&ask("1")).await.expect_err("away"), "no server can be reached");
    let (address, _fake, _freeze) = fixture.server().await;
    let gateway = fixture.client(vec![address]);
    let issued = gateway.tokens.issue(&ask("1")).await.expect("issued");
    assert_eq!((issued.token.as_str(), issued.lifetime.as_secs()), ("web as agent-1", 3607));
    assert_eq!(gateway.tokens.issue(&ask("2")).await.expect_err("refused"), "no such pod");
}

#[tokio::test]
async fn goes_on_when_servers_are_dead_or_silent() {
    let fixture = Fixture::new();
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let dead_address = dead.local_addr().expect("bound").to_string();
    drop(dead);
    // Accepts, by its backlog, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let silent_address = silent.local_addr().expect("bound").to_string();
    let (address, _fake, _freeze) = fixture.server().await;
    let mut gateway = fixture.client(vec![dead_address, silent_address, address]);
    let synced = gateway.desired.wait_for(|desired| desired.synced);
    let synced = tokio::time::timeout(Duration::from_secs(5), synced).await;
    assert!(synced.expect("in time").is_ok());
}

#[tokio::test]
async fn a_frozen_server_changes_nothing_and_the_next_one_is_told_again() {
    let fixture = Fixture::new();
    let (first_address, first, freeze_first) = fixture.server().await;
    let (second_address, second, _freeze) = fixture.server().await;
    let mut gateway = fixture.client(vec![first_address, second_address]);
    gateway.desired.wait_for(|desired| desired.synced).await.expect("alive");
    gateway.reports.node(NodeStatus::default(), BTreeMap::new()).await;
    eventually("the first server knows the node", || first.with(|seen| !seen.reports.is_empty())).await;
    gateway.desired.borrow_and_update();

    freeze_first.cancel();
    eventually("the second server is polled from zero and knows the node", || {
        second.with(|seen| {
            seen.polls.first().is_some_and(|poll| poll.seen_revision == 0)
                && seen.reports.iter().any(|report| report.self_report.is_some())
        })
    })
    .await;
    assert!(!gateway.desired.has_changed().expect("alive"), "the same pods: nobody is woken");
    let instances = |fake: &FakeGateway| fake.with(|seen| seen.polls[0].instance.clone());
    assert_eq!(instances(&first), instances(&second));
}

#[tokio::test]
async fn reports_wait_for_a_server() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let gateway = fixture.client(vec![address]);
    let key = PodKey::new("default", "web");
    for number in 0..2000 {
        let status = PodStatus { message: Some(number.to_string()), ..PodStatus::default() };
        let reported = gateway.reports.pod_status(&key, "1", status);
        tokio::time::timeout(SOON, reported).await.expect("nobody waits for a server");
    }
    eventually("the newest status is known", || {
        let statuses = gateway.statuses.borrow();
        statuses.get("1").is_some_and(|status| status.message.as_deref() == Some("1999"))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn silent_servers_are_tried_more_and_more_rarely() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let _gateway = fixture.client(vec![listener.local_addr().expect("bound").to_string()]);
    let mut held = Vec::new();
    let accepting = async {
        loop {
            held.push(listener.accept().await.expect("accepted"));
        }
    };
    let _elapsed = tokio::time::timeout(Duration::from_secs(60), accepting).await;
    assert!((3..10).contains(&held.len()), "tried {} times", held.len());
}

#[tokio::test]
async fn a_foreign_certificate_is_named() {
    let (fixture, stranger) = (Fixture::new(), Pki::new());
    let (address, _fake, _freeze) = fixture.server().await;
    let dialer = Dialer::new(&stranger.issue("system:node:agent-1")).expect("usable");
    let error = dialer.dial(&address, dial::GRPC, SOON).await.expect_err("refused");
    let said = in_full(&error);
    assert!(said.contains(&format!("the certificate of {address} or ours was refused")), "{said}");

    // The server trusts us no more than we trust it; TLS 1.3 tells us with the first answer.
    let mut identity = stranger.issue("system:node:agent-1");
    identity.ca = fixture.pki.issue("x").ca;
    let dialer = Dialer::new(&identity).expect("usable");
    let outcome = match dialer.dial(&address, dial::GRPC, SOON).await {
        Err(error) => in_full(&error),
        Ok(connection) => {
            let session = Session::over(connection, &address, "agent-1", "i").await;
            let (tx, _rx) = Desired::channel();
            match session {
                Err(error) => in_full(&error),
                Ok(session) => session.poll_forever(&mut Assignments::new(tx)).await.to_string(),
            }
        }
    };
    assert!(outcome.contains("certificate"), "{outcome}");
}

#[test]
fn an_unusable_identity_is_named() {
    let identity = Identity { ca: Vec::new(), certificate: Vec::new(), key: Vec::new() };
    let error = Dialer::new(&identity).err().expect("refused");
    assert_eq!(error.to_string(), "the certificate of the authority is missing");
}
