//! The API server's metrics, under Kubernetes' names. Labels are bounded: resources that are not served, and verbs
//! that are none, share one value.

use http::{Method, Response};
use kinds::Kind;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::time::Instant;

use crate::body::Body;
use crate::request::{RequestInfo, Target};

pub const REQUEST_TOTAL: &str = "apiserver_request_total";
pub const REQUEST_DURATION_SECONDS: &str = "apiserver_request_duration_seconds";
pub const LONGRUNNING_REQUESTS: &str = "apiserver_longrunning_requests";
pub const CURRENT_INFLIGHT_REQUESTS: &str = "apiserver_current_inflight_requests";
pub const TLS_HANDSHAKE_ERRORS_TOTAL: &str = "apiserver_tls_handshake_errors_total";
pub const SERVICEACCOUNT_STALE_TOKENS_TOTAL: &str = "serviceaccount_stale_tokens_total";
pub const SERVICEACCOUNT_VALID_TOKENS_TOTAL: &str = "serviceaccount_valid_tokens_total";

pub(crate) fn describe() {
    describe_counter!(REQUEST_TOTAL, "Requests answered, by verb, resource and code.");
    describe_histogram!(
        REQUEST_DURATION_SECONDS,
        Unit::Seconds,
        "Time from a request's head to its answer's head."
    );
    describe_gauge!(LONGRUNNING_REQUESTS, "Watches and followed logs that are open.");
    describe_gauge!(CURRENT_INFLIGHT_REQUESTS, "Requests whose answer has not begun.");
    describe_counter!(TLS_HANDSHAKE_ERRORS_TOTAL, "Connections that ended before TLS was up.");
    describe_counter!(
        SERVICEACCOUNT_STALE_TOKENS_TOTAL,
        "Shown tokens of pods that should have been replaced by now."
    );
    describe_counter!(SERVICEACCOUNT_VALID_TOKENS_TOTAL, "Shown tokens of pods that are fresh.");
}

/// One request on its way.
pub(crate) struct Observed {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    began: Instant,
    _inflight: Gauge,
}

impl Observed {
    pub(crate) fn begin(method: &Method, info: &RequestInfo) -> Self {
        let mutating = !matches!(*method, Method::GET | Method::HEAD);
        let request_kind = if mutating { "mutating" } else { "readOnly" };
        let inflight = Gauge::up(gauge!(CURRENT_INFLIGHT_REQUESTS, "request_kind" => request_kind));
        let mut observed = Self {
            verb: "OTHER",
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            subresource: String::new(),
            scope: "",
            began: Instant::now(),
            _inflight: inflight,
        };
        match &info.target {
            Target::Resource { verb, path } => {
                observed.verb = method_word(*verb);
                let served = kinds::ALL.iter().chain(kinds::LEGACY).find(|kind| {
                    kind.group == path.group && kind.version == path.version && kind.plural == path.resource
                });
                if let Some(kind) = served {
                    observed.group = path.group.clone();
                    observed.version = path.version.clone();
                    observed.resource = path.resource.clone();
                    let subresource = path.subresource.as_deref().unwrap_or_default();
                    if kind.subresource(subresource).is_some() {
                        observed.subresource = subresource.to_owned();
                    }
                }
                observed.scope = match (&path.name, &path.namespace) {
                    (Some(_), _) => "resource",
                    (None, Some(_)) => "namespace",
                    (None, None) => "cluster",
                };
            }
            Target::NonResource if *method == Method::GET => observed.verb = "GET",
            Target::NonResource | Target::UnknownMethod => {}
        }
        observed
    }

    pub(crate) fn end(self, response: Response<Body>) -> Response<Body> {
        let labels = [
            ("verb", self.verb.to_owned()),
            ("group", self.group),
            ("version", self.version),
            ("resource", self.resource),
            ("subresource", self.subresource),
            ("scope", self.scope.to_owned()),
        ];
        if self.verb != "WATCH" {
            histogram!(REQUEST_DURATION_SECONDS, &labels).record(self.began.elapsed());
        }
        let code = response.status().as_u16().to_string();
        let labels: Vec<_> = labels.into_iter().chain([("code", code)]).collect();
        counter!(REQUEST_TOTAL, &labels).increment(1);
        response
    }
}

/// A request that stays open, counted while it lives.
pub(crate) struct LongRunning {
    _open: Gauge,
}

impl LongRunning {
    pub(crate) fn begin(verb: &'static str, kind: &'static Kind) -> Self {
        let labels = [("verb", verb), ("group", kind.group), ("resource", kind.plural)];
        Self { _open: Gauge::up(gauge!(LONGRUNNING_REQUESTS, &labels)) }
    }
}

/// A gauge that counts for as long as this lives.
struct Gauge(metrics::Gauge);

impl Gauge {
    fn up(gauge: metrics::Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn method_word(verb: kinds::Verb) -> &'static str {
    match verb {
        kinds::Verb::Create => "POST",
        kinds::Verb::Delete => "DELETE",
        kinds::Verb::DeleteCollection => "DELETECOLLECTION",
        kinds::Verb::Get => "GET",
        kinds::Verb::List => "LIST",
        kinds::Verb::Patch => "PATCH",
        kinds::Verb::Update => "PUT",
        kinds::Verb::Watch => "WATCH",
    }
}
