//! gRPC's health service: serving means that a leader is known, so that writes and linearizable reads can be answered.

use std::pin::Pin;

use futures::Stream;
use proto::health::health_check_response::ServingStatus;
use proto::health::health_server::Health;
use proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use tonic::{Request, Response, Status};

use super::Front;

/// The node as a whole, and what clients look for by name.
const SERVICES: &[&str] = &["", "etcdserverpb.KV", "etcdserverpb.Lease", "etcdserverpb.Watch"];

#[tonic::async_trait]
impl Health for Front {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(self.serving()))
    }

    /// The status now and whenever it becomes another, until the client or the node stops.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let is_known = SERVICES.contains(&request.get_ref().service.as_str());
        let statuses = futures::stream::unfold((self.clone(), None), move |(mut front, told)| async move {
            loop {
                let now = if is_known { front.serving() } else { answer(ServingStatus::ServiceUnknown) };
                if told != Some(now) {
                    return Some((Ok(now), (front, Some(now))));
                }
                tokio::select! {
                    biased;
                    () = front.stop.cancelled() => return None,
                    changed = front.status.changed() => if changed.is_err() { return None },
                }
            }
        });
        Ok(Response::new(Box::pin(statuses)))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = SERVICES.iter().map(|service| ((*service).to_owned(), self.serving())).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }
}

impl Front {
    fn serving(&self) -> HealthCheckResponse {
        let has_leader = self.status.borrow().leader.is_some();
        answer(if has_leader { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
