//! What a node does beside serving: publishing its status, taking snapshots, cleaning after compactions, and stopping
//! the process when Raft has stopped.

use std::sync::Arc;
use std::time::Duration;

use base::{NodeId, Revision};
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::failpoint;
use crate::metrics;
use crate::mvcc::compaction::{self, Step};
use crate::mvcc::layout;
use crate::mvcc::tables::{Table, TableError, View};
use crate::node::Identity;
use crate::raft::handle::{Handle, RaftView};
use crate::raft::peers::Peer;
use crate::raft::replica::Replica;
use crate::raft::service::Heard;
use crate::status::Status;
use crate::store::{Inner, Store};

/// Up to where superseded rows are gone. This node's own business: it is not part of the replicated state.
pub(crate) const CLEANED: &[u8] = b"cleaned";
/// How many rows one step of cleaning looks at, before others get their turn.
const CLEAN_ROWS_MAX: usize = 500;
/// How many times as long as a step took cleaning then rests: it takes a share of the disk, whatever the disk's speed.
const CLEAN_REST: u32 = 3;

/// Why Raft stopped. The process stops with it.
#[derive(Debug, Error)]
pub(crate) enum UpkeepError {
    #[error("raft has stopped: {reason}")]
    RaftStopped { reason: String },
    #[error("cannot clean up after a compaction")]
    Clean(#[source] TableError),
}

/// A leader that was not heard of for `patience` counts as lost.
pub(crate) fn status_of(
    view: RaftView,
    replica: &Replica,
    identity: &Identity,
    (heard, patience): (&Heard, Duration),
) -> Status {
    let progress = replica.progress();
    let is_led = silence(&view, identity, heard) < patience;
    Status {
        cluster_id: identity.cluster_id,
        node_id: identity.node_id,
        name: identity.name.clone(),
        role: view.role,
        leader: view.leader.filter(|_| is_led),
        term: view.term,
        applied_index: progress.applied,
        committed_index: view.committed.max(progress.applied),
        revision: progress.horizon.newest,
        compacted: progress.horizon.compacted,
        db_size_bytes: replica.disk.size_bytes(),
        alarms: replica.alarms().all().collect(),
        health: replica.health.get(),
        members: view.members,
    }
}

/// Where the status is published.
pub(crate) struct Told {
    pub(crate) status: watch::Sender<Status>,
    pub(crate) leader: watch::Sender<Option<Peer>>,
    pub(crate) is_led: watch::Sender<bool>,
}

/// Whom to ask, heard of or not.
pub(crate) fn leader_of(view: &RaftView) -> Option<Peer> {
    let id = view.leader?;
    let member = view.members.iter().find(|member| member.id == id)?;
    Some(Peer::from(member))
}

/// For how long this node has been without a sign that its leader leads. Raft itself goes on naming the last one until
/// another is elected.
fn silence(view: &RaftView, identity: &Identity, heard: &Heard) -> Duration {
    if view.leader == Some(identity.node_id) { view.unanswered } else { heard.silence() }
}

/// Publishes the status, and fails when Raft has stopped on its own.
pub(crate) async fn publish(store: Store, told: Told, stop: CancellationToken) -> Result<(), UpkeepError> {
    let Inner { raft, replica, identity, heard, timings, .. } = store.inner().as_ref();
    let Told { status, leader: leader_tx, is_led } = told;
    let patience = timings.silence_max();
    let mut changes = raft.changes();
    let mut health = replica.health.changes();
    let mut heard_again = heard.changes();
    loop {
        heard_again.mark_unchanged();
        let view = raft.view();
        let failure = view.failure.clone();
        let known = leader_of(&view);
        let lost_in = patience.saturating_sub(silence(&view, identity, heard));
        let now = status_of(view, replica, identity, (heard, patience));
        metrics::observe_status(&now);
        is_led.send_if_modified(|is_led| std::mem::replace(is_led, now.leader.is_some()) != *is_led);
        leader_tx.send_if_modified(|leader| {
            let changed = *leader != known;
            leader.clone_from(&known);
            changed
        });
        let (leader, term) = (now.leader, now.term);
        if leader.is_some() && status.borrow().leader != leader {
            metrics::count_leader_change();
            info!(leader = ?leader.map(NodeId::get), term, "the leader has changed");
        }
        // Raft also tells of each heartbeat; nobody needs to wake for that.
        status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
        if let Some(failure) = failure {
            if stop.is_cancelled() {
                return Ok(());
            }
            return Err(UpkeepError::RaftStopped { reason: failure });
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = health.changed() => if changed.is_err() { return Ok(()) },
            () = sleep(lost_in), if known.is_some() && !lost_in.is_zero() => {}
            changed = heard_again.changed(), if lost_in.is_zero() => if changed.is_err() { return Ok(()) },
            changed = changes.changed() => if !changed {
                return Err(UpkeepError::RaftStopped { reason: "its task has ended".to_owned() });
            },
        }
    }
}

/// Takes a snapshot each time enough entries were applied, or keys changed by them, so that the log stays short and a
/// restart quick.
pub(crate) async fn take_snapshots(
    raft: Handle,
    replica: Arc<Replica>,
    every_entries: u64,
    stop: CancellationToken,
) -> Result<(), UpkeepError> {
    let mut progress = replica.watch_progress();
    let mut taken = raft.view().snapshot;
    let mut changes = progress.borrow().changes;
    loop {
        let (due, changes_due) = (taken + every_entries, changes + every_entries);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            reached = progress.wait_for(|now| now.applied >= due || now.changes >= changes_due) => match reached {
                Ok(progress) => (taken, changes) = (progress.applied, progress.changes),
                Err(_) => return Ok(()),
            },
        }
        if !raft.take_snapshot().await {
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
            let began = Instant::now();
            let cleaned = match clean_step(&replica, compacted).await {
                Ok(cleaned) => cleaned,
                Err(error) => {
                    replica.outlive(error).await.map_err(UpkeepError::Clean)?;
                    Revision::new(0)
                }
            };
            if cleaned >= compacted {
                break;
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            sleep(began.elapsed() * CLEAN_REST).await;
        }
        replica.tell_cleaned(compacted);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            moved = progress.wait_for(|progress| progress.horizon.compacted > compacted) => {
                if moved.is_err() { return Ok(()) }
            },
        }
    }
}

/// Below which revision this node has cleaned.
pub(crate) fn cleaned(view: &dyn View) -> Result<Revision, TableError> {
    let row = view.get(Table::Meta, CLEANED)?;
    Ok(Revision::new(row.map_or(Ok(0), |row| layout::decode_i64("meta", &row))?))
}

async fn clean_step(replica: &Arc<Replica>, compacted: Revision) -> Result<Revision, TableError> {
    let step = replica.read(true, move |view, _| {
        let cleaned = cleaned(view)?;
        if cleaned >= compacted {
            return Ok(None);
        }
        compaction::step(view, cleaned, compacted, CLEAN_ROWS_MAX).map(Some)
    });
    let Some(Step { mut changes, clean_below }) = step.await? else { return Ok(compacted) };
    let row = Bytes::copy_from_slice(&clean_below.get().to_be_bytes());
    changes.put(Table::Meta, Bytes::from_static(CLEANED), row);
    failpoint::reach("compaction: nothing deleted");
    replica.disk.write(&changes)?;
    failpoint::reach("compaction: deleted");
    Ok(clean_below)
}
