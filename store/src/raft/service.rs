//! The answering side of the network: what other nodes ask of this one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use openraft::storage::Snapshot;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::network::SnapshotHead;
use super::peers::{Call, Intake, PeerError, PeerService, SnapshotFile};
use super::state_machine::SnapshotData;
use super::types::{Raft, TypeConfig};
use crate::disk::{Arrived, codec};
use crate::store::Store;

/// Appends of one stream that raft has and that are not durable yet.
const APPENDS_MAX: usize = 64;

/// When a leader was heard last.
pub(crate) struct Heard {
    started: Instant,
    leader: watch::Sender<Option<Instant>>,
}

impl Default for Heard {
    fn default() -> Self {
        Self { started: Instant::now(), leader: watch::Sender::new(None) }
    }
}

impl Heard {
    fn now(&self) {
        self.leader.send_replace(Some(Instant::now()));
    }

    /// For how long no leader was heard.
    pub(crate) fn silence(&self) -> Duration {
        self.leader.borrow().map_or(Duration::MAX, |leader| leader.elapsed())
    }

    /// Changes whenever a leader is heard.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<Instant>> {
        self.leader.subscribe()
    }

    pub(crate) fn leader_within(&self, time: Duration) -> bool {
        self.silence() < time
    }

    /// The start counts, too: a node that has just started has had no time to hear anybody.
    pub(crate) fn within(&self, time: Duration) -> bool {
        self.started.elapsed() < time || self.leader_within(time)
    }
}

/// Serves this node to its peers.
#[derive(Clone)]
pub(crate) struct Service {
    store: Store,
}

impl Service {
    pub(crate) fn of(store: Store) -> Arc<dyn PeerService> {
        Arc::new(Self { store })
    }

    async fn answer(&self, call: Call, payload: Bytes) -> Result<Bytes, PeerError> {
        let raft = self.store.inner().raft.raft();
        match call {
            Call::Append | Call::Heartbeat => {
                self.store.inner().heard.now();
                let request = decode(&payload)?;
                Ok(codec::encode(&append(raft.clone(), request).await?))
            }
            Call::Vote => Ok(codec::encode(&raft.vote(decode(&payload)?).await.map_err(refused)?)),
            Call::PreVote => Ok(codec::encode(&raft.pre_vote(decode(&payload)?).await.map_err(refused)?)),
            Call::TransferLeader => {
                let done = raft.handle_transfer_leader(decode(&payload)?).await.map_err(refused)?;
                Ok(codec::encode(&done))
            }
            Call::Forward => Ok(codec::encode(&self.store.serve_forwarded(decode(&payload)?).await)),
            Call::Audit => Ok(codec::encode(&self.store.serve_audit(decode(&payload)?).await)),
            Call::Introduce => Ok(codec::encode(&self.store.welcome(decode(&payload)?).await)),
            Call::ReadIndex => {
                let index = self.store.serve_read_index().await;
                self.store.inner().raft.announce_at_once();
                Ok(codec::encode(&index))
            }
        }
    }
}

/// openraft's own stream of appends would do the same with a task and a queue between this and its loop. Its loop gets
/// the requests in the order in which these are polled first, if nothing but a full queue makes them wait there.
async fn append(
    raft: Raft,
    request: AppendEntriesRequest<TypeConfig>,
) -> Result<StreamAppendResult<TypeConfig>, PeerError> {
    let previous = request.prev_log_id;
    let last = request.entries.last().map(|entry| entry.log_id).or(previous);
    let answer = raft.append_entries(request).await.map_err(refused)?;
    Ok(answer.into_stream_result(previous, last))
}

fn decode<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, PeerError> {
    codec::decode(payload).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> PeerError {
    PeerError::Refused(error.to_string())
}

impl PeerService for Service {
    fn call(&self, call: Call, payload: Bytes) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(self.answer(call, payload))
    }

    fn append_stream(
        &self,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        // A request that cannot be read ends the stream; the leader opens another.
        let requests = requests.map(|request| codec::decode(&request)).take_while(|request| {
            let readable = request.is_ok();
            async move { readable }
        });
        // The stream may outlive the node, whose files it must not hold.
        let heard = self.store.inner().heard.clone();
        let requests = requests.filter_map(move |request| {
            heard.now();
            async move { request.ok() }
        });
        let raft = self.store.inner().raft.raft().clone();
        // A task that has used up its turn would have them wait for the next, and wakes the last of them first.
        let answers = requests.map(move |request| unconstrained(append(raft.clone(), request)));
        let answers = answers.buffered(APPENDS_MAX);
        let answers = futures::stream::unfold(Some(answers.boxed()), |answers| async move {
            let mut answers = answers?;
            let answer = answers.next().await?;
            // A conflict, or another leader, ends the stream: what came behind it was meant for another log.
            let rest = matches!(answer, Ok(Ok(_))).then_some(answers);
            Some((answer.map(|answer| codec::encode(&answer)), rest))
        });
        answers.boxed()
    }

    fn snapshot_intake(
        &self,
        meta: Bytes,
        files: Vec<SnapshotFile>,
    ) -> BoxFuture<'_, Result<Intake, PeerError>> {
        Box::pin(async move {
            let _: SnapshotHead = decode(&meta)?;
            self.store.replica().disk.intake(&files).map_err(refused)
        })
    }

    fn snapshot_install(&self, meta: Bytes, intake: Intake) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async move {
            let SnapshotHead { vote, meta, inline } = decode(&meta)?;
            let snapshot = Snapshot {
                meta,
                snapshot: SnapshotData::Arrived(Arrived { dir: intake.dir, inline, keep: false }),
            };
            let installed = self.store.inner().raft.raft().install_full_snapshot(vote, snapshot).await;
            Ok(codec::encode(&installed.map_err(refused)?))
        })
    }
}

#[cfg(test)]
mod tests;
