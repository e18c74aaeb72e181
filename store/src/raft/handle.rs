//! What the rest of the crate asks of openraft, in our words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::{Config, Instant as _, ReadPolicy, ServerState, SnapshotPolicy};
use tokio::time::{Instant, timeout, timeout_at};

use super::announcements::Haste;
use super::log_store::LogStore;
use super::network::Factory;
use super::state_machine::StateMachine;
use super::types::{LogId, MemberRecord, Proposal, Raft, Runtime, TypeConfig, Vote};
use crate::error::StartError;
use crate::mvcc::machine::Outcome;
use crate::node::Timings;
use crate::seeded::{self, Bug};
use crate::status::{Member, Role};

/// A running Raft node.
#[derive(Clone)]
pub(crate) struct Handle {
    raft: Raft,
    haste: Haste,
}

/// What became of a proposal.
pub(crate) enum Proposed {
    /// One outcome for each command.
    Applied(Vec<Outcome>),
    /// Somebody else leads. The proposal may still be in the log.
    NotLeader,
    /// Raft has stopped meanwhile.
    Unknown,
}

/// How Raft sees itself.
pub(crate) struct RaftView {
    pub(crate) role: Role,
    /// Why it has stopped, if it has.
    pub(crate) failure: Option<String>,
    /// Whom this node follows or is, also when it has not been heard of for long.
    pub(crate) leader: Option<NodeId>,
    /// For how long no majority has answered this node, if it leads and needs one.
    pub(crate) unanswered: Duration,
    pub(crate) term: u64,
    pub(crate) committed: u64,
    /// The last log index in the newest snapshot.
    pub(crate) snapshot: u64,
    pub(crate) members: Vec<Member>,
}

/// How many entries stay in the log behind a snapshot, for followers that are only a little behind.
const LOG_KEPT_ENTRIES_MAX: u64 = 5000;
/// How soon a mere progress of the log is told. There is one with each write.
const PROGRESS_TOLD_EVERY: Duration = Duration::from_millis(100);

/// Tells of changes in what [`Handle::view`] returns: at once when somebody else leads, or is a member, and now and then
/// when the log has grown.
pub(crate) struct Changes {
    receiver: openraft::alias::WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    told: Option<Weighty>,
    next: Instant,
    /// The log has grown, and it was not told yet.
    grown: bool,
}

/// What others wait for.
#[derive(PartialEq, Eq)]
struct Weighty {
    state: ServerState,
    leader: Option<u64>,
    vote: Vote,
    membership: Option<LogId>,
    stopped: bool,
}

/// Turns our settings into openraft's.
pub(crate) fn config(timings: &Timings, name: &str, snapshot_every: u64) -> Result<Config, StartError> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: name.to_owned(),
        heartbeat_interval: ms(timings.heartbeat),
        heartbeat_min_interval: Some(0),
        election_timeout_min: ms(timings.election_min),
        election_timeout_max: ms(timings.election_max),
        // Without it, an old leader that reaches only a bridge node keeps a connected majority from electing. It keeps
        // silent for longer than a follower waits that has heard of a greater log: its lease, its timeout, and two more.
        quorum_loss_probe_interval: Some(4 * ms(timings.election_max) + 2 * ms(timings.heartbeat)),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::Never,
        install_snapshot_timeout: 5 * 60 * 1000,
        max_payload_entries: 1024,
        // An entry may hold hundreds of writes.
        max_in_snapshot_log_to_keep: (snapshot_every / 2).min(LOG_KEPT_ENTRIES_MAX),
        replication_lag_threshold: 2 * snapshot_every,
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Timings { reason: error.to_string() })
}

impl Handle {
    /// All that Raft leaves to chance follows from `seed`.
    pub(crate) async fn start(
        config: Config,
        network: Factory,
        log: LogStore,
        machine: StateMachine,
        seed: u64,
    ) -> Result<Self, StartError> {
        let haste = network.haste.clone();
        let raft = Raft::new(network.me, Arc::new(config), network, log, machine);
        // Raft's tasks come from here, and hand the seed on to their own.
        let raft = Runtime::scope(seed, raft).await;
        Ok(Self { raft: raft.map_err(|fatal| StartError::Raft { reason: fatal.to_string() })?, haste })
    }

