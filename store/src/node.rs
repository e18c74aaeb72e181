//! Starting a node: who it is, where its files are, how fast its clocks tick; then disks, Raft, tasks, handle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base::{Clock, Entropy, NodeId, Tasks};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::disk::LogDisk;
use crate::disk::memory::{MemoryLog, MemoryTables, Simulated};
use crate::disk::segments::{LogOpenError, SegmentedLog};
use crate::entrance::messages::Acknowledged;
use crate::entrance::settle;
use crate::error::StartError;
use crate::leases::{self, LeaseBook};
use crate::limits::Limits;
use crate::raft::addresses::AddressBook;
use crate::raft::announcements::Haste;
use crate::raft::handle::{self, Handle};
use crate::raft::log_store::{self, LogReader, LogStore};
use crate::raft::network::Factory;
use crate::raft::peers::{Call, Peer, PeerError, PeerService, Peers, SnapshotOffer};
use crate::raft::record;
use crate::raft::replica::Replica;
use crate::raft::service::{Heard, Service};
use crate::raft::state_machine::StateMachine;
use crate::raft::types::MemberRecord;
use crate::seat::{self, Founder, MemberFile, MemorySeat, Place, SeatDisk, Seated, Seating};
use crate::seeded::{self, Bug};
use crate::steward::Steward;
use crate::store::audit::{self, Auditor};
use crate::store::rebuild::Offered;
use crate::store::{
    Bundle, History, Inner, PROPOSALS_MAX, ProposalTask, ReadIndexTask, Space, Store, Waiting, accounts,
    history, keep_room,
};
use crate::upkeep;
use repair::Repair;

mod repair;

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
    /// A snapshot is taken, and the log shortened, each time this many entries were applied, or keys changed.
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
#[derive(Clone, Debug)]
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
    /// In the place of `log`, when it is simulated.
    pub(crate) simulated: Option<Simulated>,
    pub(crate) tables: MemoryTables,
    pub(crate) seat: MemorySeat,
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryDisk")
    }
}

/// How a node becomes part of its cluster.
#[derive(Clone, Debug)]
pub enum Cluster {
    /// The members that found the cluster. Every one of them is started with the same list, and keeps it.
    Static { token: String, members: Vec<InitialMember> },
    /// A member that was added to a running cluster, with the id it was given.
    Joined { cluster_id: u64, node_id: NodeId },
    /// A member that asks its way into a running cluster, at the peer addresses of any of its members.
    Join { token: String, through: Vec<String>, me: InitialMember },
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
    /// How long a member may be without a leader before it ends the streams whose clients asked for one.
    pub leaderless_time_max: Duration,
    /// How often a quiet watch that asked for it gets a sign of life. etcd's `--watch-progress-notify-interval`.
    pub watch_notify_every: Duration,
}

impl Default for Timings {
    /// Writes go on well within a second after the leader's death.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(350),
            request_timeout: Duration::from_secs(7),
            leaderless_time_max: Duration::from_secs(3),
            watch_notify_every: Duration::from_mins(10),
        }
    }
}

const ETCD_LEASE_TTL_SECONDS_MIN: i64 = 2;

impl Timings {
    /// A lease outlives an election; never below what etcd's own timings give, so that clients see the same.
    pub(crate) fn lease_ttl_seconds_min(&self) -> i64 {
        let seconds = (self.election_max * 3 / 2).as_millis().div_ceil(1000);
        i64::try_from(seconds).unwrap_or(i64::MAX).max(ETCD_LEASE_TTL_SECONDS_MIN)
    }

