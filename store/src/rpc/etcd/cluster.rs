//! The Cluster service: who the members are, and changing that.

use base::NodeId;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::super::error;
use super::Front;

#[tonic::async_trait]
impl Cluster for Front {
    /// A member begins as a learner and votes once it has caught up and is promoted.
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.admit(request.metadata())?;
        let asked = request.into_inner();
        let [peer_url] = &asked.peer_ur_ls[..] else { return Err(error::bad_member_urls()) };
        if !peer_url.starts_with("https://") {
            return Err(error::bad_member_urls());
        }
        if !asked.is_learner {
            return Err(Status::unimplemented("a member is added as a learner, then promoted"));
        }
        let added = self.store.member_add(String::new(), peer_url.clone(), Vec::new()).await;
        let member = Some(member(added.map_err(|refused| error::status(&refused))?));
        let header = Some(self.header_now());
        Ok(Response::new(pb::MemberAddResponse { header, member, members: self.members() }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.admit(request.metadata())?;
        let id = NodeId::new(request.into_inner().id);
        self.store.member_remove(id).await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(pb::MemberRemoveResponse {
            header: Some(self.header_now()),
            members: self.members(),
        }))
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
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.admit(request.metadata())?;
        let id = NodeId::new(request.into_inner().id);
        self.store.member_promote(id).await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(pb::MemberPromoteResponse {
            header: Some(self.header_now()),
            members: self.members(),
        }))
    }
}

impl Front {
    /// The members as this node knows them.
    pub(super) fn members(&self) -> Vec<pb::Member> {
        self.store.members().into_iter().map(member).collect()
    }
}

fn member(member: crate::Member) -> pb::Member {
    pb::Member {
        id: member.id.get(),
        name: member.name,
        peer_ur_ls: vec![member.peer_url],
        client_ur_ls: member.client_urls,
        is_learner: member.is_learner,
    }
}
