//! The typed client: one method per verb, no retries, no caches.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta, Status};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use base::Revision;

use crate::error::ClientError;
use crate::fence::{self, Fence};
use crate::metrics::REST_CLIENT_REQUESTS_TOTAL;
use crate::object::{HasMetadata, Object, ObjectKey};
use crate::resource::{ApiResource, escape};
use crate::transport::{Body, Transport, TransportError};
use crate::watch::WatchStream;

/// How long one call may take, watches aside.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const PARTIAL_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;q=0.5";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;q=0.5";

/// A cheap handle to the API as one identity.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    fence: Option<Arc<Fence>>,
    timeout: Duration,
}

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Empty: all namespaces.
    pub namespace: String,
    pub label_selector: String,
    pub field_selector: String,
    /// 0: no limit.
    pub limit: u32,
    /// Where the page before ended.
    pub continuation: String,
    /// Ask for metadata only.
    pub partial: bool,
    /// The state at this revision, not the newest. Its continuations know it.
    pub at: Option<Revision>,
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<K> {
    pub items: Vec<K>,
    pub revision: Revision,
    /// Not empty: there is more.
    pub continuation: String,
}

/// How to delete.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delete {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<&'static str>,
}

/// What must hold for a delete to happen.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl Delete {
    /// Deletes this very object, not a successor of the same name.
    pub fn exactly(object: &impl HasMetadata) -> Self {
        let uid = Some(object.uid().to_owned());
        Self { preconditions: Some(Preconditions { uid, resource_version: None }), ..Self::default() }
    }

    /// `Background`, `Foreground` or `Orphan`.
    #[must_use]
    pub fn propagate(mut self, policy: &'static str) -> Self {
        self.propagation_policy = Some(policy);
        self
    }
}

