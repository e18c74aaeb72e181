//! `pods/exec`, `pods/attach`, `pods/portforward`: a connection between a client and the node of a pod.
//!
//! The server decides who may, and which container is meant. What the two then speak, it passes on: it knows
//! neither SPDY nor WebSocket, and the node's refusals reach the client as they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use kinds::{Connect, Kind, Serves, Verb, tree};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::log;
use crate::body::{Body, empty, full};
use crate::chain::authn::Identity;
use crate::chain::authz::Attributes;
use crate::metrics::LongRunning;
use crate::node_stream::NodeStream;
use crate::request::{Query, ResourcePath};
use crate::server::Shared;
use crate::status::Status;
use crate::storage::{Freshness, Scope};

/// How long a node may take until its answer begins.
const NODE_TIMEOUT: Duration = Duration::from_secs(15);
/// When one side has hung up, how long the other may take.
const LINGER: Duration = Duration::from_secs(15);
const REFUSAL_BYTES_MAX: usize = 16 * 1024;
/// What waits in each direction of a connection.
const BUFFER_BYTES: usize = 64 * 1024;

/// With which client and node agree on what they speak.
static PASSED_ON: [HeaderName; 9] = [
    CONNECTION,
    UPGRADE,
    http::header::SEC_WEBSOCKET_ACCEPT,
    http::header::SEC_WEBSOCKET_EXTENSIONS,
    http::header::SEC_WEBSOCKET_KEY,
    http::header::SEC_WEBSOCKET_PROTOCOL,
    http::header::SEC_WEBSOCKET_VERSION,
    HeaderName::from_static("x-accepted-stream-protocol-versions"),
    HeaderName::from_static("x-stream-protocol-version"),
];
/// What of the query is the node's business.
const OPTIONS: &[&str] = &["command", "stdin", "stdout", "stderr", "tty", "ports"];

/// A request for a connection.
pub(crate) struct Connecting<'a> {
    server: &'a Arc<Shared>,
    who: &'a Identity,
    kind: &'static Kind,
    path: &'a ResourcePath,
    connect: Connect,
}

impl<'a> Connecting<'a> {
    /// `None` when something else is asked for.
    pub(crate) fn find(
        server: &'a Arc<Shared>,
        (kind, path): (&'static Kind, &'a ResourcePath),
        who: &'a Identity,
    ) -> Option<Self> {
        let subresource = kind.subresource(path.subresource.as_deref()?)?;
        let Serves::Connect(connect) = subresource.serves else { return None };
        Some(Self { server, who, kind, path, connect })
    }

    fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    /// The node, and the path there.
    async fn locate(&self, query: &Query) -> Result<(String, String), Status> {
        let scope = Scope { kind: self.kind, namespace: self.path.namespace.clone() };
        let found = self.server.storage.get(&scope.key(self.name()), Freshness::Newest).await?;
        let pod = found.ok_or_else(|| Status::not_found(self.kind, self.name()))?.parse()?;
        let of_pod = format!("{}/{}", self.path.namespace.as_deref().unwrap_or_default(), self.name());
        let path = match self.connect {
            Connect::Exec | Connect::Attach => {
                let container = log::container(&pod, self.name(), query.get("container"))?;
                let word = if self.connect == Connect::Exec { "exec" } else { "attach" };
                format!("/{word}/{of_pod}/{container}")
            }
            Connect::PortForward => format!("/portForward/{of_pod}"),
        };
        let node = tree::text(&pod, "spec.nodeName");
        if node.is_empty() {
            return Err(Status::bad_request(format!("pod {} does not have a host assigned", self.name())));
        }
        Ok((node.to_owned(), path + &options(query)))
    }
}

/// Connects the client with the node, or says why not.
pub(crate) async fn connect(
    asked: &Connecting<'_>,
    verb: Verb,
    query: &Query,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    if !matches!(verb, Verb::Create | Verb::Get) {
        return Err(Status::method_not_allowed());
    }
    if verb == Verb::Get {
        // A WebSocket can begin only with a GET, which must not be the way around a refused POST (KEP-4006).
        let create = Attributes::on(Verb::Create, asked.path, asked.name());
        asked.server.authorizer.authorize(asked.who, &create).await?;
    }
    let (node, path) = asked.locate(query).await?;
    let (mut head, _no_body) = request.into_parts();
    let client = head.extensions.remove::<OnUpgrade>().filter(|_| head.headers.contains_key(UPGRADE));
    let client = client.ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let mut to_node = Request::new(Empty::new());
    *to_node.method_mut() = head.method;
    *to_node.uri_mut() = path.parse().map_err(|_| Status::bad_request("the options make no URL"))?;
    *to_node.headers_mut() = passed_on(&head.headers);
    to_node.headers_mut().insert(HOST, HeaderValue::from_static("node"));
    let asking: BoxFuture<'static, _> = Box::pin(ask(Arc::clone(asked.server), node.clone(), to_node));
    let answer = tokio::time::timeout(NODE_TIMEOUT, asking).await;
    match answer.map_err(|_| Status::node_unreachable(format!("node {node} did not answer in time")))?? {
        Answer::Refused(response) => Ok(response),
        Answer::Switched(headers, pipe) => {
            let running = LongRunning::begin("CONNECT", asked.kind);
            let stop = asked.server.stop.clone();
            asked.server.tasks.spawn_infallible("connection to a node", async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = relay(client, TokioIo::new(pipe)) => {}
                }
                drop(running);
            });
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *response.headers_mut() = headers;
            Ok(response)
        }
    }
}

