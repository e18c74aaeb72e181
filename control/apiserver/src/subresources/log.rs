//! `pods/log`: the text of a container's log, streamed from its node.
//!
//! The server chooses the container and forwards bytes; the agent knows the files.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kinds::tree;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::body::{BoxError, stream};
use crate::metrics::LongRunning;
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::storage::Freshness;

/// How long a node may take until its answer begins.
const NODE_TIMEOUT: Duration = Duration::from_secs(15);
const ERROR_BYTES_MAX: usize = 16 * 1024;
/// What is passed on to the node.
const OPTIONS: &[&str] =
    &["follow", "tailLines", "timestamps", "sinceSeconds", "sinceTime", "limitBytes", "previous"];

pub(super) async fn get(call: &Call<'_>) -> Result<Reply, Status> {
    let key = call.scope().key(call.name());
    let found = call.server.storage.get(&key, Freshness::Newest).await?;
    let found = found.ok_or_else(|| Status::not_found(call.kind, call.name()))?;
    let pod = found.parse()?;
    let container = container(&pod, call.name(), call.query.get("container"))?;
    let node = tree::text(&pod, "spec.nodeName");
    if node.is_empty() {
        // Nothing runs yet, so nothing was said yet.
        return Ok(Reply::text(Bytes::new()));
    }
    check_started(&pod, call.name(), &container, call.query.flag("previous"))?;
    let path = node_path(call, &container);
    let log = tokio::time::timeout(NODE_TIMEOUT, NodeLog::open(call, node, &path))
        .await
        .map_err(|_| Status::node_unreachable(format!("node {node} did not answer in time")))??;
    let chunks =
        futures::stream::unfold(log, |mut log| async move { log.next().await.map(|chunk| (chunk, log)) });
    Ok(Reply::ok(Content::Raw { content_type: "text/plain", body: stream(chunks) }))
}

fn node_path(call: &Call<'_>, container: &str) -> String {
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    let mut path = format!("/containerLogs/{namespace}/{}/{container}", call.name());
    let mut separator = '?';
    for option in OPTIONS {
        if let Some(value) = call.query.find(option) {
            // Only sinceTime holds anything but digits and words, and of that only `+` needs care.
            path.push_str(&format!("{separator}{option}={}", value.replace('+', "%2B")));
            separator = '&';
        }
    }
    path
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    tree::items(pod, list).iter().map(|container| tree::text(container, "name")).collect()
}

/// The container that is meant: the one asked for, or the only one.
pub(super) fn container(pod: &Value, pod_name: &str, asked: &str) -> Result<String, Status> {
    let containers = names(pod, "spec.containers");
    let init = names(pod, "spec.initContainers");
    let ephemeral = names(pod, "spec.ephemeralContainers");
    if asked.is_empty() {
        return match containers.as_slice() {
            [only] => Ok((*only).to_owned()),
            several => {
                let mut message = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    several.join(" ")
                );
                if !init.is_empty() {
                    message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(Status::bad_request(message))
            }
        };
    }
    if [containers, init, ephemeral].concat().contains(&asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
}

/// A container that never ran has no log; the reason is the better answer.
fn check_started(pod: &Value, pod_name: &str, container: &str, previous: bool) -> Result<(), Status> {
    let status = ["status.containerStatuses", "status.initContainerStatuses"]
        .iter()
        .flat_map(|list| tree::items(pod, list))
        .find(|status| tree::text(status, "name") == container);
    let Some(status) = status else { return Ok(()) };
    let ran_before = !tree::get(status, "lastState.terminated").is_null();
    if previous && !ran_before {
        return Err(Status::bad_request(format!(
            "previous terminated container {container:?} in pod {pod_name:?} not found"
        )));
    }
    let waiting = tree::get(status, "state.waiting");
    if waiting.is_null() || ran_before {
        return Ok(());
    }
    let why = match tree::text(waiting, "reason") {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        "" => "ContainerCreating",
        reason => reason,
    };
    Err(Status::bad_request(format!(
        "container {container:?} in pod {pod_name:?} is waiting to start: {why}"
    )))
}

/// An open log: the answer's body and the connection that carries it, driven together.
struct NodeLog {
    body: Incoming,
    connection: Option<BoxFuture<'static, ()>>,
    stop: CancellationToken,
    _running: LongRunning,
}

impl NodeLog {
    async fn open(call: &Call<'_>, node: &str, path: &str) -> Result<Self, Status> {
        let unreachable = |error: &dyn std::error::Error| {
            tracing::warn!(node, %error, "a node cannot be reached for a log");
            Status::node_unreachable(format!("node {node} cannot be reached: {error}"))
        };
        let pipe = call.server.nodes.open(node).await.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(pipe)).await.map_err(|error| unreachable(&error))?;
        let mut connection: BoxFuture<'static, ()> = Box::pin(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection of a log ended");
            }
        });
        let request = Request::get(path)
            .header(http::header::HOST, node)
            .body(Empty::<Bytes>::new())
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let answer = sender.send_request(request);
        let response: Response<Incoming> = tokio::select! {
            biased;
            response = answer => response.map_err(|error| unreachable(&error))?,
            () = &mut connection => return Err(Status::node_unreachable(format!("node {node} hung up"))),
        };
        let running = LongRunning::begin("CONNECT", call.kind);
        let stop = call.server.stop.clone();
        let (head, body) = response.into_parts();
        let log = Self { body, connection: Some(connection), stop, _running: running };
        if head.status == StatusCode::OK { Ok(log) } else { Err(log.refusal(head.status).await) }
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            let connected = self.connection.is_some();
            let connection = async {
                match &mut self.connection {
                    Some(connection) => connection.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                frame = self.body.frame() => match frame? {
                    Ok(frame) => if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    },
                    Err(error) => return Some(Err(error.into())),
                },
                () = connection, if connected => self.connection = None,
            }
        }
    }

    /// The node's own words for why there is no log.
    async fn refusal(mut self, code: StatusCode) -> Status {
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = self.next().await {
            text.extend_from_slice(&chunk);
            if text.len() > ERROR_BYTES_MAX {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        match code {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Status::bad_request(text),
            _ => Status::node_unreachable(text),
        }
    }
}
