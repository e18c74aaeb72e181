//! Starting a node: who it is, where its files are, how fast its clocks tick; then disks, Raft, tasks, handle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use base::{Clock, Entropy, NodeId, Tasks};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::disk::memory::{MemoryLog, MemoryTables};
use crate::disk::segments::{LogOpenError, SegmentedLog};
use crate::disk::{LogDisk, files};
use crate::error::StartError;
use crate::leases::{self, LeaseBook};
use crate::limits::Limits;
use crate::raft::handle::{self, Handle};
use crate::raft::log_store::{self, LogReader};
use crate::raft::network::Factory;
use crate::raft::peers::{Call, Peer, PeerError, PeerService, Peers, SnapshotOffer};
use crate::raft::replica::Replica;
use crate::raft::service::Service;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::MemberRecord;
use crate::store::audit::{self, Auditor};
use crate::store::rebuild::Offered;
use crate::store::{
    History, Inner, PROPOSALS_MAX, ProposalTask, ReadIndexTask, Space, Store, history, keep_room,
};
use crate::upkeep;
use repair::Repair;

mod repair;

const IDENTITY_FILE: &str = "member";
/// Reads that may queue for the next ReadIndex round.
const READ_QUEUE: usize = 4096;

/// A running node.
pub struct Node {
    pub store: Store,
    /// What the peer listener serves.
    pub service: Arc<dyn PeerService>,
    pub identity: Identity,
}

#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Unique in the cluster.
    pub name: String,
    pub disk: Disk,
    pub cluster: Cluster,
    pub timings: Timings,
    /// How many bytes of recent events stay in memory for watchers.
    pub watch_ring_bytes: usize,
    /// How much of the past is kept.
    pub history: History,
    /// A snapshot is taken, and the log shortened, each time this many entries were applied.
    pub snapshot_every_entries: u64,
    /// How many members may be learners that nobody has asked to become voters.
    pub learners_max: usize,
    /// How large the tables may grow before only deletions are taken; `None`: as they like.
    pub quota_bytes: Option<u64>,
    /// How much of the disk is left to deletions: below it only they are taken. Never more than a twentieth of it.
    pub disk_reserve_bytes: u64,
    pub limits: Limits,
}

/// Where a node keeps its files.
#[derive(Clone)]
pub enum Disk {
    /// RocksDB in this directory, which is made when it does not exist.
    Directory(PathBuf),
    /// Nothing survives the process, but everything survives a restart of the node on a clone of this.
    Memory(MemoryDisk),
}

/// The disks of a node without a disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    pub(crate) log: MemoryLog,
    pub(crate) tables: MemoryTables,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Self::Memory(_) => f.write_str("Memory"),
        }
    }
}

/// How a node becomes part of its cluster.
#[derive(Clone, Debug)]
pub enum Cluster {
    /// The members that found the cluster. Every one of them is started with the same list, and keeps it.
    Static { token: String, members: Vec<InitialMember> },
    /// A member that was added to a running cluster, with the id it was given.
    Joined { cluster_id: u64, node_id: NodeId },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    pub name: String,
    pub peer_url: String,
    pub client_urls: Vec<String>,
}

/// How a node is known to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster_id: u64,
    pub node_id: NodeId,
    pub name: String,
}

/// How fast failures are noticed. A follower stands for election when it has heard nothing for `election_max` plus a
/// random time between `election_min` and `election_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
    /// How long a request may take, all attempts together.
    pub request_timeout: Duration,
}

impl Default for Timings {
    /// Writes go on about one and a half seconds after the leader's death.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(700),
            request_timeout: Duration::from_secs(7),
        }
    }
}

impl Timings {
    /// As etcd's lower bound: a lease outlives an election.
    pub(crate) fn lease_ttl_seconds_min(&self) -> i64 {
        let seconds = (self.election_max * 3 / 2).as_millis().div_ceil(1000);
        i64::try_from(seconds).unwrap_or(1)
    }

    /// How long one question to a leader may take before another is asked.
    pub(crate) fn round_timeout(&self) -> Duration {
        self.election_max
    }
}

impl NodeConfig {
    /// A founding member of a static cluster, on a disk, with the usual timings.
    pub fn founding(name: String, data_dir: PathBuf, token: String, members: Vec<InitialMember>) -> Self {
        Self {
            name,
            disk: Disk::Directory(data_dir),
            cluster: Cluster::Static { token, members },
            timings: Timings::default(),
            watch_ring_bytes: 64 * 1024 * 1024,
            history: History::default(),
            snapshot_every_entries: 10_000,
            learners_max: 1,
            quota_bytes: Some(8 * 1024 * 1024 * 1024),
            disk_reserve_bytes: 256 * 1024 * 1024,
            limits: Limits::default(),
        }
    }