    /// After this silence a follower stands for election: its leader is lost. One that leads and is not answered for so
    /// long has lost its majority.
    pub(crate) fn silence_max(&self) -> Duration {
        self.election_max * 2
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
            snapshot_every_entries: 50_000,
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

    /// Who this node is, if nobody has to be asked: what its directory says, else its place in the list. An
    /// [`crate::Entrance`] finds out in every case.
    ///
    /// # Errors
    /// When the node is not in its own list of members, or its directory is another's.
    pub fn identity(&self) -> Result<Identity, StartError> {
        self.seat_without_asking()?.identity()
    }

    fn seat_without_asking(&self) -> Result<MemberFile, StartError> {
        self.check_name()?;
        let disk = SeatDisk::of(&self.disk);
        match disk.read()? {
            Some(file) if file.name != self.name || file.token != self.token() => {
                return Err(settle::wrong_identity(disk.path(), &file, self));
            }
            Some(file) if file.place.is_some() => return Ok(file),
            Some(_) | None => {}
        }
        let (cluster_id, node_id, founders) = match &self.cluster {
            Cluster::Joined { cluster_id, node_id } => (*cluster_id, *node_id, Vec::new()),
            Cluster::Join { .. } => return Err(StartError::NotInvited { name: self.name.clone() }),
            Cluster::Static { token, members } => {
                let cluster_id = seat::cluster_id(token, members);
                let founders =
                    seat::founders(members, |one| seat::derived_incarnation(cluster_id, &one.name));
                let me = founders.iter().find(|founder| founder.name == self.name);
                (cluster_id, me.map_or_else(NodeId::default, |me| me.id), founders)
            }
        };
        let incarnation = seat::derived_incarnation(cluster_id, &self.name);
        let place = Place { cluster_id, node_id, founders, ..Place::default() };
        let (name, token) = (self.name.clone(), self.token());
        Ok(MemberFile { name, token, incarnation, lost: None, place: Some(place) })
    }

    /// # Errors
    /// When the node is not in its own list of members.
    pub(crate) fn check_name(&self) -> Result<(), StartError> {
        let members: Vec<&str> = self.initial_members().iter().map(|member| &*member.name).collect();
        if members.is_empty() || members.contains(&&*self.name) {
            return Ok(());
        }
        Err(StartError::NotAMember { name: self.name.clone(), members: members.join(", ") })
    }
}

pub(crate) fn founding_members(place: &Place) -> BTreeMap<u64, MemberRecord> {
    let record = |founder: &Founder| MemberRecord {
        name: founder.name.clone(),
        peer_url: founder.peer_url.clone(),
        client_urls: founder.client_urls.clone(),
        incarnation: founder.incarnation,
        ..MemberRecord::default()
    };
    place.founders.iter().map(|founder| (founder.id.get(), record(founder))).collect()
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
        let file = config.seat_without_asking()?;
        let seating = Seating { file, process: entropy.u64(), acknowledged: None };
        Self::start_placed(config, seating, peers, (clock, entropy), tasks).await
    }

    /// Starts a node that has its place.
    pub(crate) async fn start_placed(
        config: NodeConfig,
        Seating { file, process, acknowledged }: Seating,
        peers: Arc<dyn Peers>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let identity = file.identity()?;
        let raft_config = handle::config(&config.timings, &config.name, config.snapshot_every_entries)?;
        let seat = Seated::new(SeatDisk::of(&config.disk), (file, process), &config);
        let log = open_log_of(&config.disk, &seat).await?;
        let required = Required::of(&config.disk, log.as_ref(), acknowledged)?;
        let book = Arc::new(AddressBook::new(peers, config.initial_members().to_vec()));
        let peers: Arc<dyn Peers> = book.clone();
        let log_store = begin_log(&config.disk, log, tasks)?;
        let (log, stop) = (LogReader::of(&log_store), tasks.stop());
        let opening = Repair { config: &config, seat: &seat, peers: &*peers, log: log.clone(), stop };
        let replica = Arc::new(opening.open_complete(&required).await?);
        let network = Factory { me: identity.node_id.get(), peers: peers.clone(), haste: Haste::new() };
        let raft =
            Handle::start(raft_config, network, log_store, StateMachine::of(replica.clone()), entropy.u64())
                .await;
        let raft = raft.inspect_err(|_| {
            if replica.health.is_quarantined() {
                repair::condemn(&config.disk);
            }
        })?;
        replica.run();
        raft.found(founding_members(&seat.place())).await?;

        let heard = Arc::new(Heard::default());
        let view = raft.view();
        let (leader_tx, leader) = watch::channel(upkeep::leader_of(&view));
        let patience = config.timings.silence_max();
        let now = upkeep::status_of(view, &replica, &identity, (&heard, patience));
        book.learn_members(&now.members);
        let (is_led_tx, is_led) = watch::channel(now.leader.is_some());
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
            book,
            seat,
            heard,
            quorum_lost: ArcSwapOption::empty(),
            clock,
            origin: process,
            entropy,
            timings: config.timings,
            learners_max: config.learners_max,
            space: Space::new(config.quota_bytes, config.disk_reserve_bytes),
            limits: config.limits,
            leases: lease_book,
            serial: AtomicU64::new(0),
            proposals,
            hashing: accounts::hashing(),
            read_index,
            log,
            claims,
            offered: Offered::default(),
            rebuilding: tokio::sync::Mutex::default(),
            status,
            leader,
            is_led,
        });
        let told = upkeep::Told { status: status_tx, leader: leader_tx, is_led: is_led_tx };
        leases::start(&store, lease_questions, tasks);
        start_tasks(&store, &config, Inboxes { told, inbox, proposed, claimed }, tasks);
        info!(name = %identity.name, node = %identity.node_id, "the store has started");
        Ok(Self { service: Service::of(store.clone()), store, identity })
    }
}

/// What the node's tasks are fed by.
struct Inboxes {
    told: upkeep::Told,
    inbox: mpsc::Receiver<Waiting>,
    proposed: mpsc::Receiver<Bundle>,
    claimed: mpsc::Receiver<audit::Claim>,
}

