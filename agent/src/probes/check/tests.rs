//! Probes of real sockets on this machine.

use std::sync::Arc;

use base::SystemClock;
use proto::health::health_server::{Health, HealthServer};
use proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Response, Status};

use super::*;
use crate::runtime::hollow::HollowRuntime;

async fn outcome(probe_json: serde_json::Value) -> Outcome {
    let spec: Probe = serde_json::from_value(probe_json).unwrap();
    let runtime = HollowRuntime::new(Arc::new(SystemClock), "node");
    let ports: Vec<ContainerPort> =
        serde_json::from_value(json!([{"name": "bad", "containerPort": 0}])).unwrap();
    let target = Target { id: "c", pod_ip: "127.0.0.1", ports: &ports };
    probe(&runtime, &spec, &target, Duration::from_secs(2)).await
}

/// Keeps what it spawns for as long as the test's process lives.
fn background(task: impl Future<Output = ()> + Send + 'static) {
    let tasks = base::Tasks::new(tokio_util::sync::CancellationToken::new());
    tasks.spawn_infallible("server of a test", task);
    std::mem::forget(tasks);
}

/// Gives each request the first answer whose key is part of it; tells what it was asked.
async fn server(
    answers: &'static [(&'static str, &'static str)],
) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, requests) = tokio::sync::mpsc::channel(16);
    background(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            let read = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let answer = answers.iter().find(|(key, _)| text.contains(key)).map_or("", |(_, answer)| answer);
            stream.write_all(answer.as_bytes()).await.unwrap();
            asked.send(text).await.unwrap();
        }
    });
    (port, requests)
}

#[tokio::test]
async fn http_takes_200_to_399() {
    let (port, _asked) = server(&[
        ("GET /ok", "HTTP/1.1 200 OK\r\n\r\n"),
        (
            "GET /away",
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 3\r\n\r\nbye",
        ),
        ("GET /none", "HTTP/1.1 404 Not Found\r\n\r\n"),
        ("GET /nonsense", "hello\n"),
    ])
    .await;
    let at = async |path: &str| outcome(json!({"httpGet": {"port": port, "path": path}})).await;
    assert_eq!(at("/ok").await, Outcome::Success);
    assert_eq!(at("ok").await, Outcome::Success);
    let said = "Probe terminated redirects, Response body: bye".to_owned();
    assert_eq!(at("/away").await, Outcome::Warning(said));
    assert_eq!(at("/none").await, Outcome::Failure("HTTP probe failed with statuscode: 404".to_owned()));
    assert!(matches!(at("/nonsense").await, Outcome::Failure(_)));
    assert!(matches!(at("/\u{7f}").await, Outcome::Errored(_)));
}

#[tokio::test]
async fn redirects_on_the_same_host_are_followed_with_the_headers() {
    let (port, mut asked) = server(&[
        ("GET /first", "HTTP/1.1 301 Moved\r\nLocation: /a/second\r\nContent-Length: 0\r\n\r\n"),
        ("GET /a/second", "HTTP/1.1 302 Found\r\nLocation: third?x=1\r\nContent-Length: 0\r\n\r\n"),
        ("GET /a/third?x=1", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        ("GET /round", "HTTP/1.1 307 Again\r\nLocation: /round\r\nContent-Length: 0\r\n\r\n"),
    ])
    .await;
    let probe = json!({"httpGet": {"port": port, "path": "/first", "httpHeaders":
        [{"name": "Host", "value": "web.example"}, {"name": "X-Key", "value": "v"}, {"name": "accept", "value": ""}]}});
    assert_eq!(outcome(probe).await, Outcome::Failure("HTTP probe failed with statuscode: 503".to_owned()));
    for _ in 0..3 {
        let request = asked.recv().await.unwrap();
        assert!(request.contains("Host: web.example\r\n") && request.contains("X-Key: v\r\n"), "{request}");
        assert!(request.contains("User-Agent: kube-probe/") && !request.contains("Accept"), "{request}");
    }
    let endless = outcome(json!({"httpGet": {"port": port, "path": "/round"}})).await;
    assert!(matches!(endless, Outcome::Failure(text) if text.ends_with("stopped after 10 redirects")));
}

#[tokio::test]
async fn https_takes_any_certificate() {
    let own = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    background(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not speak TLS is one of the cases.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 512];
            let _read = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    });
    let action = |scheme: &str| json!({"httpGet": {"port": port, "path": "/", "scheme": scheme}});
    assert_eq!(outcome(action("HTTPS")).await, Outcome::Success);
    assert!(matches!(outcome(action("HTTP")).await, Outcome::Failure(_)));
    let (plain, _asked) = server(&[("", "HTTP/1.1 400 Bad\r\n\r\n")]).await;
    let refused = outcome(json!({"httpGet": {"port": plain, "path": "/", "scheme": "HTTPS"}})).await;
    assert_eq!(
        refused,
        Outcome::Failure(format!(
            "Get \"https://127.0.0.1:{plain}/\": http: server gave HTTP response to HTTPS client"
        ))
    );
}

#[tokio::test]
async fn a_closed_port_fails_a_tcp_probe() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    assert_eq!(outcome(json!({"tcpSocket": {"port": port}})).await, Outcome::Success);
    drop(closed);
    assert_eq!(
        outcome(json!({"tcpSocket": {"port": port}})).await,
        Outcome::Failure(format!("dial tcp 127.0.0.1:{port}: connect: connection refused"))
    );
}

#[tokio::test]
async fn what_cannot_be_asked_says_nothing_about_the_container() {
    for port in [json!("none"), json!("bad"), json!(0), json!(70000)] {
        let outcome = outcome(json!({"tcpSocket": {"port": port}})).await;
        assert!(matches!(outcome, Outcome::Errored(_)), "{port}: {outcome:?}");
    }
    assert!(matches!(outcome(json!({})).await, Outcome::Errored(_)));
}

struct Answers;

#[tonic::async_trait]
impl Health for Answers {
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.into_inner().service.as_str() {
            "" => Ok(Response::new(HealthCheckResponse { status: 1 })),
            "sick" => Ok(Response::new(HealthCheckResponse { status: 2 })),
            "slow" => std::future::pending().await,
            _ => Err(Status::not_found("unknown service")),
        }
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not watched"))
    }

    async fn list(
        &self,
        _: tonic::Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("not listed"))
    }
}

#[tokio::test]
async fn grpc_asks_the_health_service() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    background(async move {
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(HealthServer::new(Answers));
        server.serve_with_incoming(incoming).await.unwrap();
    });
    let said = async |service: &str| match outcome(json!({"grpc": {"port": port, "service": service}})).await
    {
        Outcome::Success => "good".to_owned(),
        Outcome::Failure(message) => message,
        Outcome::Warning(_) | Outcome::Errored(_) => "odd".to_owned(),
    };
    assert_eq!(said("").await, "good");
    assert_eq!(said("sick").await, "service unhealthy (responded with \"NOT_SERVING\")");
    assert_eq!(said("slow").await, "timeout: health rpc did not complete within 2s");
    assert_eq!(
        said("other").await,
        "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"
    );
    let nobody = outcome(json!({"grpc": {"port": 1}})).await;
    assert!(matches!(nobody, Outcome::Failure(text) if text.contains("connection refused")));
}