    /// One voter without disk or network.
    pub(crate) fn in_memory() -> Self {
        let member = InitialMember {
            name: "memory".to_owned(),
            peer_url: "https://memory".to_owned(),
            client_urls: Vec::new(),
        };
        Self {
            disk: Disk::Memory(MemoryDisk::default()),
            ..Self::founding(member.name.clone(), PathBuf::new(), "memory".to_owned(), vec![member])
        }
    }

    /// Who this node is; the transport needs to know before the node starts.
    ///
    /// # Errors
    /// When the node is not in its own list of members.
    pub fn identity(&self) -> Result<Identity, StartError> {
        let name = self.name.clone();
        match &self.cluster {
            Cluster::Joined { cluster_id, node_id } => {
                Ok(Identity { cluster_id: *cluster_id, node_id: *node_id, name })
            }
            Cluster::Static { token, members } => {
                let Some(place) = members.iter().position(|member| member.name == self.name) else {
                    let members: Vec<&str> = members.iter().map(|member| &*member.name).collect();
                    return Err(StartError::NotAMember { name, members: members.join(", ") });
                };
                // A directory that was restored from a snapshot belongs to a cluster of its own.
                let claimed = match &self.disk {
                    Disk::Directory(path) => claimed_cluster(path, &name),
                    Disk::Memory(_) => None,
                };
                Ok(Identity {
                    cluster_id: claimed.unwrap_or_else(|| cluster_id(token, members)),
                    node_id: NodeId::new(place as u64 + 1),
                    name,
                })
            }
        }
    }

    fn founders(&self) -> BTreeMap<u64, MemberRecord> {
        let members = match &self.cluster {
            Cluster::Static { members, .. } => &members[..],
            Cluster::Joined { .. } => &[],
        };
        let record = |member: &InitialMember| MemberRecord {
            name: member.name.clone(),
            peer_url: member.peer_url.clone(),
            client_urls: member.client_urls.clone(),
            ..MemberRecord::default()
        };
        (1..).zip(members.iter().map(record)).collect()
    }
}

/// The same for all founders, different for other clusters (FNV-1a over token, names and addresses).
fn cluster_id(token: &str, members: &[InitialMember]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut mix = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    mix(token);
    for member in members {
        mix(&member.name);
        mix(&member.peer_url);
    }
    hash.max(1)
}

impl Node {
    /// Opens the disks, starts Raft and the node's tasks, and founds the cluster if this is its first start.
    ///
    /// # Errors
    /// When the disk cannot be used, or belongs to another member.
    pub async fn start(
        config: NodeConfig,
        peers: Arc<dyn Peers>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let identity = config.identity()?;
        let raft_config = handle::config(&config.timings, &config.name, config.snapshot_every_entries)?;
        let log = open_log(&config.disk, &identity).await?;
        let (log_store, writer) = log_store::open(log).map_err(|error| config.disk.failed(error))?;
        tasks.spawn("store log writer", writer.run());
        let (me, stop) = (identity.node_id, tasks.stop());
        let log = LogReader::of(&log_store);
        let opening = Repair { config: &config, me, peers: &*peers, log: log.clone(), stop };
        let replica = Arc::new(opening.open().await?);
        let network = Factory { me: identity.node_id.get(), peers: peers.clone() };
        let machine = StateMachine { replica: replica.clone() };
        let raft = Handle::start(raft_config, network, log_store, machine).await;
        let raft = raft.inspect_err(|_| {
            if replica.health.is_quarantined() {
                repair::condemn(&config.disk);
            }
        })?;
        replica.run();
        raft.found(config.founders()).await?;

        let now = upkeep::status_of(&raft, &replica, &identity);
        let (leader_tx, leader) = watch::channel(upkeep::leader_of(&now));
        let (status_tx, status) = watch::channel(now);
        let (proposals, proposed) = mpsc::channel(PROPOSALS_MAX);
        let (read_index, inbox) = mpsc::channel(READ_QUEUE);
        let (claims, claimed) = mpsc::channel(audit::CLAIMS_MAX);
        let (lease_book, lease_questions) = LeaseBook::new();
        let store = Store::new(Inner {
            raft: raft.clone(),
            replica: replica.clone(),
            identity: identity.clone(),
            peers,
            clock,
            origin: entropy.u64(),
            entropy,
            timings: config.timings,
            learners_max: config.learners_max,
            space: Space::new(config.quota_bytes, config.disk_reserve_bytes),
            limits: config.limits,
            leases: lease_book,
            serial: AtomicU64::new(0),
            proposals,
            read_index,
            log,
            claims,
            offered: Offered::default(),
            rebuilding: tokio::sync::Mutex::default(),
            status,
            leader,
        });
        let stop = tasks.stop();
        let told = upkeep::Told { status: status_tx, leader: leader_tx };
        let publish = upkeep::publish(raft.clone(), replica.clone(), identity.clone(), told, stop.clone());
        tasks.spawn("store status", publish);
        let every = config.snapshot_every_entries;
        let snapshots = upkeep::take_snapshots(raft.clone(), replica.clone(), every, stop.clone());
        tasks.spawn("store snapshots", snapshots);
        tasks.spawn_infallible("store watch hub", watch_hub(replica.clone(), stop.clone()));
        tasks.spawn("store cleaning", upkeep::clean(replica.clone(), stop.clone()));
        let auditor = Auditor { store: store.clone(), claims: claimed };
        tasks.spawn_infallible("store audit", auditor.run(stop.clone()));
        tasks.spawn("store history", history::keep(store.clone(), config.history, stop.clone()));
        tasks.spawn_infallible("store space", keep_room(store.clone(), stop.clone()));
        leases::start(&store, lease_questions, tasks);
        ProposalTask { store: store.clone(), inbox: proposed }.spawn(tasks);
        ReadIndexTask { store: store.clone(), inbox }.spawn(tasks);
        tasks.spawn_infallible("store shutdown", shut_down(raft, replica, stop.clone()));
        info!(name = %identity.name, node = %identity.node_id, "the store has started");
        Ok(Self { service: Service::of(store.clone()), store, identity })
    }
}

