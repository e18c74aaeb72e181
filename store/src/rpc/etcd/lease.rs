//! The Lease service.

use std::pin::Pin;

use base::LeaseId;
use futures::Stream;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::lease_server::Lease;
use tonic::{Request, Response, Status, Streaming};

use super::super::error;
use super::Front;

#[tonic::async_trait]
impl Lease for Front {
    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.admit(request.metadata())?;
        let store = self.writer(&request)?;
        let asked = request.into_inner();
        let granted = store.lease_grant(LeaseId::new(asked.id), asked.ttl).await;
        let lease = granted.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(pb::LeaseGrantResponse {
            header: Some(self.header_now()),
            id: lease.id.get(),
            ttl: lease.ttl_seconds,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        self.admit(request.metadata())?;
        let store = self.writer(&request)?;
        let id = LeaseId::new(request.into_inner().id);
        // This node may not have applied it yet.
        let revision = store.lease_revoke(id).await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(self.header(revision)) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.admit(request.metadata())?;
        let over = self.over(request.metadata());
        let answers = futures::stream::try_unfold(
            (self.of(&request), request.into_inner(), over),
            |(front, mut asked, mut over)| async {
                let answer = tokio::select! {
                    biased;
                    status = &mut over => return Err(status),
                    answer = front.next_beat(&mut asked) => answer?,
                };
                Ok(answer.map(|answer| (answer, (front, asked, over))))
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        self.admit(request.metadata())?;
        let store = self.store_of(&request);
        let asked = request.into_inner();
        let known = store.lease_time_to_live(LeaseId::new(asked.id)).await;
        let header = Some(self.header_now());
        let unknown = pb::LeaseTimeToLiveResponse { header, id: asked.id, ttl: -1, ..Default::default() };
        let Some(known) = known.map_err(|refused| error::status(&refused))? else {
            return Ok(Response::new(unknown));
        };
        if asked.keys {
            store.may(|rights| rights.read_keys(&known.keys)).map_err(|refused| error::status(&refused))?;
        }
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            ttl: known.remaining_seconds,
            granted_ttl: known.lease.ttl_seconds,
            keys: if asked.keys { known.keys } else { Vec::new() },
            ..unknown
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.admit(request.metadata())?;
        let leases = self.store_of(&request).leases().await.map_err(|refused| error::status(&refused))?;
        let leases = leases.into_iter().map(|lease| pb::LeaseStatus { id: lease.id.get() }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: Some(self.header_now()), leases }))
    }
}

impl Front {
    /// The answer to the next request of a stream; `None`: there are no more.
    async fn next_beat(
        &self,
        asked: &mut Streaming<pb::LeaseKeepAliveRequest>,
    ) -> Result<Option<pb::LeaseKeepAliveResponse>, Status> {
        match asked.message().await? {
            Some(request) => self.keep_alive(request.id).await.map(Some),
            None => Ok(None),
        }
    }

    /// An unknown lease is a time to live of 0, not an error: the stream serves many leases.
    async fn keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        // Read before the renewal, so that a client never takes the header for newer than the lease.
        let header = Some(self.header_now());
        let renewed = self.store.lease_keep_alive(LeaseId::new(id)).await;
        let ttl = renewed.map_err(|refused| error::status(&refused))?.unwrap_or(0);
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }
}
