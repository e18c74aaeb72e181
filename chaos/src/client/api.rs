//! A client of one Kubernetes API server that asks one thing at a time, never twice, and tells the history of it.
//!
//! Each call has a connection of its own: who was not reached was certainly not asked.

mod manage;
mod stream;
mod target;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request as HttpRequest, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::Recorder;
use super::outcome::{TIMEOUT, UNCONNECTED};
use crate::history::{Event, Failure, Fence, Reply, Request, Verb, mark};

pub use manage::Refusal;
pub use stream::ObjectStream;
pub use target::ApiTarget;

/// The code of a write that was refused because its fence is not the Lease's.
pub const FENCED: &str = "Fenced";
/// How the server begins what it says of those.
const FENCED_WORD: &str = "fenced:";
pub(crate) const FENCE_HEADER: &str = "navarch-fence";
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// The resources that are asked for: version and kind of their objects.
const RESOURCES: &[(&str, &str, &str)] = &[
    ("configmaps", "v1", "ConfigMap"),
    ("deployments", "apps/v1", "Deployment"),
    ("leases", "coordination.k8s.io/v1", "Lease"),
    ("namespaces", "v1", "Namespace"),
    ("pods", "v1", "Pod"),
];

/// One process: it asks one API server one thing at a time.
pub struct Api {
    recorder: Recorder,
    target: ApiTarget,
    process: u32,
    workload: &'static str,
    deadline: Duration,
}

/// What is asked, without who asks whom.
#[derive(Clone, Debug)]
pub struct Ask {
    pub verb: Verb,
    pub key: String,
    pub body: Value,
    pub expected: u64,
    pub fence: Option<Fence>,
}

impl Ask {
    pub fn new(verb: Verb, key: &str) -> Self {
        Self { verb, key: key.to_owned(), body: Value::Null, expected: 0, fence: None }
    }

    #[must_use]
    pub fn with(self, body: Value) -> Self {
        Self { body, ..self }
    }

    /// Only while the object has this resourceVersion.
    #[must_use]
    pub fn at(self, expected: u64) -> Self {
        Self { expected, ..self }
    }

    #[must_use]
    pub fn fenced(self, fence: Fence) -> Self {
        Self { fence: Some(fence), ..self }
    }
}

impl Api {
    /// `deadline` is for each call.
    pub fn new(recorder: Recorder, target: ApiTarget, workload: &'static str, deadline: Duration) -> Self {
        let process = recorder.process();
        Self { recorder, target, process, workload, deadline }
    }

    pub fn member(&self) -> &str {
        &self.target.member
    }

    /// Asks another server from now on.
    pub fn turn_to(&mut self, target: ApiTarget) {
        self.target = target;
    }

    /// Asks once. After an unknown outcome this is another process.
    pub async fn call(&mut self, ask: Ask) -> Reply {
        let Ask { verb, key, body, expected, fence } = ask;
        let (member, workload) = (self.target.member.clone(), self.workload.to_owned());
        let request = Request { member, workload, verb, key, body, expected, fence };
        self.recorder.history.record(self.process, Event::Request(request.clone()));
        let reply = match tokio::time::timeout(self.deadline, exchange(&self.target, &request)).await {
            Ok(reply) => reply,
            Err(_) => {
                open_end(&request, TIMEOUT, "no answer within the time that the client gives".to_owned())
            }
        };
        self.recorder.history.record(self.process, Event::Reply { reply: reply.clone() });
        self.recorder.learn_reply(&reply);
        if matches!(reply, Reply::Unknown(_)) {
            self.process = self.recorder.process();
        }
        reply
    }

    /// As [`Self::call`], for who needs the object only.
    pub async fn ask(&mut self, ask: Ask) -> Option<Value> {
        match self.call(ask).await {
            Reply::Ok { object } => Some(object),
            Reply::Refused(_) | Reply::Unknown(_) => None,
        }
    }
}

/// Of a call that was sent, and whose answer was not understood.
pub(crate) fn open_end(request: &Request, code: &str, message: String) -> Reply {
    let failure = Failure { code: code.to_owned(), message };
    if request.writes() { Reply::Unknown(failure) } else { Reply::Refused(failure) }
}

