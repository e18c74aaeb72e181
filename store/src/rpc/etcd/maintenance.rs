//! The Maintenance service: status, alarms, hashes, leadership.

use std::pin::Pin;

use base::{NodeId, Revision};
use futures::Stream;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::downgrade_request::DowngradeAction;
use proto::etcdserverpb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

use super::super::error;
use super::Front;
use crate::archive::{Chunk, Outgoing};
use crate::{Alarm, AlarmKind, Health, StoreError};

/// The version of etcd whose API this is: clients switch features on by it.
pub(in crate::rpc) const VERSION: &str = "3.7.0";
const STORAGE_VERSION: &str = "3.7.0";
/// The metadata of a status that tells the cluster's name.
const CLUSTER_NAME: &str = "navarch-cluster-name";

#[tonic::async_trait]
impl Maintenance for Front {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.admit(request.metadata())?;
        let store = self.store_of(&request);
        let asked = request.into_inner();
        if asked.action() != AlarmAction::Get {
            store.may_administer().map_err(error::auth::status)?;
        }
        let refused = |refused: StoreError| error::status(&refused);
        let named = alarm_kind(asked.alarm());
        let about = named.map(|kind| Alarm { member: NodeId::new(asked.member_id), kind });
        let mut alarms = Vec::new();
        match (asked.action(), about) {
            (AlarmAction::Get, _) => {
                self.store.read_barrier().await.map_err(refused)?;
                alarms = self.store.alarms();
                alarms.retain(|alarm| named.is_none_or(|kind| alarm.kind == kind));
            }
            (AlarmAction::Activate, Some(alarm)) => {
                store.alarm_raise(alarm).await.map_err(refused)?;
                alarms.push(alarm);
            }
            (AlarmAction::Deactivate, Some(alarm)) => {
                if store.alarm_disarm(alarm).await.map_err(refused)? {
                    alarms.push(alarm);
                }
            }
            // As etcd: no alarm is named NONE, and nothing happens.
            (AlarmAction::Activate | AlarmAction::Deactivate, None) => {}
        }
        let alarms = alarms.into_iter().map(alarm_member).collect();
        Ok(Response::new(pb::AlarmResponse { header: Some(self.header_now()), alarms }))
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
        errors.extend(status.alarms.iter().map(|alarm| {
            let pb::AlarmMember { member_id, alarm } = alarm_member(*alarm);
            // The text form of the message, with the space at its end, as etcd prints it.
            let kind = pb::AlarmType::try_from(alarm).unwrap_or_default().as_str_name();
            format!("memberID:{member_id} alarm:{kind} ")
        }));
        let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        match &status.health {
            Health::Sound => {}
            Health::Suspect { why } | Health::Quarantined { why } => {
                errors.push(format!("etcdserver: corrupt cluster: {why}"));
            }
        }
        let mut response = Response::new(pb::StatusResponse {
            header: Some(self.header_now()),
            version: VERSION.to_owned(),
            db_size: bytes(status.db_size_bytes),
            leader: status.leader.map_or(0, NodeId::get),
            raft_index: status.committed_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: bytes(self.store.live_bytes().min(status.db_size_bytes)),
            is_learner: self
                .members()
                .iter()
                .any(|member| member.id == status.node_id.get() && member.is_learner),
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: self.store.quota_bytes().map_or(0, bytes),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        });
        // etcd has no field for it. A name that is no header's value stays untold.
        if let Ok(name) = self.store.cluster_name().parse() {
            response.metadata_mut().insert(CLUSTER_NAME, name);
        }
        Ok(response)
    }

    /// Answers when this member's tables are rewritten; everything else goes on meanwhile.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.admit(request.metadata())?;
        self.store.defragment().await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(pb::DefragmentResponse { header: Some(self.header_now()) }))
    }

    /// For tests of a quiet cluster, as in etcd: it is taken at whatever this member has applied.
    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.admit(request.metadata())?;
        let hash = self.store.hash_everything().await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(pb::HashResponse { header: Some(self.header_now()), hash }))
    }

    /// Equal on members that answer for the same revision and the same compaction. It is not the number that etcd
    /// would compute.
    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.admit(request.metadata())?;
        let asked = Some(Revision::new(request.into_inner().revision)).filter(|asked| asked.get() != 0);
        let found = self.store.hash_key_space(asked).await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.header(found.newest)),
            hash: found.hash,
            compact_revision: found.compacted.get(),
            hash_revision: found.at.get(),
        }))
    }

    /// An archive of our own format, not a bolt file, with a SHA-256 of it at its end, where etcd puts one too.
    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.admit_to_learners(request.metadata())?;
        let outgoing = self.store.snapshot().await.map_err(|refused| error::status(&refused))?;
        let header = self.header_now();
        let chunks = futures::stream::try_unfold(outgoing, move |outgoing| async move {
            let Some((chunk, outgoing)) = next_chunk(outgoing).await? else { return Ok(None) };
            let response = pb::SnapshotResponse {
                header: Some(header),
                remaining_bytes: chunk.remaining,
                blob: chunk.bytes,
                version: STORAGE_VERSION.to_owned(),
            };
            Ok(Some((response, outgoing)))
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.admit(request.metadata())?;
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

    /// There is no older version whose files we could write: every target is refused as etcd refuses one that is out of
    /// reach, and no downgrade is ever under way.
    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.admit(request.metadata())?;
        Err(match request.get_ref().action() {
            DowngradeAction::Cancel => error::no_downgrade(),
            DowngradeAction::Validate | DowngradeAction::Enable => {
                if is_version(&request.get_ref().version) {
                    error::downgrade_target()
                } else {
                    error::downgrade_format()
                }
            }
        })
    }
}

async fn next_chunk(mut outgoing: Outgoing) -> Result<Option<(Chunk, Outgoing)>, Status> {
    let read = tokio::task::spawn_blocking(move || outgoing.next().map(|chunk| (chunk, outgoing))).await;
    match read.map_err(std::io::Error::other).flatten() {
        Ok((chunk, outgoing)) => Ok(chunk.map(|chunk| (chunk, outgoing))),
        Err(error) => {
            tracing::error!(%error, "cannot read a copy of the state");
            Err(Status::internal("etcdserver: cannot read the snapshot"))
        }
    }
}

/// Whether this is a version as `3.6` or `3.6.1`.
fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    (2..=3).contains(&parts.len()) && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

fn alarm_kind(kind: pb::AlarmType) -> Option<AlarmKind> {
    match kind {
        pb::AlarmType::None => None,
        pb::AlarmType::Nospace => Some(AlarmKind::NoSpace),
        pb::AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    }
}

fn alarm_member(alarm: Alarm) -> pb::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember { member_id: alarm.member.get(), alarm: kind.into() }
}
