//! What a node does beside serving: publishing its status, taking snapshots, cleaning after compactions, and stopping
//! the process when Raft has stopped.

use std::sync::Arc;

use base::{NodeId, Revision};
use bytes::Bytes;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::metrics;
use crate::mvcc::compaction::{self, Step};
use crate::mvcc::layout;
use crate::mvcc::tables::{Table, TableError};
use crate::node::Identity;
use crate::raft::replica::Replica;
use crate::raft::types::Raft;
use crate::status::{Member, Role, Status};

/// Up to where superseded rows are gone. This node's own business: it is not part of the replicated state.
const CLEANED: &[u8] = b"cleaned";
/// How many rows one step of cleaning looks at, before others get their turn.
const CLEAN_ROWS_MAX: usize = 1000;

/// Why Raft stopped. The process stops with it.
#[derive(Debug, Error)]
pub(crate) enum UpkeepError {
    #[error("raft has stopped: {reason}")]
    RaftStopped { reason: String },
    #[error("cannot clean up after a compaction")]
    Clean(#[source] TableError),
}

pub(crate) fn status_of(raft: &Raft, replica: &Replica, identity: &Identity) -> Status {
    let progress = replica.progress();
    let receiver = raft.metrics();
    let metrics = receiver.borrow_watched().clone();
    let role = match (&metrics.running_state, metrics.state) {
        (Err(_), _) | (Ok(()), ServerState::Shutdown) => Role::Stopped,
        (Ok(()), ServerState::Leader) => Role::Leader,
        (Ok(()), ServerState::Follower) => Role::Follower,
        (Ok(()), ServerState::Candidate) => Role::Candidate,
        (Ok(()), ServerState::Learner) => Role::Learner,
    };
    let membership = metrics.membership_config.membership();
    let voters: Vec<u64> = membership.voter_ids().collect();
    let members = membership.nodes().map(|(id, member)| Member {
        id: NodeId::new(*id),
        name: member.name.clone(),
        peer_url: member.peer_url.clone(),
        client_urls: member.client_urls.clone(),
        is_learner: !voters.contains(id),
    });
    Status {
        cluster_id: identity.cluster_id,
        node_id: identity.node_id,
        name: identity.name.clone(),
        role,
        leader: metrics.current_leader.map(NodeId::new),
        term: metrics.vote.leader_id.term,
        applied_index: progress.applied,
        committed_index: metrics.local_committed.map_or(0, |id| id.index).max(progress.applied),
        revision: progress.horizon.newest,
        compacted: progress.horizon.compacted,
        db_size_bytes: replica.disk.size_bytes(),
        members: members.collect(),
    }
}

/// Publishes the status, and fails when Raft has stopped on its own.
pub(crate) async fn publish(
    raft: Raft,
    replica: Arc<Replica>,
    identity: Identity,
    status: watch::Sender<Status>,
    stop: CancellationToken,
) -> Result<(), UpkeepError> {
    let mut changes = raft.metrics();
    loop {
        let failure = changes.borrow_watched().running_state.clone().err();
        let now = status_of(&raft, &replica, &identity);
        metrics::observe_status(&now);
        let before = status.send_replace(now);
        let leader = status.borrow().leader;
        if before.leader != leader {
            metrics::count_leader_change();
            info!(leader = ?leader.map(NodeId::get), term = status.borrow().term, "the leader has changed");
        }
        if let Some(failure) = failure {
            if stop.is_cancelled() {
                return Ok(());
            }
            return Err(UpkeepError::RaftStopped { reason: failure.to_string() });
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = changes.changed() => if changed.is_err() {
                return Err(UpkeepError::RaftStopped { reason: "its task has ended".to_owned() });
            },
        }
    }
}

/// Takes a snapshot each time enough entries were applied, so that the log stays short and a restart quick.
pub(crate) async fn take_snapshots(
    raft: Raft,
    replica: Arc<Replica>,
    every_entries: u64,
    stop: CancellationToken,
) -> Result<(), UpkeepError> {
    let mut progress = replica.watch_progress();
    let mut taken = raft.metrics().borrow_watched().snapshot.map_or(0, |id| id.index);
    loop {
        let due = taken + every_entries;
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            reached = progress.wait_for(|progress| progress.applied >= due) => match reached {
                Ok(progress) => taken = progress.applied,
                Err(_) => return Ok(()),
            },
        }
        if let Err(fatal) = raft.trigger().snapshot().await {
            debug!(error = %fatal, "no snapshot: raft is stopping");
            return Ok(());
        }
    }
}

/// Deletes what compactions made unreachable, step by step, at this node's own pace.
pub(crate) async fn clean(replica: Arc<Replica>, stop: CancellationToken) -> Result<(), UpkeepError> {
    let mut progress = replica.watch_progress();
    loop {
        let compacted = progress.borrow_and_update().horizon.compacted;
        loop {
            let cleaned = clean_step(&replica, compacted).await.map_err(UpkeepError::Clean)?;
            if cleaned >= compacted {
                break;
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            moved = progress.wait_for(|progress| progress.horizon.compacted > compacted) => {
                if moved.is_err() { return Ok(()) }
            },
        }
    }
}

async fn clean_step(replica: &Arc<Replica>, compacted: Revision) -> Result<Revision, TableError> {
    let step = replica.read(true, move |view, _| {
        let cleaned = match view.get(Table::Meta, CLEANED)? {
            Some(row) => Revision::new(layout::decode_i64("meta", &row)?),
            None => Revision::new(0),
        };
        if cleaned >= compacted {
            return Ok(None);
        }
        compaction::step(view, cleaned, compacted, CLEAN_ROWS_MAX).map(Some)
    });
    let Some(Step { mut changes, clean_below }) = step.await? else { return Ok(compacted) };
    let row = Bytes::copy_from_slice(&clean_below.get().to_be_bytes());
    changes.put(Table::Meta, Bytes::from_static(CLEANED), row);
    replica.disk.write(&changes)?;
    Ok(clean_below)
}
