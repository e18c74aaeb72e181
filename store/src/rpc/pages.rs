//! What the client port answers to plain HTTP: health, version, metrics, as etcd's pages.
//!
//! Health and version are for everybody who reaches the port, as probes carry no certificates; metrics are so only where
//! the port says it.

mod checks;

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tonic::body::Body;

use super::etcd::VERSION;
use crate::metrics as store_metrics;
use crate::{Store, StoreError};
use checks::Check;

/// Renders every metric of this process in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The metrics page of a port.
#[derive(Clone)]
pub struct MetricsPage {
    pub render: RenderMetrics,
    /// Also for clients that show no certificate.
    pub is_public: bool,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What clients take for the lowest version in the cluster.
const CLUSTER_VERSION: &str = "3.7.0";

pub(super) struct Pages {
    store: Store,
    metrics: Option<MetricsPage>,
}

impl Pages {
    pub(super) fn new(store: Store, metrics: Option<MetricsPage>) -> Self {
        Self { store, metrics }
    }

    /// The answer to a request. None of them has a body.
    pub(super) async fn serve(&self, request: &Parts, is_admitted: bool) -> Response<Body> {
        let path = request.uri.path();
        let (page, rest) = match path.trim_start_matches('/').split_once('/') {
            Some((page, rest)) => (page, Some(rest)),
            None => (path.trim_start_matches('/'), None),
        };
        if !matches!(page, "health" | "livez" | "readyz" | "version" | "metrics") {
            return error(StatusCode::NOT_FOUND, "404 page not found");
        }
        if request.method != Method::GET {
            let mut refused = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return refused;
        }
        let query = Query(request.uri.query().unwrap_or_default());
        match (page, rest) {
            ("health", None) => self.health(query).await,
            ("livez", check) => self.probe("livez", checks::LIVE, check, query).await,
            ("readyz", check) => self.probe("readyz", checks::READY, check, query).await,
            ("version", None) => {
                let text = format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{CLUSTER_VERSION}"}}"#);
                page_of(StatusCode::OK, JSON, text)
            }
            ("metrics", None) => self.metrics(is_admitted),
            _ => error(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    fn metrics(&self, is_admitted: bool) -> Response<Body> {
        match &self.metrics {
            Some(page) if is_admitted || page.is_public => page_of(StatusCode::OK, METRICS, (page.render)()),
            Some(_) => error(StatusCode::FORBIDDEN, "metrics need a client certificate"),
            None => error(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    /// etcd's old page: one word, and why not.
    async fn health(&self, query: Query<'_>) -> Response<Body> {
        let is_local = query.get("serializable") == Some("true");
        let wrong = checks::health(&self.store, is_local, |alarm| query.has("exclude", alarm)).await;
        store_metrics::count_health_check(wrong.is_none());
        match wrong {
            None => page_of(StatusCode::OK, TEXT, r#"{"health":"true","reason":""}"#.to_owned()),
            Some(reason) => {
                let text = format!(r#"{{"health":"false","reason":"{reason}"}}"#);
                error(StatusCode::SERVICE_UNAVAILABLE, &text)
            }
        }
    }

    /// Kubernetes' pages: a list of checks, each of which can be left out or asked for alone.
    async fn probe(&self, name: &str, all: &[Check], only: Option<&str>, query: Query<'_>) -> Response<Body> {
        let asked: Vec<&Check> = match only.filter(|only| !only.is_empty()) {
            None => all.iter().collect(),
            Some(only) => all.iter().filter(|check| check.name() == only).collect(),
        };
        if asked.is_empty() {
            return error(StatusCode::NOT_FOUND, "404 page not found");
        }
        let mut text = String::new();
        let mut failed = false;
        for check in asked {
            let name = check.name();
            let line = if query.has("exclude", name) {
                format!("[+]{name} excluded: ok")
            } else {
                match check.run(&self.store).await {
                    Ok(()) => format!("[+]{name} ok"),
                    Err(reason) => {
                        failed = true;
                        format!("[-]{name} failed: {reason}")
                    }
                }
            };
            // A String takes every line.
            let _ = writeln!(text, "{line}");
        }
        store_metrics::count_health_check(!failed);
        if failed {
            return error(StatusCode::SERVICE_UNAVAILABLE, &format!("{text}{name} check failed"));
        }
        let lines = if query.get("verbose").is_some() { text } else { String::new() };
        page_of(StatusCode::OK, TEXT, lines + "ok\n")
    }
}

/// What stands after the question mark. Names of checks and alarms need no decoding.
#[derive(Clone, Copy)]
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn get(self, name: &str) -> Option<&'a str> {
        self.pairs().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn has(self, name: &str, value: &str) -> bool {
        self.pairs().any(|pair| pair == (name, value))
    }
}

fn page_of(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// As Go's http.Error: a line of text that no browser takes for something else.
fn error(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = page_of(status, TEXT, format!("{text}\n"));
    let header: HeaderName = X_CONTENT_TYPE_OPTIONS;
    response.headers_mut().insert(header, HeaderValue::from_static("nosniff"));
    response
}

/// Why a range was not answered, in etcd's words.
fn words(refused: &StoreError) -> String {
    super::error::status(refused).message().to_owned()
}
