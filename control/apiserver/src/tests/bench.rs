//! One server on a store in memory, and answers as short lines.

use std::sync::Arc;
use std::time::Duration;

use base::{ManualClock, SeededEntropy, Tasks};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use kinds::schema::{Schema, protobuf};
use kinds::tree;
use serde_json::Value;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::chain::authn::MASTERS;
use crate::{
    ApiConfig, ApiServer, Authentication, Body, Identity, NodeStream, NodeStreamError, NodeStreams,
    PodAccounts, ServiceNetwork, empty, full,
};

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

pub(crate) struct Bench {
    pub(crate) server: ApiServer,
    pub(crate) store: Store,
    pub(crate) clock: ManualClock,
    /// Ends the tasks of the store when the test ends.
    _tasks: Tasks,
    _stop: tokio_util::sync::DropGuard,
}

/// Whom a server believes, and what pods get of it.
#[derive(Default)]
pub(crate) struct Accounts {
    pub(crate) authentication: Authentication,
    pub(crate) pod_accounts: PodAccounts,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    /// In JSON, if it came in protobuf.
    pub(crate) text: String,
    pub(crate) bytes: Bytes,
}

struct NoNodes;

impl NodeStreams for NoNodes {
    fn open(&self, node: &str) -> BoxFuture<'_, Result<Box<dyn NodeStream>, NodeStreamError>> {
        let node = node.to_owned();
        async move { Err(NodeStreamError::NotConnected(node)) }.boxed()
    }
}

impl Bench {
    /// A server with the first namespaces.
    pub(crate) async fn start() -> Self {
        Self::building(Accounts::default(), false, Arc::new(NoNodes)).await
    }

    /// The same, which reaches nodes.
    pub(crate) async fn start_reaching(nodes: Arc<dyn NodeStreams>) -> Self {
        Self::building(Accounts::default(), false, nodes).await
    }

    /// The same, which knows more about accounts.
    pub(crate) async fn start_with(known: Accounts) -> Self {
        Self::building(known, false, Arc::new(NoNodes)).await
    }

    /// The same, which may serve what Kubernetes has given up.
    pub(crate) async fn serving(legacy_versions: bool) -> Self {
        Self::building(Accounts::default(), legacy_versions, Arc::new(NoNodes)).await
    }

    async fn building(known: Accounts, legacy_versions: bool, nodes: Arc<dyn NodeStreams>) -> Self {
        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let clock = ManualClock::at("2026-11-21T00:00:00Z".parse().unwrap());
        let entropy = Arc::new(SeededEntropy::new(1));
        let store = Store::in_memory(Arc::new(clock.clone()), entropy.clone(), &tasks).await;
        let server = ApiServer::new(ApiConfig {
            store: store.clone(),
            clock: Arc::new(clock.clone()),
            entropy,
            nodes,
            metrics: Arc::new(|| "up 1\n".to_owned()),
            toleration_seconds: 300,
            legacy_versions,
            address: "127.0.0.1:6443".to_owned(),
            authentication: known.authentication,
            pod_accounts: known.pod_accounts,
            service_network: ServiceNetwork::default(),
            tasks: tasks.clone(),
        });
        tasks.spawn_infallible("definitions", server.clone().follow_definitions(tasks.stop().clone()));
        let bench = Self { server, store, clock, _tasks: tasks, _stop: stop.drop_guard() };
        for name in ["default", "kube-system"] {
            let body = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
            assert_eq!(bench.send("POST", "/api/v1/namespaces", &body).await.code, 201);
        }
        bench
    }

    pub(crate) async fn send(&self, method: &str, uri: &str, body: &str) -> Answer {
        self.send_with(method, uri, &[], body.as_bytes().to_vec()).await
    }

    pub(crate) async fn send_with(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let response = self.open(Identity::known("admin", &[MASTERS]), method, uri, headers, body).await;
        Answer::of(response).await
    }

    pub(crate) async fn open(
        &self,
        who: Identity,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_empty() { empty() } else { full(body) };
        self.server.handle(who, request.body(body).unwrap()).await
    }

    /// The answer in one line.
    pub(crate) async fn line(&self, method: &str, uri: &str, body: &str) -> String {
        self.send(method, uri, body).await.line()
    }

