//! What an operator asks of this member about its own copy of the data; not part of etcd's API.

use proto::replica as pb;
use proto::replica::replica_server::Replica;
use tonic::{Request, Response, Status};

use super::Front;
use crate::RebuildError;

#[tonic::async_trait]
impl Replica for Front {
    async fn rebuild(
        &self,
        _request: Request<pb::RebuildRequest>,
    ) -> Result<Response<pb::RebuildResponse>, Status> {
        let revision = self.store.rebuild().await.map_err(|error| refusal(&error))?;
        Ok(Response::new(pb::RebuildResponse { revision: revision.get() }))
    }
}

fn refusal(error: &RebuildError) -> Status {
    let text = error.to_string();
    match error {
        RebuildError::Leads | RebuildError::Busy => Status::failed_precondition(text),
        RebuildError::NoOffer(_) => Status::unavailable(text),
        RebuildError::Install(source) => Status::internal(format!("{text}: {source}")),
    }
}