async fn watch_hub(replica: Arc<Replica>, stop: tokio_util::sync::CancellationToken) {
    replica.hub.distribute(stop).await;
}

/// Stops Raft with the rest, so that the log's writer finishes what is queued and ends.
async fn shut_down(raft: Handle, replica: Arc<Replica>, stop: tokio_util::sync::CancellationToken) {
    stop.cancelled().await;
    replica.health.close();
    raft.shut_down().await;
}

impl Disk {
    fn failed(&self, error: std::io::Error) -> StartError {
        match self {
            Self::Directory(path) => StartError::open(path, error),
            Self::Memory(_) => StartError::open(Path::new("memory"), error),
        }
    }
}

async fn open_log(disk: &Disk, identity: &Identity) -> Result<Arc<dyn LogDisk>, StartError> {
    let path = match disk {
        Disk::Memory(memory) => return Ok(Arc::new(memory.log.clone())),
        Disk::Directory(path) => path.clone(),
    };
    let identity = identity.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let failed = |error| StartError::open(&path, error);
        std::fs::create_dir_all(&path).map_err(failed)?;
        claim(&path, &identity)?;
        let log = SegmentedLog::open(&path.join("log")).map_err(|error| match error {
            LogOpenError::Io(error) => failed(error),
            LogOpenError::Corrupt { path, offset, what } => {
                StartError::CorruptLog { file: path.display().to_string(), offset, what }
            }
        })?;
        Ok(Arc::new(log) as Arc<dyn LogDisk>)
    });
    opened.await.map_err(|error| disk.failed(std::io::Error::other(error)))?
}

/// The cluster that a directory of this member belongs to.
fn claimed_cluster(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path.join(IDENTITY_FILE)).ok()?;
    let mut words = text.trim().splitn(3, ' ');
    let cluster_id = u64::from_str_radix(words.next()?, 16).ok()?;
    (words.nth(1)? == name).then_some(cluster_id)
}

/// A directory belongs to one member for ever: an id on another's files could vote twice.
pub(crate) fn claim(path: &Path, identity: &Identity) -> Result<(), StartError> {
    let file = path.join(IDENTITY_FILE);
    let expected = format!("{:016x} {} {}\n", identity.cluster_id, identity.node_id, identity.name);
    match std::fs::read_to_string(&file) {
        Ok(found) if found == expected => Ok(()),
        Ok(found) => Err(StartError::WrongIdentity {
            path: path.display().to_string(),
            found: found.trim().to_owned(),
            expected: expected.trim().to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            files::write_atomically(&file, expected.as_bytes()).map_err(|error| StartError::open(path, error))
        }
        Err(error) => Err(StartError::open(path, error)),
    }
}

/// The network of a node that has no peers.
pub(crate) struct NoPeers;

fn nobody() -> PeerError {
    PeerError::Unreachable("this node has no peers".into())
}

impl Peers for NoPeers {
    fn call(
        &self,
        _to: &Peer,
        _call: Call,
        _payload: Bytes,
        _deadline: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async { Err(nobody()) })
    }

    fn append_stream(
        &self,
        _to: &Peer,
        _requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>> {
        Box::pin(async { Err(nobody()) })
    }

    fn send_snapshot(&self, _to: &Peer, _offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async { Err(nobody()) })
    }
}

#[cfg(test)]
mod tests;