    pub(crate) async fn line_with(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> String {
        self.send_with(method, uri, headers, body.as_bytes().to_vec()).await.line()
    }

    /// The answer to `who` in one line.
    pub(crate) async fn line_as(&self, who: &Identity, method: &str, uri: &str, body: &str) -> String {
        let response = self.open(who.clone(), method, uri, &[], body.as_bytes().to_vec()).await;
        Answer::of(response).await.line()
    }

    /// Waits until `who` gets the answer `code`: a new rule takes a moment to be known.
    pub(crate) async fn until(&self, who: &Identity, code: u16, method: &str, uri: &str) {
        let answered = async {
            while self.open(who.clone(), method, uri, &[], Vec::new()).await.status() != code {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), answered).await;
        assert!(in_time.is_ok(), "{} never got {code} for {method} {uri}", who.user);
    }

    pub(crate) async fn get(&self, uri: &str) -> Value {
        self.send("GET", uri, "").await.json()
    }

    pub(crate) async fn config_map(&self, name: &str) -> Answer {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"app":"{name}"}}}},"data":{{"color":"red"}}}}"#
        );
        self.send("POST", CONFIG_MAPS, &body).await
    }

    /// The lines of a watch that has `timeoutSeconds` in its query, each as `TYPE name label`.
    pub(crate) async fn watch(&self, uri: &str) -> Watching {
        let response = self.open(Identity::known("admin", &[MASTERS]), "GET", uri, &[], Vec::new()).await;
        assert_eq!(response.status(), 200);
        Watching { body: response.into_body(), pending: String::new() }
    }
}

/// An open watch.
pub(crate) struct Watching {
    body: Body,
    pending: String,
}

impl Watching {
    /// The next event, or what happened instead.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some((line, rest)) = self.pending.split_once('\n') {
                let event = serde_json::from_str(line).expect("a line is an event");
                self.pending = rest.to_owned();
                return event;
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame());
            match frame.await.expect("an event comes in time") {
                Some(frame) => {
                    let data = frame.expect("the stream is whole").into_data().expect("no trailers");
                    self.pending.push_str(std::str::from_utf8(&data).expect("text"));
                }
                None => return Value::Null,
            }
        }
    }

    pub(crate) async fn line(&mut self) -> String {
        let event = self.next().await;
        if event.is_null() {
            return "end".to_owned();
        }
        let object = &event["object"];
        let mut line = format!("{} {}", tree::text(&event, "type"), tree::text(object, "kind"));
        let name = tree::text(object, "metadata.name");
        if !name.is_empty() {
            line.push_str(&format!(" {name}"));
        }
        let message = tree::text(object, "message");
        if !message.is_empty() {
            line.push_str(&format!(": {message}"));
        }
        line
    }
}

impl Answer {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body is whole").to_bytes();
        let text = match bytes.starts_with(b"k8s\0").then(|| protobuf::decode(&Schema::builtin(), &bytes)) {
            Some(Ok(value)) => value.to_string(),
            Some(Err(_)) | None => String::from_utf8_lossy(&bytes).into_owned(),
        };
        Self { code: head.status.as_u16(), headers: head.headers, text, bytes }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(crate) fn revision(&self) -> i64 {
        tree::text(&self.json(), "metadata.resourceVersion").parse().unwrap_or_default()
    }

    /// `201 ConfigMap p1`, or the failure with its reason and message.
    pub(crate) fn line(&self) -> String {
        let json = self.json();
        let kind = tree::text(&json, "kind");
        let mut line = match kind {
            "" => format!("{} {}", self.code, self.text.trim()),
            "Status" if tree::text(&json, "status") == "Failure" => {
                let reason = tree::text(&json, "reason");
                format!("{} {reason}: {}", self.code, tree::text(&json, "message"))
            }
            _ => format!("{} {kind} {}", self.code, tree::text(&json, "metadata.name")),
        };
        for warning in self.headers.get_all("warning") {
            line.push_str(&format!(" WARNING {}", warning.to_str().unwrap_or_default()));
        }
        line.trim_end().to_owned()
    }
}
