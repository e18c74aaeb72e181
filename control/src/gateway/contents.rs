//! What is in the ConfigMaps and Secrets that a node is to have: read when it is sent, since no cache holds it.

use bytes::Bytes;
use client::{ClientError, HasMetadata, Object, ObjectKey};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use proto::agent::{ObjectKind, PollRequest};
use tonic::Status;

use super::Gateway;
use super::sessions::{Place, Source, Wanted};

/// An object as it is now.
struct Content {
    uid: String,
    resource_version: String,
    json: Bytes,
}

impl Content {
    fn of<K: Object>(object: &K) -> Self {
        Self {
            uid: object.uid().to_owned(),
            resource_version: object.meta().resource_version.clone().unwrap_or_default(),
            // What was decoded can be encoded again.
            json: serde_json::to_vec(object).unwrap_or_default().into(),
        }
    }
}

impl Gateway {
    /// Reads what the node has yet to be sent. What has gone meanwhile is not wanted any more.
    pub(super) async fn read_contents(
        &self,
        request: &PollRequest,
        wanted: &mut Wanted,
    ) -> Result<(), Status> {
        for place in self.sessions.unread(request, wanted) {
            let content = self.content(&place).await.map_err(|error| {
                tracing::debug!(node = %request.node, ?place, %error, "cannot read what a pod names");
                Status::unavailable("this server cannot read what a pod names")
            })?;
            let (Some(content), Some(object)) = (content, wanted.objects.get_mut(&place)) else {
                wanted.objects.remove(&place);
                continue;
            };
            object.id.uid = content.uid;
            object.resource_version = content.resource_version;
            object.object = Source::Read(content.json);
        }
        Ok(())
    }

    async fn content(&self, (kind, namespace, name): &Place) -> Result<Option<Content>, ClientError> {
        let key = ObjectKey::namespaced(namespace, name);
        match ObjectKind::try_from(*kind) {
            Ok(ObjectKind::ConfigMap) => found(self.client.get_known::<ConfigMap>(&key).await),
            Ok(ObjectKind::Secret) => found(self.client.get_known::<Secret>(&key).await),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

fn found<K: Object>(read: Result<K, ClientError>) -> Result<Option<Content>, ClientError> {
    match read {
        Ok(object) => Ok(Some(Content::of(&object))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
