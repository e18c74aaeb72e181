//! The handle that everybody else holds.
//!
//! Reads are answered here, from this node's replica, once the leader has confirmed how new they must be. Writes go
//! through the leader's log, wherever it is.

pub(crate) mod accounts;
mod alarms;
pub(crate) mod audit;
pub(crate) mod caller;
pub(crate) mod history;
mod maintenance;
mod members;
mod options;
mod proposals;
mod reads;
pub(crate) mod rebuild;
mod snapshot;
mod space;
pub(crate) mod token;
pub(crate) mod writes;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwapOption;
use base::{Clock, Entropy, LeaseId, Revision, Tasks};
use tokio::sync::{Semaphore, mpsc, watch};

use caller::Caller;
pub use history::History;
pub use maintenance::KeySpaceHash;
pub use options::WriteOptions;
pub(crate) use proposals::{Bundle, ProposalTask, WAITING_MAX as PROPOSALS_MAX};
pub(crate) use reads::{ReadIndexTask, Waiting};
pub use rebuild::RebuildError;
pub(crate) use space::{Space, keep_room};

use crate::error::StoreError;
use crate::hub::Watcher;
use crate::leases::desk::LeaseQuestion;
use crate::leases::{LeaseBook, LeaseStatus};
use crate::limits::Limits;
use crate::mvcc::lease;
use crate::mvcc::machine::{Action, Reply};
use crate::mvcc::request::{Lease, Range, RangeResult, Txn, TxnResult, Watch};
use crate::mvcc::{keyspace, validate};
use crate::node::{Identity, Node, NodeConfig, Timings};
use crate::raft::addresses::AddressBook;
use crate::raft::handle::Handle;
use crate::raft::log_store::LogReader;
use crate::raft::peers::{Peer, Peers};
use crate::raft::replica::Replica;
use crate::raft::service::Heard;
use crate::seat::Seated;
use crate::status::Status;

/// The replicated key space, seen from one node. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    options: WriteOptions,
    /// On whose behalf this handle asks.
    caller: Caller,
}

pub(crate) struct Inner {
    pub(crate) raft: Handle,
    pub(crate) replica: Arc<Replica>,
    pub(crate) identity: Identity,
    pub(crate) peers: Arc<dyn Peers>,
    /// What `peers` looks addresses up in.
    pub(crate) book: Arc<AddressBook>,
    pub(crate) seat: Seated,
    /// When a leader was heard last.
    pub(crate) heard: Arc<Heard>,
    /// Set while so many voters have lost their data that there is no majority without them.
    pub(crate) quorum_lost: ArcSwapOption<StoreError>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) timings: Timings,
    pub(crate) learners_max: usize,
    pub(crate) space: Space,
    pub(crate) limits: Limits,
    pub(crate) leases: LeaseBook,
    /// Names this process in request ids.
    pub(crate) origin: u64,
    pub(crate) serial: AtomicU64,
    pub(crate) proposals: mpsc::Sender<Bundle>,
    /// How many passwords may be hashed at once: each takes a core for a while.
    pub(crate) hashing: Semaphore,
    pub(crate) read_index: mpsc::Sender<reads::Waiting>,
    pub(crate) log: LogReader,
    /// Differences that this replica is to look at.
    pub(crate) claims: mpsc::Sender<audit::Claim>,
    /// The copy that another member is taking.
    pub(crate) offered: rebuild::Offered,
    /// Held while this replica is rebuilt.
    pub(crate) rebuilding: tokio::sync::Mutex<()>,
    pub(crate) status: watch::Receiver<Status>,
    /// The leader that this node knows, also when it has not heard of it for long. Changes far less often than the status.
    pub(crate) leader: watch::Receiver<Option<Peer>>,
    /// Whether a leader was heard of lately.
    pub(crate) is_led: watch::Receiver<bool>,
}