async fn exchange(target: &ApiTarget, request: &Request) -> Reply {
    let asked = match encode(target, request) {
        Ok(asked) => asked,
        Err(error) => return unsent(error.to_string()),
    };
    match send(target, asked).await {
        Ok((status, body)) => understand(request, status, &body),
        Err(Unanswered::Unsent(why)) => unsent(why),
        Err(Unanswered::Broken(why)) => open_end(request, "Broken", why),
    }
}

fn unsent(why: String) -> Reply {
    Reply::Refused(Failure { code: UNCONNECTED.to_owned(), message: why })
}

/// Why there is no answer.
enum Unanswered {
    /// Nobody was asked.
    Unsent(String),
    Broken(String),
}

/// The status and the body of what is answered.
async fn send(target: &ApiTarget, asked: HttpRequest<Full<Bytes>>) -> Result<(u16, Bytes), Unanswered> {
    let unsent = |why: String| Unanswered::Unsent(why);
    let stream = target.connect().await.map_err(|error| unsent(error.to_string()))?;
    let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| unsent(error.to_string()))?;
    // The connection works while its answer is read, and ends with it.
    let answered = async {
        let response = sender.send_request(asked).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status.as_u16(), response.into_body().collect().await?.to_bytes()))
    };
    tokio::pin!(answered);
    let answered = tokio::select! {
        biased;
        answered = &mut answered => answered.map_err(|error| error.to_string()),
        ended = connection => match ended {
            Err(error) => Err(error.to_string()),
            // What was answered before it was closed is there.
            Ok(()) => answered.await.map_err(|error| error.to_string()),
        },
    };
    answered.map_err(Unanswered::Broken)
}

/// A request without a body to a path of the server.
fn request_to(target: &ApiTarget, method: Method, path: &str) -> http::request::Builder {
    let asked = HttpRequest::builder()
        .method(method)
        .uri(format!("{}{path}", target.base))
        .header(header::HOST, &target.authority);
    match &target.token {
        Some(token) => asked.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => asked,
    }
}

fn encode(target: &ApiTarget, request: &Request) -> Result<HttpRequest<Full<Bytes>>, http::Error> {
    let (head, body) = plain(request)?.into_parts();
    let mut asked = request_to(target, head.method, head.uri.path());
    if let Some(headers) = asked.headers_mut() {
        headers.extend(head.headers);
    }
    asked.body(Full::new(body))
}

/// The request, as it is sent to any server and by anybody.
///
/// # Errors
/// When its key or its fence do not fit into a request.
pub(crate) fn plain(request: &Request) -> Result<HttpRequest<Bytes>, http::Error> {
    let (method, kind) = match request.verb {
        Verb::Get => (Method::GET, JSON),
        Verb::Create => (Method::POST, JSON),
        Verb::Update => (Method::PUT, JSON),
        Verb::Patch => (Method::PATCH, MERGE_PATCH),
        Verb::Delete => (Method::DELETE, JSON),
    };
    let path = path(&request.key, request.verb == Verb::Create);
    let mut asked = HttpRequest::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    if let Some(fence) = &request.fence {
        let lease = fence.lease.strip_prefix("/registry/leases/").unwrap_or(&fence.lease);
        let proof = format!("{lease}; holder={}; epoch={}", fence.holder, fence.epoch);
        asked = asked.header(FENCE_HEADER, proof);
    }
    asked.body(Bytes::from(body(request)))
}

fn body(request: &Request) -> Vec<u8> {
    let mut body = request.body.clone();
    match request.verb {
        Verb::Get => return Vec::new(),
        Verb::Delete if request.expected > 0 => {
            body = json!({"preconditions": {"resourceVersion": request.expected.to_string()}});
        }
        Verb::Delete => return Vec::new(),
        Verb::Update | Verb::Patch if request.expected > 0 => {
            body["metadata"]["resourceVersion"] = request.expected.to_string().into();
        }
        Verb::Create => {
            let (version, kind) = type_of(&request.key);
            body["apiVersion"] = version.into();
            body["kind"] = kind.into();
        }
        Verb::Update | Verb::Patch => {}
    }
    body.to_string().into_bytes()
}

/// Version and kind of the object at a key.
fn type_of(key: &str) -> (&'static str, &'static str) {
    let resource = key.trim_start_matches("/registry/").split('/').next().unwrap_or_default();
    let found = RESOURCES.iter().find(|(name, _, _)| *name == resource);
    found.map_or(("v1", ""), |(_, version, kind)| (version, kind))
}

