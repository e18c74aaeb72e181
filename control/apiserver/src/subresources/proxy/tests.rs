//! Requests through a server to a node that is a task of the test: it reaches every port but 81, and what answers
//! there repeats what it was asked.

use std::convert::Infallible;
use std::sync::Arc;

use base::Tasks;
use bytes::Bytes;
use expect_test::{Expect, expect};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::tests::bench::{Bench, PODS};
use crate::{NodeStream, NodeStreamError, NodeStreams};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

struct Echoes(Tasks);

impl NodeStreams for Echoes {
    fn open(&self, node: &str) -> BoxFuture<'_, Result<Box<dyn NodeStream>, NodeStreamError>> {
        if node != "n1" {
            let error = NodeStreamError::NotConnected(node.to_owned());
            return async move { Err(error) }.boxed();
        }
        let (near, far) = tokio::io::duplex(1024);
        let tasks = self.0.clone();
        self.0.spawn_infallible("node", async move {
            let service = service_fn(move |request| {
                let answer = node_answer(request, tasks.clone());
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let _ended =
                http1::Builder::new().serve_connection(TokioIo::new(far), service).with_upgrades().await;
        });
        async move { Ok(Box::new(near) as Box<dyn NodeStream>) }.boxed()
    }
}

async fn node_answer(request: Request<Incoming>, tasks: Tasks) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if !path.starts_with("/reach/") {
        return echo(path, request).await;
    }
    if path.contains("/81/") {
        let mut response = Response::new(Full::from("dial tcp 10.0.0.1:81: connect: connection refused"));
        *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        return response;
    }
    tasks.spawn_infallible("port", async move {
        let Ok(pipe) = hyper::upgrade::on(request).await else { return };
        let service = service_fn(move |request| {
            let answer = echo(path.clone(), request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let _ended = http1::Builder::new().serve_connection(pipe, service).await;
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
    response
}

async fn echo(reached: String, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut lines = vec![reached, format!("{} {}", request.method(), request.uri())];
    let headers = request.headers().iter();
    lines.extend(headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    lines.push(String::from_utf8_lossy(&body).into_owned());
    let mut response = Response::new(Full::from(lines.join("\n")));
    let headers = response.headers_mut();
    match path.as_str() {
        "/away" => {
            headers.insert("location", HeaderValue::from_static("/login"));
            *response.status_mut() = http::StatusCode::FOUND;
        }
        "/page" => {
            headers.insert("content-type", HeaderValue::from_static("text/html"));
            *response.body_mut() = Full::from("<a href='/x'>x</a>");
        }
        "/large" => *response.body_mut() = Full::from(vec![b'x'; 1 << 20]),
        _ => {
            headers.insert("connection", HeaderValue::from_static("close"));
            headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        }
    }
    response
}

struct World {
    bench: Bench,
    _stop: tokio_util::sync::DropGuard,
}

impl World {
    /// The pods `web` and `far`, on nodes of which only the first is connected, and services.
    async fn furnished() -> Self {
        let stop = CancellationToken::new();
        let bench = Bench::start_reaching(Arc::new(Echoes(Tasks::new(stop.clone())))).await;
        let world = Self { bench, _stop: stop.drop_guard() };
        world.pod("web", "n1", "10.0.0.1").await;
        world.pod("far", "n2", "10.0.0.2").await;
        world.pod("early", "", "").await;
        let service = |name: &str| {
            json!({"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}]}}).to_string()
        };
        for name in ["web", "empty"] {
            assert_eq!(world.bench.send("POST", SERVICES, &service(name)).await.code, 201);
        }
        let slice = json!({
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "web"}},
                          {"addresses": ["10.0.0.9"], "targetRef": {"kind": "Pod", "name": "far"}},
                          {"addresses": ["10.0.0.3"], "targetRef": {"kind": "Pod", "name": "gone"}}],
        });
        assert_eq!(world.bench.send("POST", SLICES, &slice.to_string()).await.code, 201);
        let node = json!({"metadata": {"name": "n1"}}).to_string();
        assert_eq!(world.bench.send("POST", "/api/v1/nodes", &node).await.code, 201);
        world
    }

    async fn pod(&self, name: &str, node: &str, ip: &str) {
        let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [
            {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]},
        ]}});
        assert_eq!(self.bench.send("POST", PODS, &pod.to_string()).await.code, 201);
        if !ip.is_empty() {
            let status = json!({"metadata": {"name": name}, "status": {"podIP": ip}}).to_string();
            let patch = [("content-type", "application/merge-patch+json")];
            let uri = format!("{PODS}/{name}/status");
            assert_eq!(self.bench.send_with("PATCH", &uri, &patch, status.into_bytes()).await.code, 200);
        }
    }

    async fn check(&self, method: &str, uri: &str, body: &str, expected: Expect) {
        let headers = [("host", "client:1"), ("authorization", "Basic x"), ("cookie", "a=b")];
        let answer = self.bench.send_with(method, uri, &headers, body.as_bytes().to_vec()).await;
        let mut shown = format!("{}\n", answer.line());
        for (name, value) in &answer.headers {
            if !matches!(name.as_str(), "date" | "audit-id") {
                shown += &format!("< {name}: {}\n", value.to_str().unwrap());
            }
        }
        expected.assert_eq(&shown);
    }
}

#[tokio::test]
async fn a_request_reaches_the_port_of_a_pod_as_it_was() {
    let world = World::furnished().await;
    world
        .check(
            "GET",
            &format!("{PODS}/web/proxy/a/../b%2Fc/?x=1%202&y"),
            "",
            expect![[r#"
        200 /reach/http/8080/pod/default/web
        GET /b%2Fc/?x=1%202&y
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/namespaces/default/pods/web/proxy/b%2Fc/
        < content-length: 148
        < cache-control: no-cache, private
    "#]],
        )
        .await;
    world
        .check(
            "POST",
            &format!("{PODS}/https:web:443/proxy/"),
            "a body",
            expect![[r#"
        200 /reach/https/443/pod/default/web
        POST /
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/namespaces/default/pods/https:web:443/proxy/
        content-length: 6
        a body
        < content-length: 161
        < cache-control: no-cache, private
    "#]],
        )
        .await;
    world
        .check(
            "DELETE",
            &format!("{PODS}/web:http/proxy/x"),
            "",
            expect![[r#"
        200 /reach/http/8080/pod/default/web
        DELETE /x
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/namespaces/default/pods/web:http/proxy/x
        < content-length: 136
        < cache-control: no-cache, private
    "#]],
        )
        .await;
}

#[tokio::test]
async fn a_request_reaches_a_pod_of_a_service() {
    let world = World::furnished().await;
    world
        .check(
            "PATCH",
            &format!("{SERVICES}/web:80/proxy/x"),
            "{}",
            expect![[r#"
        200 /reach/http/8080/pod/default/web
        PATCH /x
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/namespaces/default/services/web:80/proxy/x
        content-length: 2
        {}
        < content-length: 157
        < cache-control: no-cache, private
    "#]],
        )
        .await;
    world
        .check(
            "PUT",
            &format!("{SERVICES}/web:http/proxy/x"),
            "{}",
            expect![[r#"
        200 /reach/http/8080/pod/default/web
        PUT /x
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/namespaces/default/services/web:http/proxy/x
        content-length: 2
        {}
        < content-length: 157
        < cache-control: no-cache, private
    "#]],
        )
        .await;
}

#[tokio::test]
async fn a_request_reaches_a_node() {
    let world = World::furnished().await;
    world
        .check(
            "GET",
            "/api/v1/nodes/n1/proxy/pods?limit=1",
            "",
            expect![[r#"
        200 /node/pods
        GET /node/pods?limit=1
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/nodes/n1/proxy/pods
        < content-length: 106
        < cache-control: no-cache, private
    "#]],
        )
        .await;
    world
        .check(
            "GET",
            "/api/v1/nodes/n1:10250/proxy/healthz",
            "",
            expect![[r#"
        200 /node/healthz
        GET /node/healthz
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/nodes/n1:10250/proxy/healthz
        < content-length: 113
        < cache-control: no-cache, private
    "#]],
        )
        .await;
    world
        .check(
            "GET",
            "/api/v1/nodes/n1:9100/proxy/metrics",
            "",
            expect![[r#"
        200 /reach/http/9100/node
        GET /metrics
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/nodes/n1:9100/proxy/metrics
        < content-length: 115
        < cache-control: no-cache, private
    "#]],
        )
        .await;
}

#[tokio::test]
async fn answers_lead_back_through_the_proxy() {
    let world = World::furnished().await;
    world
        .check(
            "GET",
            &format!("{PODS}/web/proxy?a=b"),
            "",
            expect![[r#"
        301
        < location: /api/v1/namespaces/default/pods/web/proxy/?a=b
    "#]],
        )
        .await;
    world
        .check(
            "GET",
            &format!("{PODS}/web/proxy/away"),
            "",
            expect![[r#"
        302 /reach/http/8080/pod/default/web
        GET /away
        host: client:1
        cookie: a=b
        x-forwarded-uri: /api/v1/namespaces/default/pods/web/proxy/away
        < location: /api/v1/namespaces/default/pods/web/proxy/login
        < content-length: 134
        < cache-control: no-cache, private
    "#]],
        )
        .await;
    world
        .check(
            "GET",
            &format!("{PODS}/web/proxy/page"),
            "",
            expect![[r#"
        200 <a href='/api/v1/namespaces/default/pods/web/proxy/x'>x</a>
        < content-type: text/html
        < cache-control: no-cache, private
    "#]],
        )
        .await;
    world
        .check(
            "HEAD",
            &format!("{PODS}/web/proxy/page"),
            "",
            expect![[r#"
        200
        < content-type: text/html
        < content-length: 18
        < cache-control: no-cache, private
    "#]],
        )
        .await;
    let large = [("accept-encoding", "gzip")];
    let large = world.bench.send_with("GET", &format!("{PODS}/web/proxy/large"), &large, Vec::new()).await;
    assert_eq!((large.bytes.len(), large.headers.get("content-encoding")), (1 << 20, None));
}

#[tokio::test]
async fn who_cannot_be_reached_is_named() {
    let world = World::furnished().await;
    let mut shown = String::new();
    for path in [
        "pods/absent/proxy/",
        "pods/far/proxy/",
        "pods/early/proxy/",
        "pods/web:81/proxy/",
        "pods/web:none/proxy/",
        "pods/ftp:web:21/proxy/",
        "services/absent/proxy/",
        "services/empty:80/proxy/",
        "services/web:81/proxy/",
        "services/web/proxy/",
        "services/web:none/proxy/",
    ] {
        let line = world.bench.line("GET", &format!("/api/v1/namespaces/default/{path}"), "").await;
        shown += &format!("{path} {line}\n");
    }
    for path in ["/api/v1/nodes/absent/proxy/", "/api/v1/nodes/n1:x/proxy/"] {
        shown += &format!("{path} {}\n", world.bench.line("GET", path, "").await);
    }
    expect![[r#"
        pods/absent/proxy/ 404 NotFound: pods "absent" not found
        pods/far/proxy/ 503 ServiceUnavailable: error trying to reach service: node n2 has no agent connected
        pods/early/proxy/ 400 BadRequest: address not allowed
        pods/web:81/proxy/ 503 ServiceUnavailable: error trying to reach service: dial tcp 10.0.0.1:81: connect: connection refused
        pods/web:none/proxy/ 503 ServiceUnavailable: error trying to reach service: dial tcp: lookup tcp/none: unknown port
        pods/ftp:web:21/proxy/ 400 BadRequest: invalid pod request "ftp:web:21"
        services/absent/proxy/ 404 NotFound: services "absent" not found
        services/empty:80/proxy/ 503 ServiceUnavailable: no endpoints available for service "empty:80"
        services/web:81/proxy/ 503 ServiceUnavailable: no service port 81 found for service "web"
        services/web/proxy/ 503 ServiceUnavailable: no endpoints available for service "web"
        services/web:none/proxy/ 503 ServiceUnavailable: no endpoints available for service "web:none"
        /api/v1/nodes/absent/proxy/ 404 NotFound: nodes "absent" not found
        /api/v1/nodes/n1:x/proxy/ 503 ServiceUnavailable: error trying to reach service: dial tcp: lookup tcp/x: unknown port
    "#]].assert_eq(&shown);
}
