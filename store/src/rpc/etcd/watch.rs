//! The Watch service: one session for each stream, any number of watches in it.

mod frames;
mod running;
mod session;

use std::pin::Pin;

use futures::Stream;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_server::Watch;
use tonic::{Request, Response, Status, Streaming};

use super::{Front, wants_leader};
use session::Session;

#[tonic::async_trait]
impl Watch for Front {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.admit(request.metadata())?;
        let needs_leader = wants_leader(request.metadata());
        let session = Session::new(self.clone(), request.into_inner(), needs_leader);
        Ok(Response::new(Box::pin(futures::stream::try_unfold(session, Session::next))))
    }
}
