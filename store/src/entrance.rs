//! How a node finds its place before it starts.
//!
//! A directory that has a place starts at once. A new one asks the others: a cluster is founded when every founder has
//! said that it is new, in the words of the first of the list; where the cluster runs already, the leader gives a place.
//! A directory whose content is gone or unusable never founds and never votes under its old id: it becomes a learner
//! with a new id, and then takes its predecessor's place.

pub(crate) mod messages;
pub(crate) mod settle;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use base::{Clock, Entropy, Tasks};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};

use crate::disk::codec;
use crate::error::StartError;
use crate::node::{Identity, Node, NodeConfig};
use crate::raft::peers::{Call, Intake, PeerError, PeerService, Peers, SnapshotFile};
use crate::seat::{MemberFile, SeatDisk, Seating};
use messages::{Introduction, Standing, Welcome};
use settle::Settled;

/// An identity that is known as soon as the node has its place. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Badge(Arc<ArcSwapOption<Identity>>);

impl Badge {
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.0.load_full()
    }

    fn show(&self, identity: Identity) {
        self.0.store(Some(Arc::new(identity)));
    }
}

impl From<Identity> for Badge {
    fn from(identity: Identity) -> Self {
        let badge = Self::default();
        badge.show(identity);
        badge
    }
}

/// A node on its way in: it answers its peers already.
pub struct Entrance {
    config: NodeConfig,
    disk: SeatDisk,
    /// Tells this run of the program from all others, of copies of this directory too.
    process: u64,
    badge: Badge,
    desk: Arc<Desk>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Entrance {
    /// Reads what the directory says about itself, or draws what a new one is known by.
    ///
    /// # Errors
    /// When the directory cannot be used, or is another member's.
    pub fn open(
        config: NodeConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        config.check_name()?;
        let disk = SeatDisk::of(&config.disk);
        let file = settle::read_or_draw(&config, &disk, entropy.as_ref())?;
        let process = entropy.u64();
        let desk = Arc::new(Desk { file: Mutex::new(file), process, node: ArcSwapOption::empty() });
        Ok(Self { config, disk, process, badge: Badge::default(), desk, clock, entropy })
    }

    /// For the network and the peer port, which come first.
    pub fn badge(&self) -> Badge {
        self.badge.clone()
    }

    /// What the peer port serves, before and after the node has started.
    pub fn service(&self) -> Arc<dyn PeerService> {
        self.desk.clone()
    }

    /// Finds the place, however long the others take, and starts the node. What cannot be read is set aside, and the
    /// node comes back as a new one, when there are others to get it all from.
    ///
    /// # Errors
    /// When the disk cannot be used, or the cluster does not want this node.
    pub async fn enter(self, peers: Arc<dyn Peers>, tasks: &Tasks) -> Result<Node, StartError> {
        loop {
            let Settled { file, acknowledged } = tokio::select! {
                biased;
                () = tasks.stop().cancelled() => return Err(StartError::Stopped),
                settled = self.settle(peers.as_ref()) => settled?,
            };
            self.badge.show(file.identity()?);
            let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
            let seating = Seating { file, process: self.process, acknowledged };
            match Node::start_placed(self.config.clone(), seating, peers.clone(), (clock, entropy), tasks)
                .await
            {
                Ok(node) => {
                    self.desk.node.store(Some(Arc::new(node.service.clone())));
                    return Ok(node);
                }
                Err(
                    error @ (StartError::Corrupt { .. }
                    | StartError::CorruptLog { .. }
                    | StartError::Outdated { .. }),
                ) if self.config.has_others() => {
                    self.give_up(&error)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Answers the peers: introductions by itself until the node does, everything else only then.
struct Desk {
    file: Mutex<MemberFile>,
    process: u64,
    node: ArcSwapOption<Arc<dyn PeerService>>,
}

impl Desk {
    fn file(&self) -> MemberFile {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn node(&self) -> Result<Arc<dyn PeerService>, PeerError> {
        let node = self.node.load_full().map(|node| node.as_ref().clone());
        node.ok_or_else(|| PeerError::Refused("this node has no place in its cluster yet".into()))
    }

    fn introduce(&self, payload: &[u8]) -> Result<Bytes, PeerError> {
        let guest: Introduction =
            codec::decode(payload).map_err(|error| PeerError::Refused(error.to_string()))?;
        let MemberFile { name, token, incarnation, lost, place } = self.file();
        let welcome = match place {
            _ if token != guest.token => Welcome::OtherCluster { token },
            None => Welcome::New { name, incarnation, lost: lost.is_some() },
            Some(place) => Welcome::Placed {
                cluster_id: place.cluster_id,
                node_id: place.node_id,
                process: self.process,
                name,
                founders: place.founders,
                supersedes: place.supersedes,
                standing: Standing::Unknown,
                hears_leader: false,
                acknowledged: None,
                members: Vec::new(),
            },
        };
        Ok(codec::encode(&welcome))
    }
}

impl PeerService for Desk {
    fn call(&self, call: Call, payload: Bytes) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async move {
            match (self.node(), call) {
                (Ok(node), _) => node.call(call, payload).await,
                (Err(_), Call::Introduce) => self.introduce(&payload),
                (Err(refusal), _) => Err(refusal),
            }
        })
    }

    fn append_stream(
        &self,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        match self.node() {
            Ok(node) => node.append_stream(requests),
            Err(refusal) => futures::stream::iter([Err(refusal)]).boxed(),
        }
    }

    fn snapshot_intake(
        &self,
        meta: Bytes,
        files: Vec<SnapshotFile>,
    ) -> BoxFuture<'_, Result<Intake, PeerError>> {
        Box::pin(async move { self.node()?.snapshot_intake(meta, files).await })
    }

    fn snapshot_install(&self, meta: Bytes, intake: Intake) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async move { self.node()?.snapshot_install(meta, intake).await })
    }
}

#[cfg(test)]
mod tests;