/// `/registry/deployments/default/web` → `/apis/apps/v1/namespaces/default/deployments/web`
fn path(key: &str, of_collection: bool) -> String {
    let parts: Vec<&str> = key.trim_start_matches("/registry/").split('/').collect();
    let resource = parts[0];
    let (version, _) = type_of(key);
    let group = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    match (&parts[1..], of_collection) {
        ([namespace, _], true) => format!("{group}/namespaces/{namespace}/{resource}"),
        ([namespace, name], false) => format!("{group}/namespaces/{namespace}/{resource}/{name}"),
        ([name], false) => format!("{group}/{resource}/{name}"),
        _ => format!("{group}/{resource}"),
    }
}

/// What an answer says.
pub(crate) fn understand(request: &Request, status: u16, body: &[u8]) -> Reply {
    let Ok(object) = serde_json::from_slice::<Value>(body) else {
        return open_end(request, &status.to_string(), "the answer is no JSON".to_owned());
    };
    let message = object["message"].as_str().unwrap_or_default().to_owned();
    let code = match object["reason"].as_str() {
        Some("Conflict") if message.starts_with(FENCED_WORD) => FENCED.to_owned(),
        Some(reason) => reason.to_owned(),
        None => status.to_string(),
    };
    match status {
        200..300 => Reply::Ok { object },
        400..500 => Reply::Refused(Failure { code, message }),
        // What went wrong inside may have gone wrong after the write.
        _ => open_end(request, &code, message),
    }
}

/// The object with a mark of its own.
pub fn marked(mut object: Value, with: &str) -> Value {
    object["metadata"]["annotations"][crate::history::MARK] = with.into();
    debug_assert_eq!(mark(&object), Some(with));
    object
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn request(verb: Verb, expected: u64) -> Request {
        Request {
            member: "n1".to_owned(),
            workload: "w".to_owned(),
            verb,
            key: "/registry/configmaps/default/a".to_owned(),
            body: json!({"data": {"x": "1"}}),
            expected,
            fence: None,
        }
    }

    #[test]
    fn keys_become_paths() {
        let told = [
            path("/registry/deployments/default/web", false),
            path("/registry/deployments/default/web", true),
            path("/registry/leases/kube-system/x", false),
            path("/registry/configmaps/default/a", false),
        ];
        expect![[r"
            /apis/apps/v1/namespaces/default/deployments/web
            /apis/apps/v1/namespaces/default/deployments
            /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x
            /api/v1/namespaces/default/configmaps/a"]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn a_condition_is_sent_where_the_server_looks_for_it() {
        let sent = |verb, expected| -> Value {
            serde_json::from_slice(&body(&request(verb, expected))).expect("an object")
        };
        let (data, version) = (json!({"x": "1"}), json!({"resourceVersion": "7"}));
        assert_eq!(sent(Verb::Update, 7), json!({"data": data, "metadata": version}));
        assert_eq!(sent(Verb::Patch, 0), json!({"data": data}));
        assert_eq!(sent(Verb::Delete, 7), json!({"preconditions": version}));
        assert!(body(&request(Verb::Delete, 0)).is_empty());
        assert_eq!(sent(Verb::Create, 0), json!({"apiVersion": "v1", "data": data, "kind": "ConfigMap"}));
    }

    #[test]
    fn only_what_the_server_refuses_certainly_did_not_happen() {
        let told = |verb, status, body: &str| understand(&request(verb, 0), status, body.as_bytes()).tell();
        let conflict = r#"{"reason": "Conflict", "message": "fenced: lease x is held by y"}"#;
        assert_eq!(told(Verb::Update, 409, conflict), "refused: Fenced");
        assert_eq!(told(Verb::Update, 409, r#"{"reason": "Conflict"}"#), "refused: Conflict");
        assert_eq!(told(Verb::Update, 504, r#"{"reason": "Timeout"}"#), "unknown: Timeout");
        assert_eq!(told(Verb::Get, 504, r#"{"reason": "Timeout"}"#), "refused: Timeout");
        assert_eq!(told(Verb::Update, 200, "half an ob"), "unknown: 200");
        assert_eq!(told(Verb::Get, 200, r#"{"metadata": {"resourceVersion": "9"}}"#), "ok at 9");
    }
}
