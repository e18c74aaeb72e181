//! What a control node can ask of this node. It authorized the request; the tunnel's certificate is proof
//! that it is a control node.

use std::fmt::Display;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tracing::warn;

use crate::causes::in_full;
use crate::desired::PodKey;
use crate::logs::{LogError, LogOptions, Logs};
use crate::metrics::RenderMetrics;
use crate::probes::ProbeCounts;
use crate::streams::{Port, Refusal, Sessions, tell_spoken};
use crate::usage::Usage;

pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The node API: `GET /containerLogs/<namespace>/<pod>/<container>` and `/usage`, by upgrade
/// `/exec/<namespace>/<pod>/<container>`, `/attach/…`, `/portForward/<namespace>/<pod>` and, for `http` and `https`,
/// `/reach/<scheme>/<port>/pod/<namespace>/<pod>` and `/reach/<scheme>/<port>/node`; and below `/node/` what clients
/// of `nodes/proxy` may read.
#[derive(Clone)]
pub struct NodeApi {
    logs: Logs,
    sessions: Sessions,
    usage: Usage,
    probes: ProbeCounts,
    metrics: RenderMetrics,
}

impl NodeApi {
    pub(crate) fn new(
        logs: Logs,
        sessions: Sessions,
        usage: Usage,
        probes: ProbeCounts,
        metrics: RenderMetrics,
    ) -> Self {
        Self { logs, sessions, usage, probes, metrics }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().trim_matches('/').to_owned();
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["containerLogs", namespace, pod, container] if request.method() == Method::GET => {
                let query = request.uri().query().unwrap_or_default();
                self.logs(&PodKey::new(*namespace, *pod), container, query).await
            }
            ["containerLogs", _, _, _] => text(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
            ["exec", namespace, pod, container] => {
                let key = PodKey::new(*namespace, *pod);
                begun(&key, self.sessions.exec(&key, container, request).await)
            }
            ["attach", namespace, pod, container] => {
                let key = PodKey::new(*namespace, *pod);
                begun(&key, self.sessions.attach(&key, container, request).await)
            }
            ["portForward", namespace, pod] => {
                let key = PodKey::new(*namespace, *pod);
                begun(&key, self.sessions.port_forward(&key, request).await)
            }
            ["reach", scheme, number, to @ ..] => match (Port::parse(scheme, number), to) {
                (Some(port), ["pod", namespace, pod]) => {
                    let key = PodKey::new(*namespace, *pod);
                    begun(&key, self.sessions.reach_pod(&key, port, request).await)
                }
                (Some(port), ["node"]) => begun(&"the node", self.sessions.reach_node(port, request).await),
                (_, _) => text(StatusCode::NOT_FOUND, "no such port"),
            },
            ["usage"] if request.method() == Method::GET => json(&self.usage.brief()),
            ["node", below @ ..] if request.method() == Method::GET => self.about_node(below, &request).await,
            ["node", ..] => text(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    /// What a kubelet serves, of what it serves to readers.
    async fn about_node(&self, path: &[&str], request: &Request<Incoming>) -> Response<Body> {
        match path {
            ["healthz"] => text(StatusCode::OK, "ok"),
            ["pods"] => json(&self.logs.pods()),
            ["stats", "summary"] => json(&self.usage.summary()),
            ["metrics"] => text(StatusCode::OK, &(self.metrics)()),
            ["metrics", "cadvisor"] => text(StatusCode::OK, &self.usage.cadvisor(&self.logs.desired())),
            ["metrics", "probes"] => text(StatusCode::OK, &self.probes.exposition()),
            ["metrics", "resource"] => text(StatusCode::OK, &self.usage.exposition()),
            ["containerLogs", namespace, pod, container] => {
                let query = request.uri().query().unwrap_or_default();
                self.logs(&PodKey::new(*namespace, *pod), container, query).await
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    async fn logs(&self, key: &PodKey, container: &str, query: &str) -> Response<Body> {
        let options = match LogOptions::parse(query) {
            Ok(options) => options,
            Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match self.logs.open(key, container, options).await {
            Ok(log) => plain(StatusCode::OK, StreamBody::new(log.map_ok(Frame::data)).boxed_unsync()),
            Err(error) => refused(key, container, &error),
        }
    }
}

fn begun(key: &(dyn Display + Sync), session: Result<Response<Empty<Bytes>>, Refusal>) -> Response<Body> {
    let refusal = match session {
        Ok(switching) => return switching.map(|body| body.map_err(|never| match never {}).boxed_unsync()),
        Err(refusal) => refusal,
    };
    if refusal.code().is_server_error() {
        warn!(pod = %key, error = %in_full(&refusal), "a session cannot begin");
    }
    let mut response = text(refusal.code(), &in_full(&refusal));
    if let Refusal::Protocol { spoken, .. } = &refusal {
        tell_spoken(response.headers_mut(), spoken);
    }
    response
}

fn refused(key: &PodKey, container: &str, error: &LogError) -> Response<Body> {
    let status = match error {
        LogError::NoPod(_) => StatusCode::NOT_FOUND,
        LogError::NoContainer { .. } | LogError::Waiting { .. } | LogError::NoPrevious { .. } => {
            StatusCode::BAD_REQUEST
        }
        LogError::Read(_) => {
            warn!(pod = %key, container, error = %in_full(error), "cannot read a log");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    text(status, &in_full(error))
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync();
            let mut response = plain(StatusCode::OK, body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned()));
    plain(status, body.map_err(|never| match never {}).boxed_unsync())
}

fn plain(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