impl Client {
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, fence: None, timeout: CALL_TIMEOUT }
    }

    /// The same client, whose every write proves this leadership.
    #[must_use]
    pub fn fenced(&self, fence: Fence) -> Self {
        Self { fence: Some(Arc::new(fence)), ..self.clone() }
    }

    /// The same client with another deadline for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// # Errors
    /// [`ClientError::is_not_found`] when there is none.
    pub async fn get<K: Object>(&self, key: &ObjectKey) -> Result<K, ClientError> {
        let path = ApiResource::of::<K>().object_path(key);
        decode(K::KIND, &self.call(Call::read(path)).await?)
    }

    /// As the asked server knows it, which may be of some time ago, and costs the others nothing.
    ///
    /// # Errors
    /// As the server refuses; [`ClientError::is_not_found`] too when it has not heard of it yet.
    pub async fn get_known<K: Object>(&self, key: &ObjectKey) -> Result<K, ClientError> {
        let path = ApiResource::of::<K>().object_path(key) + "?resourceVersion=0";
        decode(K::KIND, &self.call(Call::read(path)).await?)
    }

    /// # Errors
    /// As the server refuses.
    pub async fn list<K: Object>(&self, options: &ListOptions) -> Result<Page<K>, ClientError> {
        self.list_of(&ApiResource::of::<K>(), options).await
    }

    /// Lists a resource that is known by data only.
    ///
    /// # Errors
    /// As the server refuses; [`ClientError::is_expired`] when a continuation is too old.
    pub async fn list_of<K: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        options: &ListOptions,
    ) -> Result<Page<K>, ClientError> {
        #[derive(Deserialize)]
        struct List<K> {
            #[serde(default)]
            metadata: ListMeta,
            items: Option<Vec<K>>,
        }
        let mut call = Call::read(resource.collection_path(&options.namespace) + &query(options));
        if options.partial {
            call.accept = PARTIAL_LIST;
        }
        let list: List<K> = decode("a list", &self.call(call).await?)?;
        let version = list.metadata.resource_version.unwrap_or_default();
        Ok(Page {
            items: list.items.unwrap_or_default(),
            revision: Revision::new(version.parse().unwrap_or(0)),
            continuation: list.metadata.continue_.unwrap_or_default(),
        })
    }

    /// Changes after `from`, with bookmarks. The server ends it after `timeout`.
    ///
    /// # Errors
    /// As the server refuses; an expired revision may also come as the stream's first event.
    pub async fn watch_of<K: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        options: &ListOptions,
        from: Revision,
        timeout: Duration,
    ) -> Result<WatchStream<K>, ClientError> {
        let mut path = resource.collection_path(&options.namespace) + &query(options);
        path.push(if path.contains('?') { '&' } else { '?' });
        let _ = write!(
            path,
            "watch=true&allowWatchBookmarks=true&resourceVersion={from}&timeoutSeconds={}",
            timeout.as_secs()
        );
        let mut call = Call::read(path);
        if options.partial {
            call.accept = PARTIAL;
        }
        let (status, body) = tokio::time::timeout(self.timeout, self.send(call))
            .await
            .map_err(|_| ClientError::Timeout(self.timeout))??;
        if status.is_success() {
            return Ok(WatchStream::new(body));
        }
        Err(refusal(status, &whole(body).await?))
    }

    /// # Errors
    /// [`ClientError::is_already_exists`], or the fields that are invalid.
    pub async fn create<K: Object>(&self, object: &K) -> Result<K, ClientError> {
        let path = ApiResource::of::<K>().collection_path(object.namespace());
        decode(K::KIND, &self.call(Call::write(Method::POST, path, JSON, object)?).await?)
    }

    /// Replaces all but the status; a conflict unless the object's resourceVersion is current.
    ///
    /// # Errors
    /// [`ClientError::is_conflict`] when somebody wrote first.
    pub async fn replace<K: Object>(&self, object: &K) -> Result<K, ClientError> {
        let path = ApiResource::of::<K>().object_path(&object.key());
        decode(K::KIND, &self.call(Call::write(Method::PUT, path, JSON, object)?).await?)
    }

    /// Replaces the status only.
    ///
    /// # Errors
    /// [`ClientError::is_conflict`] when somebody wrote first.
    pub async fn replace_status<K: Object>(&self, object: &K) -> Result<K, ClientError> {
        self.replace_subresource("status", object).await
    }

    /// Replaces through any subresource that answers with the object itself.
    ///
    /// # Errors
    /// [`ClientError::is_conflict`] when somebody wrote first.
    pub async fn replace_subresource<K: Object>(&self, name: &str, object: &K) -> Result<K, ClientError> {
        let path = ApiResource::of::<K>().object_path(&object.key()) + "/" + name;
        decode(K::KIND, &self.call(Call::write(Method::PUT, path, JSON, object)?).await?)
    }

    /// Merges as RFC 7386; put `metadata.resourceVersion` in it to be told of conflicts.
    ///
    /// # Errors
    /// As the server refuses.
    pub async fn merge_patch<K: Object>(&self, key: &ObjectKey, patch: &Value) -> Result<K, ClientError> {
        self.patch(Patch { key, kind: MERGE_PATCH, subresource: "", body: patch }).await
    }

    /// Merges into the status.
    ///
    /// # Errors
    /// As the server refuses.
    pub async fn merge_patch_status<K: Object>(
        &self,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<K, ClientError> {
        self.patch(Patch { key, kind: MERGE_PATCH, subresource: "/status", body: patch }).await
    }

    /// Merges lists by their keys, as Kubernetes' strategic merge patch.
    ///
    /// # Errors
    /// As the server refuses.
    pub async fn strategic_patch<K: Object>(&self, key: &ObjectKey, patch: &Value) -> Result<K, ClientError> {
        self.patch(Patch { key, kind: STRATEGIC_PATCH, subresource: "", body: patch }).await
    }

    /// Merges into the status, lists by their keys.
    ///
    /// # Errors
    /// As the server refuses.
    pub async fn strategic_patch_status<K: Object>(
        &self,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<K, ClientError> {
        self.patch(Patch { key, kind: STRATEGIC_PATCH, subresource: "/status", body: patch }).await
    }

    async fn patch<K: Object>(&self, patch: Patch<'_>) -> Result<K, ClientError> {
        let path = ApiResource::of::<K>().object_path(patch.key) + patch.subresource;
        decode(K::KIND, &self.call(Call::write(Method::PATCH, path, patch.kind, patch.body)?).await?)
    }

    /// Merges into an object that is known by data only.
    ///
    /// # Errors
    /// As the server refuses.
    pub async fn merge_patch_of(
        &self,
        resource: &ApiResource,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<Value, ClientError> {
        let call = Call::write(Method::PATCH, resource.object_path(key), MERGE_PATCH, patch)?;
        decode("an object", &self.call(call).await?)
    }

    /// # Errors
    /// [`ClientError::is_not_found`]; [`ClientError::is_conflict`] when a precondition fails.
    pub async fn delete<K: Object>(&self, key: &ObjectKey, options: &Delete) -> Result<(), ClientError> {
        self.delete_of(&ApiResource::of::<K>(), key, options).await
    }

    /// Deletes an object that is known by data only.
    ///
    /// # Errors
    /// [`ClientError::is_not_found`]; [`ClientError::is_conflict`] when a precondition fails.
    pub async fn delete_of(
        &self,
        resource: &ApiResource,
        key: &ObjectKey,
        options: &Delete,
    ) -> Result<(), ClientError> {
        let call = Call::write(Method::DELETE, resource.object_path(key), JSON, options)?;
        self.call(call).await.map(|_| ())
    }

    /// Gets an object that is known by data only.
    ///
    /// # Errors
    /// [`ClientError::is_not_found`] when there is none.
    pub async fn get_of<K: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        key: &ObjectKey,
    ) -> Result<K, ClientError> {
        decode("an object", &self.call(Call::read(resource.object_path(key))).await?)
    }

    /// Assigns this very pod to a node.
    ///
    /// # Errors
    /// [`ClientError::is_conflict`] when it is bound already, or another pod now has its name.
    pub async fn bind(&self, pod: &impl HasMetadata, node: &str) -> Result<(), ClientError> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name().to_owned()),
                namespace: Some(pod.namespace().to_owned()),
                uid: Some(pod.uid().to_owned()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let path = format!("{}/binding", pod_path(&pod.key()));
        self.call(Call::write(Method::POST, path, JSON, &binding)?).await.map(|_| ())
    }

    /// A token for a service account, in the request's status.
    ///
    /// # Errors
    /// As the server refuses.
    pub async fn create_token(
        &self,
        account: &ObjectKey,
        request: &TokenRequest,
    ) -> Result<TokenRequest, ClientError> {
        let path = ApiResource::of::<ServiceAccount>().object_path(account) + "/token";
        decode("TokenRequest", &self.call(Call::write(Method::POST, path, JSON, request)?).await?)
    }

    /// Asks for a pod to go, within what disruption budgets allow.
    ///
    /// # Errors
    /// As the server refuses.
    pub async fn evict(&self, pod: &impl HasMetadata) -> Result<(), ClientError> {
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": pod.name(), "namespace": pod.namespace() },
            "deleteOptions": Delete::exactly(pod),
        });
        let path = format!("{}/eviction", pod_path(&pod.key()));
        self.call(Call::write(Method::POST, path, JSON, &eviction)?).await.map(|_| ())
    }

    async fn call(&self, call: Call) -> Result<Bytes, ClientError> {
        let answer = async {
            let (status, body) = self.send(call).await?;
            Ok::<_, ClientError>((status, whole(body).await?))
        };
        let (status, body) = match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err(ClientError::Timeout(self.timeout)),
        };
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }

    async fn send(&self, call: Call) -> Result<(StatusCode, Body), ClientError> {
        let method = call.method.clone();
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(header::ACCEPT, call.accept)
            .header(header::USER_AGENT, "navarch");
        if let Some(content_type) = call.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
            if let Some(fence) = &self.fence {
                if !fence.is_valid() {
                    return Err(ClientError::NotLeader { lease: fence.lease.clone() });
                }
                request = request.header(fence::HEADER, fence.header_value());
            }
        }
        let response = self.transport.call(request.body(call.body)?).await;
        let code =
            response.as_ref().map_or_else(|_| "<error>".to_owned(), |r| r.status().as_str().to_owned());
        metrics::counter!(REST_CLIENT_REQUESTS_TOTAL, "method" => method.to_string(), "code" => code)
            .increment(1);
        let response = response?;
        Ok((response.status(), response.into_body()))
    }
}

