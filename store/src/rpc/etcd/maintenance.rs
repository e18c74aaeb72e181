//! The Maintenance service: status, hashes, leadership, and an honest answer about what does not exist here.

use std::pin::Pin;

use base::{NodeId, Revision};
use futures::Stream;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

use super::super::error;
use super::Front;
use crate::StoreError;

/// The version of etcd whose API this is: clients switch features on by it.
const VERSION: &str = "3.7.0";
const STORAGE_VERSION: &str = "3.7.0";

#[tonic::async_trait]
impl Maintenance for Front {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    /// No alarm exists yet, so none is listed and none can be raised.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        match request.get_ref().action() {
            AlarmAction::Get | AlarmAction::Deactivate => {
                Ok(Response::new(pb::AlarmResponse { header: Some(self.header_now()), alarms: Vec::new() }))
            }
            AlarmAction::Activate => Err(Status::unimplemented("alarms cannot be raised by hand")),
        }
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.store.status();
        let mut errors = Vec::new();
        if status.leader.is_none() {
            errors.push("etcdserver: no leader".to_owned());
        }
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.header_now()),
            version: VERSION.to_owned(),
            db_size: i64::try_from(status.db_size_bytes).unwrap_or(i64::MAX),
            leader: status.leader.map_or(0, NodeId::get),
            raft_index: status.committed_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: i64::try_from(status.db_size_bytes).unwrap_or(i64::MAX),
            is_learner: self
                .members()
                .iter()
                .any(|member| member.id == status.node_id.get() && member.is_learner),
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: 0,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    /// Space is reclaimed continuously: there is nothing to do, and nothing stops meanwhile.
    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Ok(Response::new(pb::DefragmentResponse { header: Some(self.header_now()) }))
    }

    async fn hash(&self, _request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        Err(Status::unimplemented("use HashKV"))
    }

    /// The rolling hash of everything up to the newest revision: equal on members that are at the same revision. It is
    /// not the number that etcd would compute.
    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.admit(request.metadata())?;
        self.store.read_barrier().await.map_err(|refused| error::status(&refused))?;
        let (revision, hash) = self.store.hash();
        let asked = request.into_inner().revision;
        if asked > revision.get() {
            let newest = revision;
            return Err(error::status(&StoreError::FutureRevision { asked: Revision::new(asked), newest }));
        }
        if asked > 0 && asked != revision.get() {
            return Err(Status::unimplemented("only the newest revision has a hash"));
        }
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.header_now()),
            hash,
            compact_revision: self.store.status().compacted.get(),
            hash_revision: revision.get(),
        }))
    }

    async fn snapshot(
        &self,
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented("this store has no bolt file to send"))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let status = self.store.status();
        if status.leader != Some(status.node_id) {
            return Err(error::not_leader());
        }
        let to = request.get_ref().target_id;
        if !self.members().iter().any(|member| member.id == to && !member.is_learner) {
            return Err(error::bad_transferee());
        }
        self.store.transfer_leadership(NodeId::new(to)).await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(pb::MoveLeaderResponse { header: Some(self.header_now()) }))
    }

    async fn downgrade(
        &self,
        _request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(Status::unimplemented("there is no older version to go to"))
    }
}
