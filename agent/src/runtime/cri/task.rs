//! What containerd may leave of a start that was broken off: a task that CRI knows nothing of, dead, which keeps its
//! container from being removed for ever. Its own API deletes it.

use http::uri::PathAndQuery;
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::runtime::RuntimeError;

/// Where containerd keeps what CRI makes.
const NAMESPACE: &str = "k8s.io";
const DELETE: &str = "/containerd.services.tasks.v1.Tasks/Delete";

#[derive(Clone, PartialEq, Message)]
struct DeleteTaskRequest {
    #[prost(string, tag = "1")]
    container_id: String,
}

/// Nobody asks how the task ended.
#[derive(Clone, PartialEq, Message)]
struct DeleteResponse {}

/// Whether `refusal`, of a removal, is for the sake of a task.
pub(super) fn is_in_the_way(refusal: &RuntimeError) -> bool {
    matches!(refusal, RuntimeError::Refused { message } if message.contains("cannot delete running task"))
}

/// Deletes a container's task, which must be dead.
pub(super) async fn delete(channel: Channel, container: &str) -> Result<Response<()>, Status> {
    let mut containerd = tonic::client::Grpc::new(channel);
    containerd.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(DeleteTaskRequest { container_id: container.to_owned() });
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    let codec = tonic_prost::ProstCodec::<DeleteTaskRequest, DeleteResponse>::default();
    let deleted = containerd.unary(request, PathAndQuery::from_static(DELETE), codec).await?;
    Ok(deleted.map(|DeleteResponse {}| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_task_is_deleted_for_a_removal() {
        let refused = |message: &str| RuntimeError::Refused { message: message.to_owned() };
        let task = "rpc error: code = FailedPrecondition desc = failed to delete containerd container \"a\": cannot \
                    delete running task a: failed precondition";
        assert!(is_in_the_way(&refused(task)));
        assert!(!is_in_the_way(&refused("rpc error: code = Unknown desc = container is in starting state")));
        assert!(!is_in_the_way(&RuntimeError::Unreachable { message: task.to_owned() }));
    }
}