/// What a node said to a request for a connection.
pub(super) enum Answer {
    Switched(HeaderMap, Upgraded),
    Refused(Response<Body>),
}

async fn ask(server: Arc<Shared>, node: String, request: Request<Empty<Bytes>>) -> Result<Answer, Status> {
    let opened = server.nodes.open(&node).await;
    let pipe = opened.map_err(|error| unreachable(&node, &error))?;
    talk(pipe, request).await.map_err(|error| unreachable(&node, &error))
}

fn unreachable(node: &str, error: &dyn std::error::Error) -> Status {
    tracing::warn!(node, %error, "a node cannot be reached for a connection");
    Status::node_unreachable(format!("node {node} cannot be reached: {error}"))
}

pub(super) async fn talk(pipe: Box<dyn NodeStream>, request: Request<Empty<Bytes>>) -> hyper::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(pipe)).await?;
    let connection: BoxFuture<'static, hyper::Result<()>> = Box::pin(connection.with_upgrades());
    let asking = async move {
        let response = sender.send_request(request).await?;
        let headers = passed_on(response.headers());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let pipe = hyper::upgrade::on(response).await?;
            return Ok(Answer::Switched(headers, pipe));
        }
        let (head, body) = response.into_parts();
        let text = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
        let mut refusal = Response::new(full(text.map(|text| text.to_bytes()).unwrap_or_default()));
        *refusal.status_mut() = head.status;
        *refusal.headers_mut() = headers;
        refusal.headers_mut().remove(CONNECTION);
        refusal.headers_mut().remove(UPGRADE);
        if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
            refusal.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        Ok(Answer::Refused(refusal))
    };
    let (answer, connected) = tokio::join!(asking, connection);
    if let Err(error) = connected {
        tracing::debug!(%error, "the connection to a node broke");
    }
    answer
}

/// Bytes both ways, until both sides have hung up, or one has and the other takes too long.
pub(super) async fn relay(client: OnUpgrade, node: impl AsyncRead + AsyncWrite) {
    let client = match client.await {
        Ok(client) => TokioIo::new(client),
        Err(error) => return tracing::debug!(%error, "a client went away before its connection was made"),
    };
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_node, mut to_node) = tokio::io::split(node);
    let up = pass(&mut from_client, &mut to_node);
    let down = pass(&mut from_node, &mut to_client);
    tokio::pin!(up, down);
    let ended = tokio::select! {
        biased;
        ended = &mut up => match ended {
            Ok(()) => tokio::time::timeout(LINGER, down).await.unwrap_or(Ok(())),
            broken => broken,
        },
        ended = &mut down => match ended {
            Ok(()) => tokio::time::timeout(LINGER, up).await.unwrap_or(Ok(())),
            broken => broken,
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection between a client and a node broke");
    }
}

async fn pass(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut from = tokio::io::BufReader::with_capacity(BUFFER_BYTES, from);
    tokio::io::copy_buf(&mut from, &mut to).await?;
    to.shutdown().await
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in &PASSED_ON {
        for value in headers.get_all(name) {
            passed.append(name, value.clone());
        }
    }
    passed
}

/// The query for the node.
fn options(query: &Query) -> String {
    let mut text = String::new();
    for name in OPTIONS {
        for value in query.all(name) {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            push_encoded(&mut text, value);
        }
    }
    text
}

/// As in a query: what is no plain letter or digit as `%XX` (RFC 3986).
fn push_encoded(text: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reaches_the_node_as_it_was() {
        let query =
            Query::parse("command=sh&command=-c&command=echo+%22a%26b%22%0A%C3%A4&container=c&tty=true");
        assert_eq!(options(&query), "?command=sh&command=-c&command=echo%20%22a%26b%22%0A%C3%A4&tty=true");
        assert_eq!(options(&Query::parse("container=c")), "");
    }

    #[test]
    fn credentials_stay_here() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer x"));
        headers.append("x-stream-protocol-version", HeaderValue::from_static("v4.channel.k8s.io"));
        headers.append("x-stream-protocol-version", HeaderValue::from_static("v3.channel.k8s.io"));
        let passed = passed_on(&headers);
        assert_eq!(passed.len(), 2);
        assert_eq!(passed.get_all("x-stream-protocol-version").iter().count(), 2);
    }
}
