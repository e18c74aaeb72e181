//! What an operator asks of a cluster: members, leaders, compactions.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, MemberAddRequest, MemberListRequest, MemberRemoveRequest,
    MoveLeaderRequest, RangeRequest, SnapshotRequest,
};
use tonic::transport::Channel;

use super::endpoint::Endpoint;

/// How long a whole snapshot may take, under load.
const SNAPSHOT_MAX: Duration = Duration::from_secs(30);

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
        let list = MemberListRequest { linearizable: true };
        let asked = async |channel: Channel| {
            // etcd before 3.5 lists what it has heard, which is everything after a read with consensus. To the others
            // it makes no difference whether this one may read.
            let read = RangeRequest { key: "list".into(), ..RangeRequest::default() };
            let _heard = KvClient::new(channel.clone()).range(read).await;
            ClusterClient::new(channel).member_list(list).await
        };
        let members = self.ask("lists no members", asked).await?.into_inner().members;
        let listed = members.into_iter().map(|member| Listed {
            id: member.id,
            name: member.name,
            is_learner: member.is_learner,
            peer_urls: member.peer_ur_ls,
        });
        Ok(listed.collect())
    }

    pub(super) async fn remove(&self, id: u64) -> Result<()> {
        let remove = MemberRemoveRequest { id };
        let asked = async |channel| ClusterClient::new(channel).member_remove(remove).await;
        self.ask("removes no member", asked).await.map(drop)
    }

    pub(super) async fn add(&self, peer_url: String) -> Result<()> {
        let add = MemberAddRequest { peer_ur_ls: vec![peer_url], is_learner: false };
        let asked = async |channel| ClusterClient::new(channel).member_add(add).await;
        self.ask("adds no member", asked).await.map(drop)
    }

    /// Asks the member, which leads, to hand over to another.
    pub(super) async fn move_leader(&self, target_id: u64) -> Result<()> {
        let hand_over = MoveLeaderRequest { target_id };
        let asked = async |channel| MaintenanceClient::new(channel).move_leader(hand_over).await;
        self.ask("does not hand over", asked).await.map(drop)
    }

    pub(super) async fn compact(&self, revision: i64) -> Result<()> {
        let compact = CompactionRequest { revision, physical: false };
        let asked = async |channel| KvClient::new(channel).compact(compact).await;
        self.ask("does not compact", asked).await.map(drop)
    }

    pub(super) async fn defragment(&self) -> Result<()> {
        let asked = async |channel| MaintenanceClient::new(channel).defragment(DefragmentRequest {}).await;
        self.ask("does not defragment", asked).await.map(drop)
    }

    /// Takes a whole snapshot into a file; says how long it is.
    pub(super) async fn snapshot_to(&self, file: &Path) -> Result<usize> {
        let taken = async {
            let mut client = MaintenanceClient::new(self.connect().await?);
            let mut pieces = client.snapshot(SnapshotRequest {}).await?.into_inner();
            let mut written = File::create(file)?;
            let mut bytes = 0;
            while let Some(piece) = pieces.message().await? {
                written.write_all(&piece.blob)?;
                bytes += piece.blob.len();
            }
            Ok(bytes)
        };
        let taken = tokio::time::timeout(SNAPSHOT_MAX, taken).await;
        taken.with_context(|| format!("{} gives no whole snapshot in time", self.member))?
    }

    /// Takes a whole snapshot, and keeps nothing but its size.
    pub(super) async fn snapshot(&self) -> Result<usize> {
        let asked = async |channel| {
            let mut pieces = MaintenanceClient::new(channel).snapshot(SnapshotRequest {}).await?.into_inner();
            let mut bytes = 0;
            while let Some(piece) = pieces.message().await? {
                bytes += piece.blob.len();
            }
            Ok(bytes)
        };
        self.ask("gives no whole snapshot", asked).await
    }
}
