//! What an operator asks of a cluster: members, leaders, compactions.

use anyhow::{Context as _, Result};
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, MemberAddRequest, MemberListRequest, MemberRemoveRequest,
    MoveLeaderRequest, SnapshotRequest,
};

use super::endpoint::Endpoint;

/// A member as the cluster's own list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: u64,
    /// Empty as long as it has never run.
    pub name: String,
    pub is_learner: bool,
    pub(super) peer_urls: Vec<String>,
}

impl Endpoint {
    /// The cluster's members, as this one knows them with consensus.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        self.in_time(async {
            let mut cluster = ClusterClient::new(self.connect().await?);
            let listed = cluster.member_list(MemberListRequest { linearizable: true }).await;
            let members =
                listed.with_context(|| format!("{} lists no members", self.member))?.into_inner().members;
            let listed = members.into_iter().map(|member| Listed {
                id: member.id,
                name: member.name,
                is_learner: member.is_learner,
                peer_urls: member.peer_ur_ls,
            });
            Ok(listed.collect())
        })
        .await
    }

    pub(super) async fn remove(&self, id: u64) -> Result<()> {
        self.in_time(async {
            let mut cluster = ClusterClient::new(self.connect().await?);
            let removed = cluster.member_remove(MemberRemoveRequest { id }).await;
            removed.with_context(|| format!("{} removes no member", self.member))?;
            Ok(())
        })
        .await
    }

    pub(super) async fn add(&self, peer_url: String) -> Result<()> {
        self.in_time(async {
            let mut cluster = ClusterClient::new(self.connect().await?);
            let add = MemberAddRequest { peer_ur_ls: vec![peer_url], is_learner: false };
            cluster.member_add(add).await.with_context(|| format!("{} adds no member", self.member))?;
            Ok(())
        })
        .await
    }

    /// Asks the member, which leads, to hand over to another.
    pub(super) async fn move_leader(&self, target_id: u64) -> Result<()> {
        self.in_time(async {
            let mut maintenance = MaintenanceClient::new(self.connect().await?);
            let moved = maintenance.move_leader(MoveLeaderRequest { target_id }).await;
            moved.with_context(|| format!("{} does not hand over", self.member))?;
            Ok(())
        })
        .await
    }

    pub(super) async fn compact(&self, revision: i64) -> Result<()> {
        self.in_time(async {
            let mut kv = KvClient::new(self.connect().await?);
            let compacted = kv.compact(CompactionRequest { revision, physical: false }).await;
            compacted.with_context(|| format!("{} does not compact", self.member))?;
            Ok(())
        })
        .await
    }

    pub(super) async fn defragment(&self) -> Result<()> {
        self.in_time(async {
            let mut maintenance = MaintenanceClient::new(self.connect().await?);
            let done = maintenance.defragment(DefragmentRequest {}).await;
            done.with_context(|| format!("{} does not defragment", self.member))?;
            Ok(())
        })
        .await
    }

    /// Takes a whole snapshot, and keeps nothing but its size.
    pub(super) async fn snapshot(&self) -> Result<usize> {
        self.in_time(async {
            let mut maintenance = MaintenanceClient::new(self.connect().await?);
            let answer = maintenance.snapshot(SnapshotRequest {}).await;
            let mut pieces =
                answer.with_context(|| format!("{} gives no snapshot", self.member))?.into_inner();
            let mut bytes = 0;
            while let Some(piece) = pieces.message().await.context("the snapshot breaks off")? {
                bytes += piece.blob.len();
            }
            Ok(bytes)
        })
        .await
    }
}