    /// Founds the cluster, if that has not happened. All founders may do it at once, with the same members.
    pub(crate) async fn found(&self, founders: BTreeMap<u64, MemberRecord>) -> Result<(), StartError> {
        let failed = |reason: String| StartError::Raft { reason };
        if founders.is_empty()
            || self.raft.is_initialized().await.map_err(|fatal| failed(fatal.to_string()))?
        {
            return Ok(());
        }
        match self.raft.initialize(founders).await {
            Ok(()) => Ok(()),
            // Another founder was quicker, and its log has arrived already.
            Err(error) if error.fatal().is_none() => Ok(()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    pub(crate) async fn propose(&self, proposal: Proposal) -> Proposed {
        match self.raft.client_write(proposal).await {
            Ok(written) => Proposed::Applied(written.data),
            Err(RaftError::APIError(
                ClientWriteError::ForwardToLeader(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => Proposed::NotLeader,
            Err(RaftError::Fatal(_)) => Proposed::Unknown,
        }
    }

    /// The log index that a read which starts now must see; `None`: this node cannot prove in time that it leads.
    pub(crate) async fn read_index(&self, within: Duration) -> Option<u64> {
        if seeded::is(Bug::ReadOfFormerLeader) && self.view().role == Role::Leader {
            return Some(self.view().committed);
        }
        match timeout(within, self.raft.get_read_linearizer(ReadPolicy::ReadIndex)).await {
            Ok(Ok(linearizer)) => Some(linearizer.read_log_id().index()),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// A follower's reads wait until it hears what is committed.
    pub(crate) fn announce_at_once(&self) {
        self.haste.hurry();
    }

    pub(crate) fn view(&self) -> RaftView {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow_watched();
        let role = match (&metrics.running_state, metrics.state) {
            (Err(_), _) | (Ok(()), ServerState::Shutdown) => Role::Stopped,
            (Ok(()), ServerState::Leader) => Role::Leader,
            (Ok(()), ServerState::Follower) => Role::Follower,
            (Ok(()), ServerState::Candidate) => Role::Candidate,
            (Ok(()), ServerState::Learner) => Role::Learner,
        };
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let needs_answers = voters.iter().any(|id| *id != metrics.id);
        let answered = metrics.last_quorum_acked.filter(|_| needs_answers);
        let members = membership.nodes().map(|(id, member)| member.member(*id, !voters.contains(id)));
        RaftView {
            role,
            failure: metrics.running_state.as_ref().err().map(ToString::to_string),
            leader: metrics.current_leader.map(NodeId::new),
            unanswered: answered.map_or(Duration::ZERO, |at| at.elapsed()),
            term: metrics.vote.leader_id.term,
            committed: metrics.local_committed.map_or(0, |id| id.index),
            snapshot: metrics.snapshot.map_or(0, |id| id.index),
            members: members.collect(),
        }
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes { receiver: self.raft.metrics(), told: None, next: Instant::now(), grown: false }
    }

    /// Asks for a snapshot; false: Raft has stopped.
    pub(crate) async fn take_snapshot(&self) -> bool {
        self.raft.trigger().snapshot().await.is_ok()
    }

    /// A member that cannot be trusted neither leads nor wants to; its vote and its log still count.
    pub(crate) async fn stand_aside(&self, successor: Option<NodeId>) {
        self.raft.runtime_config().elect(false);
        // A leader that cannot hand over is not heard of any more, so the others elect.
        self.raft.runtime_config().heartbeat(false);
        if let Some(to) = successor
            && let Err(error) = self.raft.trigger().transfer_leader(to.get()).await
        {
            tracing::warn!(%error, "cannot hand the leadership over");
        }
    }

    /// Ends [`Self::stand_aside`].
    pub(crate) fn stand_for_election(&self) {
        self.raft.runtime_config().elect(true);
        self.raft.runtime_config().heartbeat(true);
    }

    pub(crate) async fn shut_down(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(?error, "raft did not stop cleanly");
        }
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.raft
    }
}

impl Changes {
    /// Waits for a change; false: Raft's task has ended.
    pub(crate) async fn changed(&mut self) -> bool {
        loop {
            let changed = self.receiver.changed();
            if self.grown {
                match timeout_at(self.next, changed).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return false,
                    Err(_) => break,
                }
            } else if changed.await.is_err() {
                return false;
            }
            self.grown = true;
            let now = weighty(&self.receiver.borrow_watched());
            if self.told.as_ref() != Some(&now) || self.next <= Instant::now() {
                self.told = Some(now);
                break;
            }
        }
        self.grown = false;
        self.next = Instant::now() + PROGRESS_TOLD_EVERY;
        true
    }
}

fn weighty(metrics: &RaftMetrics<TypeConfig>) -> Weighty {
    Weighty {
        state: metrics.state,
        leader: metrics.current_leader,
        vote: metrics.vote,
        membership: *metrics.membership_config.log_id(),
        stopped: metrics.running_state.is_err(),
    }
}