fn start_tasks(store: &Store, config: &NodeConfig, inboxes: Inboxes, tasks: &Tasks) {
    let Inboxes { told, inbox, proposed, claimed } = inboxes;
    let Inner { raft, replica, .. } = store.inner().as_ref();
    let (raft, replica) = (raft.clone(), replica.clone());
    let stop = tasks.stop();
    tasks.spawn("store status", upkeep::publish(store.clone(), told, stop.clone()));
    let snapshots =
        upkeep::take_snapshots(raft.clone(), replica.clone(), config.snapshot_every_entries, stop.clone());
    tasks.spawn("store snapshots", snapshots);
    tasks.spawn_infallible("store watch hub", watch_hub(replica.clone(), stop.clone()));
    tasks.spawn("store cleaning", upkeep::clean(replica.clone(), stop.clone()));
    let auditor = Auditor { store: store.clone(), claims: claimed };
    tasks.spawn_infallible("store audit", auditor.run(stop.clone()));
    tasks.spawn("store history", history::keep(store.clone(), config.history, stop.clone()));
    tasks.spawn_infallible("store space", keep_room(store.clone(), stop.clone()));
    ProposalTask { store: store.clone(), inbox: proposed }.spawn(tasks);
    ReadIndexTask { store: store.clone(), inbox }.spawn(tasks);
    let steward = Steward { announce: store.inner().seat.addresses.clone(), store: store.clone() };
    tasks.spawn("store steward", steward.run(stop.clone()));
    tasks.spawn_infallible("store shutdown", shut_down(raft, replica, stop.clone()));
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
    fn waits(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    fn failed(&self, error: std::io::Error) -> StartError {
        match self {
            Self::Directory(path) => StartError::open(path, error),
            Self::Memory(_) => StartError::open(Path::new("memory"), error),
        }
    }
}

/// A log that ends before what this member has said to be durable was put back from a copy, or lies on a disk that lies.
/// A leader of an earlier vote than the log's own knows nothing: what it was told may have been replaced since.
struct Required {
    /// Term and leader, of the last vote in the log.
    vote: (u64, u64),
    acknowledged: Option<Acknowledged>,
}

impl Required {
    fn of(disk: &Disk, log: &dyn LogDisk, acknowledged: Option<Acknowledged>) -> Result<Self, StartError> {
        let vote = log.load().and_then(|head| head.vote.as_deref().map(record::decode_vote).transpose());
        let vote = vote.map_err(|error| disk.failed(error))?;
        let vote = vote.map_or((0, 0), |vote| (vote.leader_id.term, vote.leader_id.node_id));
        Ok(Self { vote, acknowledged })
    }

    /// `last`: the end of what is there.
    fn check(&self, last: u64) -> Result<(), StartError> {
        match self.acknowledged {
            Some(Acknowledged { vote, index })
                if vote >= self.vote && last < index && !seeded::is(Bug::DamagedLogIsCut) =>
            {
                Err(StartError::Outdated { last, acknowledged: index })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Its writes are a task of their own.
fn begin_log(disk: &Disk, log: Arc<dyn LogDisk>, tasks: &Tasks) -> Result<LogStore, StartError> {
    let (log_store, writer) = log_store::open(log).map_err(|error| disk.failed(error))?;
    tasks.spawn("store log writer", writer.run());
    Ok(log_store)
}

async fn open_log_of(disk: &Disk, seat: &Seated) -> Result<Arc<dyn LogDisk>, StartError> {
    let path = match disk {
        Disk::Memory(memory) => {
            let log = memory.open_log().map_err(|error| cannot_open_log(Path::new("memory"), error))?;
            seat.save_started()?;
            return Ok(log);
        }
        Disk::Directory(path) => path.clone(),
    };
    let seat = seat.clone();
    let opened = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&path).map_err(|error| StartError::open(&path, error))?;
        if seat.place().started && !path.join("log").exists() {
            let gone = std::io::Error::new(std::io::ErrorKind::InvalidData, "the log is gone");
            return Err(StartError::open(&path, gone));
        }
        let log = open_log(&path)?;
        seat.save_started()?;
        Ok(log)
    });
    opened.await.map_err(|error| disk.failed(std::io::Error::other(error)))?
}

pub(crate) fn open_log(dir: &Path) -> Result<Arc<dyn LogDisk>, StartError> {
    let log = SegmentedLog::open(&dir.join("log")).map_err(|error| cannot_open_log(dir, error))?;
    Ok(Arc::new(log))
}

fn cannot_open_log(dir: &Path, error: LogOpenError) -> StartError {
    match error {
        LogOpenError::Io(error) => StartError::open(dir, error),
        LogOpenError::Corrupt { path, offset, what } => {
            StartError::CorruptLog { file: path.display().to_string(), offset, what }
        }
    }
}

/// The network of a node that has no peers.
pub(crate) struct NoPeers;

pub(crate) fn nobody() -> PeerError {
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
