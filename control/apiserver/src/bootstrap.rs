//! What a new cluster has from the start: the system's namespaces and the service `kubernetes`.
//!
//! Every server does this when it starts; what exists already stays as it is.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use thiserror::Error;

use crate::body::full;
use crate::chain::authn::{Identity, MASTERS};
use crate::server::ApiServer;

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
/// The first address of the service range.
const SERVICE_ADDRESS: &str = "10.96.0.1";
const RETRY_AFTER: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: usize = 120;

/// Why the first objects could not be made.
#[derive(Debug, Error)]
pub enum BootstrapError {
    #[error("cannot create {path}: {message}")]
    Refused { path: &'static str, message: String },
    #[error("cannot create {path}: the store was not available in time: {message}")]
    Unavailable { path: &'static str, message: String },
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
        let https = json!({"name": "https", "port": 443, "targetPort": self.port(), "protocol": "TCP"});
        let service = json!({
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": SERVICE_ADDRESS,
                "clusterIPs": [SERVICE_ADDRESS],
                "ports": [https],
                "sessionAffinity": "None",
            },
        });
        self.ensure("/api/v1/namespaces/default/services", &service).await
    }

    fn port(&self) -> u16 {
        let address = &self.shared.address;
        address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443)
    }

    async fn ensure(&self, path: &'static str, object: &Value) -> Result<(), BootstrapError> {
        let mut message = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let mut request = Request::new(full(object.to_string()));
            *request.method_mut() = http::Method::POST;
            *request.uri_mut() = http::Uri::from_static(path);
            let response = self.handle(Identity::known("system:apiserver", &[MASTERS]), request).await;
            let code = response.status();
            if code.is_success() || code == StatusCode::CONFLICT {
                return Ok(());
            }
            message = match response.into_body().collect().await {
                Ok(body) => {
                    let status: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
                    kinds::tree::text(&status, "message").to_owned()
                }
                Err(error) => error.to_string(),
            };
            if code.is_client_error() {
                return Err(BootstrapError::Refused { path, message });
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        Err(BootstrapError::Unavailable { path, message })
    }
}
