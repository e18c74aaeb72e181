//! The Cluster service: who the members are, and changing that.

use base::NodeId;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::super::error;
use super::Front;

#[tonic::async_trait]
impl Cluster for Front {
    async fn member_add(
        &self,
        _request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(Status::unimplemented("members cannot be added yet"))
    }

    async fn member_remove(
        &self,
        _request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(Status::unimplemented("members cannot be removed yet"))
    }

    async fn member_update(
        &self,
        _request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(Status::unimplemented("the addresses of a member cannot be changed"))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.admit(request.metadata())?;
        if request.get_ref().linearizable {
            self.store.read_barrier().await.map_err(|refused| error::status(&refused))?;
        }
        Ok(Response::new(pb::MemberListResponse { header: Some(self.header_now()), members: self.members() }))
    }

    async fn member_promote(
        &self,
        _request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(Status::unimplemented("learners cannot be promoted yet"))
    }
}