impl Store {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner), caller: Caller::Process, options: WriteOptions::default() }
    }

    /// One voter on the disk in memory, without sockets: the same code as a real node, for tests of other rooms.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn in_memory(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, tasks: &Tasks) -> Self {
        let config = NodeConfig::in_memory();
        let node = Node::start(config, Arc::new(crate::node::NoPeers), clock, entropy, tasks).await;
        node.expect("a node without disk and network has nothing that can fail").store
    }

    /// Reads keys. Linearizable unless `request.serializable`.
    ///
    /// # Errors
    /// When the revision is not readable, or no leader can confirm that this node is up to date.
    pub async fn range(&self, request: Range) -> Result<RangeResult, StoreError> {
        validate::check_span(&request.span)?;
        self.require_sound()?;
        if !request.serializable {
            self.read_barrier().await?;
        }
        self.may(|rights| rights.read(&request.span))?;
        let long = !request.span.is_single();
        let found = self.inner.replica.read(long, move |view, horizon| {
            let at = match horizon.resolve(request.revision) {
                Ok(at) => at,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let found = keyspace::range(view, &request, at)?;
            Ok(Ok((RangeResult { revision: horizon.newest, ..found }, request.span)))
        });
        let (result, span) = found.await.map_err(|error| self.unreadable(&error))??;
        // What was read is as new as the users are now, or older.
        self.may(|rights| rights.read(&span))?;
        Ok(result)
    }

    /// Runs a transaction. One that can change nothing is answered like a range.
    ///
    /// # Errors
    /// [`StoreError::Timeout`] when the outcome is unknown; every other error means that nothing was changed.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        validate::check(&txn, &self.inner.limits)?;
        self.require_sound()?;
        self.make_sure_of_room(space::cost(&txn)).await?;
        if self.options.fence.is_none() && validate::is_read_only(&txn) {
            return self.read_txn(txn).await;
        }
        match self.propose(Action::Txn(txn)).await? {
            Reply::Txn(result) => Ok(result),
            Reply::Compacted
            | Reply::Lease(_)
            | Reply::Revoked(_)
            | Reply::Node(_)
            | Reply::Alarm(_)
            | Reply::AuthChanged => Err(StoreError::Timeout),
        }
    }

    /// Forgets what is older than `at`, which itself stays readable. Space is freed in the background.
    ///
    /// # Errors
    /// When `at` is in the future, or was compacted before.
    pub async fn compact(&self, at: Revision) -> Result<(), StoreError> {
        self.propose(Action::Compact(at)).await.map(drop)
    }

    /// Watches keys on this node's replica, from any revision that is retained.
    ///
    /// # Errors
    /// When the first revision asked for has been compacted.
    pub fn watch(&self, watch: Watch) -> Result<Watcher, StoreError> {
        self.require_sound()?;
        self.may(|rights| rights.read(&watch.span))?;
        let compacted = self.inner.replica.progress().horizon.compacted;
        match watch.start {
            Some(asked) if asked.get() > 0 && asked < compacted => {
                Err(StoreError::Compacted { asked, compacted })
            }
            Some(_) | None => Ok(Watcher::new(self.inner.replica.clone(), watch)),
        }
    }

    /// The newest revision that is applied on this node.
    pub fn revision(&self) -> Revision {
        self.inner.replica.progress().horizon.newest
    }

    /// Waits until this node has applied `revision`.
    pub async fn wait_for(&self, revision: Revision) {
        self.inner.replica.wait_for_revision(revision).await;
    }

    /// The newest revision and the hash of everything that led to it. Equal revisions have equal hashes on all nodes.
    pub fn hash(&self) -> (Revision, u32) {
        let progress = self.inner.replica.progress();
        (progress.horizon.newest, progress.hash)
    }

    /// Grants a lease; [`LeaseId::NONE`] lets the store choose the id. A very short time to live is lengthened to what
    /// survives an election.
    ///
    /// # Errors
    /// When the id is taken, or the time to live too long.
    pub async fn lease_grant(&self, id: LeaseId, ttl_seconds: i64) -> Result<Lease, StoreError> {
        let id = if id.is_none() { self.fresh_lease_id() } else { id };
        self.make_sure_of_room(space::LEASE_COST).await?;
        let ttl_seconds = ttl_seconds.max(self.inner.timings.lease_ttl_seconds_min());
        match self.propose(Action::LeaseGrant(Lease { id, ttl_seconds })).await? {
            Reply::Lease(lease) => Ok(lease),
            Reply::Txn(_)
            | Reply::Compacted
            | Reply::Revoked(_)
            | Reply::Node(_)
            | Reply::Alarm(_)
            | Reply::AuthChanged => Err(StoreError::Timeout),
        }
    }

    /// Ends a lease and deletes its keys; the revision that did, or the newest one if it had none.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] when it does not exist.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, StoreError> {
        match self.propose(Action::LeaseRevoke(id)).await? {
            Reply::Revoked(revision) => Ok(revision),
            Reply::Txn(_)
            | Reply::Compacted
            | Reply::Lease(_)
            | Reply::Node(_)
            | Reply::Alarm(_)
            | Reply::AuthChanged => Err(StoreError::Timeout),
        }
    }

    /// Starts the lease's time anew, and returns it; `None`: there is no such lease.
    ///
    /// # Errors
    /// When no leader answers.
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Option<i64>, StoreError> {
        self.may_end(id).await?;
        self.ask_about_lease(LeaseQuestion::KeepAlive(id)).await
    }

    /// What is left of a lease, and its keys; `None`: there is no such lease.
    ///
    /// # Errors
    /// When no leader answers.
    pub async fn lease_time_to_live(&self, id: LeaseId) -> Result<Option<LeaseStatus>, StoreError> {
        let remaining = self.ask_about_lease(LeaseQuestion::TimeToLive(id)).await?;
        let Some(remaining_seconds) = remaining else { return Ok(None) };
        self.read_barrier().await?;
        let found = self.inner.replica.read(false, move |view, _| {
            let Some(lease) = lease::find(view, id)? else { return Ok(None) };
            Ok(Some(LeaseStatus { lease, remaining_seconds, keys: lease::keys(view, id)? }))
        });
        found.await.map_err(|error| self.unreadable(&error))
    }

    /// Every lease, by id.
    ///
    /// # Errors
    /// When no leader can confirm that this node is up to date.
    pub async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.read_barrier().await?;
        let found = self.inner.replica.read(false, |view, _| lease::all(view)).await;
        let leases = found.map_err(|error| self.unreadable(&error))?;
        self.may_see(&leases).await?;
        Ok(leases)
    }

    /// How this node sees itself and the cluster, now.
    pub fn status(&self) -> Status {
        let Inner { raft, replica, identity, heard, timings, .. } = self.inner.as_ref();
        crate::upkeep::status_of(raft.view(), replica, identity, (heard, timings.silence_max()))
    }

    /// The name that every member was given for its cluster.
    pub fn cluster_name(&self) -> &str {
        &self.inner.seat.file.token
    }

    /// Changes whenever leader, role, members or indexes change.
    pub fn status_changes(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// What this node was told to allow at most.
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.inner.replica
    }
}