struct Patch<'a> {
    key: &'a ObjectKey,
    kind: &'static str,
    /// With its slash, or empty.
    subresource: &'static str,
    body: &'a Value,
}

struct Call {
    method: Method,
    path: String,
    accept: &'static str,
    /// Of the body that a write carries.
    content_type: Option<&'static str>,
    body: Bytes,
}

impl Call {
    fn read(path: String) -> Self {
        Self { method: Method::GET, path, accept: JSON, content_type: None, body: Bytes::new() }
    }

    fn write(
        method: Method,
        path: String,
        content_type: &'static str,
        body: &impl Serialize,
    ) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Encode)?.into();
        Ok(Self { method, path, accept: JSON, content_type: Some(content_type), body })
    }
}

fn pod_path(key: &ObjectKey) -> String {
    ApiResource::of::<k8s_openapi::api::core::v1::Pod>().object_path(key)
}

fn query(options: &ListOptions) -> String {
    let mut query = String::new();
    let limit = if options.limit == 0 { String::new() } else { options.limit.to_string() };
    let at = options.at.filter(|_| options.continuation.is_empty());
    let at = at.map(|revision| revision.to_string()).unwrap_or_default();
    for (name, value) in [
        ("labelSelector", &options.label_selector),
        ("fieldSelector", &options.field_selector),
        ("limit", &limit),
        ("continue", &options.continuation),
        ("atRevision", &at),
    ] {
        if !value.is_empty() {
            query.push(if query.is_empty() { '?' } else { '&' });
            let _ = write!(query, "{name}={}", escape(value));
        }
    }
    query
}

async fn whole(body: Body) -> Result<Bytes, ClientError> {
    let collected = body.collect().await.map_err(TransportError::Broken)?;
    Ok(collected.to_bytes())
}

fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    let mut decoded = serde_json::from_slice::<Status>(body).unwrap_or_default();
    if decoded.code.is_none() {
        decoded.code = Some(i32::from(status.as_u16()));
    }
    if decoded.message.as_deref().unwrap_or_default().is_empty() {
        decoded.message = Some(format!("the API server answered {status}"));
    }
    ClientError::Status(Box::new(decoded))
}

fn decode<T: DeserializeOwned>(what: &'static str, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|source| ClientError::Decode { what, source })
}
