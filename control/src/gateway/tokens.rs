//! Tokens of service accounts for the pods of a node, made by the API for the node itself: the node authorizer and
//! NodeRestriction decide, as for a kubelet.

use std::time::Duration;

use client::{ClientError, ObjectKey};
use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest as ApiRequest, TokenRequestSpec,
};
use k8s_openapi::api::core::v1::Pod;
use proto::agent::{TokenRequest, TokenResponse};
use tonic::Status;

use super::Gateway;

/// The authorizer follows the store on its own and may know of a pod a little later than we do.
const AUTHORIZER_LAG: Duration = Duration::from_millis(50);
const TRIES_MAX: u32 = 20;

impl Gateway {
    pub(super) async fn issue(&self, node: &str, request: TokenRequest) -> Result<TokenResponse, Status> {
        let key = ObjectKey::namespaced(&request.namespace, &request.pod);
        let pod = self
            .view
            .pod_on(node, &key, &request.pod_uid)
            .ok_or_else(|| Status::not_found(format!("there is no such pod on node {node}: {key}")))?;
        if !asks_for(&pod, &request.audience) {
            let audience = &request.audience;
            return Err(Status::permission_denied(format!(
                "no volume of the pod asks for a token for the audience {audience:?}"
            )));
        }
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = ObjectKey::namespaced(&request.namespace, account.unwrap_or_default());
        let wanted = api_request(&request);
        let client = (self.act_as_node)(node);
        let mut tries = 0;
        loop {
            tries += 1;
            match client.create_token(&account, &wanted).await {
                Ok(made) => return answer(made),
                Err(error) if error.is_forbidden() && tries < TRIES_MAX => {
                    tokio::time::sleep(AUTHORIZER_LAG).await;
                }
                Err(error) => return Err(refusal(&error)),
            }
        }
    }
}

fn api_request(request: &TokenRequest) -> ApiRequest {
    let audience = Some(request.audience.clone()).filter(|audience| !audience.is_empty());
    ApiRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience.map(|audience| vec![audience]),
            expiration_seconds: (request.expiration_seconds > 0).then_some(request.expiration_seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(request.pod.clone()),
                uid: Some(request.pod_uid.clone()),
            }),
        }),
        ..ApiRequest::default()
    }
}

fn answer(made: ApiRequest) -> Result<TokenResponse, Status> {
    let lifetime_seconds = made.spec.and_then(|spec| spec.expiration_seconds).unwrap_or_default();
    let status = made.status.and_then(|status| status.token.zip(status.expiration_timestamp));
    let (token, expires) = status.ok_or_else(|| Status::internal("the API made no token"))?;
    Ok(TokenResponse { token, expires_at: expires.0.as_second(), lifetime_seconds })
}

fn refusal(error: &ClientError) -> Status {
    let message =
        error.status().and_then(|status| status.message.clone()).unwrap_or_else(|| error.to_string());
    match error.code() {
        Some(403) => Status::permission_denied(message),
        Some(404) => Status::not_found(message),
        Some(code) if code < 500 => Status::invalid_argument(message),
        Some(_) | None => Status::unavailable(message),
    }
}

/// A node gets tokens only for those whom its pods want to talk to.
fn asks_for(pod: &Pod, audience: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.iter().flatten())
        .filter_map(|source| source.service_account_token.as_ref())
        .any(|source| source.audience.as_deref().unwrap_or_default() == audience)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_audiences_that_the_pod_names_are_asked_for() {
        let token = |audience: &str| json!({"serviceAccountToken": {"path": "t", "audience": audience}});
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": [
            {"name": "a", "projected": {"sources": [token("vault"), {"configMap": {"name": "m"}}]}},
        ]}}))
        .unwrap();
        assert!(asks_for(&pod, "vault"));
        assert!(!asks_for(&pod, "") && !asks_for(&pod, "bank"));
        let plain: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": [
            {"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        ]}}))
        .unwrap();
        assert!(asks_for(&plain, "") && !asks_for(&Pod::default(), ""));
    }
}
