//! The Cluster service: who the members are, and changing that, through any voter.

use base::NodeId;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::super::error;
use super::Front;
use crate::{Addresses, NewMember};

#[tonic::async_trait]
impl Cluster for Front {
    /// A member begins as a learner. Unless it was asked for as one, it votes by itself once it has caught up: it never
    /// makes the majority larger before it can help to reach it.
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.admit(request.metadata())?;
        let asked = request.into_inner();
        let new = NewMember {
            name: String::new(),
            peer_url: peer_url(asked.peer_ur_ls)?,
            client_urls: Vec::new(),
            votes_when_ready: !asked.is_learner,
        };
        let added = self.store.member_add(new).await.map_err(|refused| error::status(&refused))?;
        let header = Some(self.header_now());
        Ok(Response::new(pb::MemberAddResponse {
            header,
            member: Some(member(added)),
            members: self.members(),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.admit(request.metadata())?;
        let id = NodeId::new(request.into_inner().id);
        self.store.member_remove(id).await.map_err(|refused| error::status(&refused))?;
        let (header, members) = (Some(self.header_now()), self.members());
        Ok(Response::new(pb::MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.admit(request.metadata())?;
        let asked = request.into_inner();
        let to = Addresses { peer_url: peer_url(asked.peer_ur_ls)?, client_urls: None };
        let updated = self.store.member_update(NodeId::new(asked.id), to).await;
        updated.map_err(|refused| error::status(&refused))?;
        let (header, members) = (Some(self.header_now()), self.members());
        Ok(Response::new(pb::MemberUpdateResponse { header, members }))
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
        let (header, members) = (Some(self.header_now()), self.members());
        Ok(Response::new(pb::MemberPromoteResponse { header, members }))
    }
}

impl Front {
    /// The members as this node knows them.
    pub(super) fn members(&self) -> Vec<pb::Member> {
        self.store.members().into_iter().map(member).collect()
    }
}

/// Members speak to each other over TLS at one address: `https://host:port`.
fn peer_url(mut urls: Vec<String>) -> Result<String, Status> {
    let (Some(url), true) = (urls.pop(), urls.is_empty()) else { return Err(error::bad_member_urls()) };
    let authority = url.strip_prefix("https://").and_then(|rest| rest.rsplit_once(':'));
    match authority {
        Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
            Ok(url)
        }
        Some(_) | None => Err(error::bad_member_urls()),
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
