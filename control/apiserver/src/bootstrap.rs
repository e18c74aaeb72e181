//! What a new cluster has from the start: the system's namespaces, priority classes, roles, and the service `kubernetes`.
//!
//! Every server does this when it starts; what exists already stays as it is.

use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kinds::meta;
use serde_json::{Value, json};
use thiserror::Error;

use crate::body::{empty, full};
use crate::chain::authn::{Identity, MASTERS};
use crate::chain::authz::rule::Rule;
use crate::server::ApiServer;

mod roles;
mod sheet;

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
/// The ServiceCIDR of the range that servers are told, and the service of the API: every cluster's names for them.
const SELF: &str = "kubernetes";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const RETRY_AFTER: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: usize = 120;

/// Why the first objects could not be made.
#[derive(Debug, Error)]
pub enum BootstrapError {
    #[error("cannot write {path}: {message}")]
    Refused { path: String, message: String },
    #[error("cannot write {path}: the store was not available in time: {message}")]
    Unavailable { path: String, message: String },
    #[error("a name cannot be part of a path")]
    Path(#[source] http::uri::InvalidUri),
    #[error("cannot read the first roles")]
    Sheet(#[from] sheet::SheetError),
    #[error("the first roles are changed by too many writers at once")]
    Contended,
}

/// What became of a request.
enum Sent {
    /// The answer.
    Done(Value),
    /// Somebody else was quicker: the object is there already, another one, or gone.
    Overtaken,
}

/// What every node may: the role that nobody is given, since what it allows is too much for one node.
pub(crate) fn rules_of_nodes() -> Vec<Rule> {
    let roles = sheet::wanted().unwrap_or_default();
    let is_of_nodes = |wanted: &&sheet::Wanted| {
        wanted.kind.kind == "ClusterRole" && meta::name(&wanted.object) == "system:node"
    };
    roles.iter().find(is_of_nodes).map(|role| Rule::all_of(&role.object)).unwrap_or_default()
}

impl ApiServer {
    /// Makes what is missing; waits while the store has no leader yet.
    ///
    /// # Errors
    /// An object is refused, or the store stays away.
    pub async fn bootstrap(&self) -> Result<(), BootstrapError> {
        for name in NAMESPACES {
            let namespace = json!({"metadata": {"name": name}});
            self.ensure("/api/v1/namespaces", &namespace).await?;
        }
        self.ensure_roles().await?;
        for (name, value) in kinds::scheduling::priority_class::SYSTEM {
            let class = json!({
                "metadata": {"name": name},
                "value": value,
                "description": "Used for system critical pods that must not be moved from their current node.",
            });
            self.ensure("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await?;
        }
        self.ensure_service_network().await?;
        let address = self.shared.service_network.first_address().map(|address| address.to_string());
        let https = json!({"name": "https", "port": 443, "targetPort": self.port(), "protocol": "TCP"});
        let service = json!({
            "metadata": {
                "name": SELF,
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": address,
                "clusterIPs": [address],
                "ports": [https],
                "sessionAffinity": "None",
            },
        });
        self.ensure("/api/v1/namespaces/default/services", &service).await
    }

    /// The ranges of addresses, for whoever wants to know them.
    async fn ensure_service_network(&self) -> Result<(), BootstrapError> {
        let ranges = &self.shared.service_network.ranges;
        let cidrs: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let range = json!({"metadata": {"name": SELF}, "spec": {"cidrs": cidrs}});
        self.ensure(RANGES, &range).await
    }

    fn port(&self) -> u16 {
        let address = &self.shared.address;
        address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443)
    }

    async fn ensure(&self, path: &str, object: &Value) -> Result<(), BootstrapError> {
        self.send_until_answered(Method::POST, path, object).await.map(drop)
    }

    /// Sends a request as the server itself, again while the store is away.
    async fn send_until_answered(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Sent, BootstrapError> {
        let mut message = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let body = if body.is_null() { empty() } else { full(body.to_string()) };
            let mut request = Request::new(body);
            request.method_mut().clone_from(&method);
            *request.uri_mut() = path.parse().map_err(BootstrapError::Path)?;
            request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("navarch"));
            let response = self.handle(Identity::known("system:apiserver", &[MASTERS]), request).await;
            let code = response.status();
            let answer: Value = match response.into_body().collect().await {
                Ok(body) => serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
                Err(error) => json!({"message": error.to_string()}),
            };
            match code {
                _ if code.is_success() => return Ok(Sent::Done(answer)),
                StatusCode::CONFLICT | StatusCode::NOT_FOUND => return Ok(Sent::Overtaken),
                _ => {}
            }
            kinds::tree::text(&answer, "message").clone_into(&mut message);
            if code.is_client_error() {
                return Err(BootstrapError::Refused { path: path.to_owned(), message });
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        Err(BootstrapError::Unavailable { path: path.to_owned(), message })
    }
}
