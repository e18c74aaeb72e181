//! Linearizable reads by ReadIndex: one question to the leader for all reads that wait on this node.

use base::{Revision, Tasks};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Store;
use crate::disk::codec;
use crate::error::StoreError;
use crate::metrics;
use crate::mvcc::newest::Newest;
use crate::mvcc::overlay::Overlay;
use crate::mvcc::request::{Txn, TxnResult};
use crate::mvcc::txn::{Stop, Writer};
use crate::mvcc::validate;
use crate::raft::peers::Call;
use crate::seeded::{self, Bug};

/// A read that waits to hear up to which log index it must see.
pub(crate) type Waiting = oneshot::Sender<Result<u64, StoreError>>;

/// How many reads may wait for the next round.
pub(crate) const WAITING_MAX: usize = 4096;

impl Store {
    /// Waits until this node has applied everything that was acknowledged before the call, and returns its revision.
    ///
    /// # Errors
    /// When no leader could be asked in time.
    pub async fn read_barrier(&self) -> Result<Revision, StoreError> {
        self.require_sound()?;
        self.require_quorum()?;
        if seeded::is(Bug::ReadWithoutReadIndex) {
            return Ok(self.revision());
        }
        let (answer, index) = oneshot::channel();
        self.inner.read_index.send(answer).await.map_err(|_| StoreError::Stopping)?;
        let index = index.await.map_err(|_| StoreError::Stopping)??;
        let applied = self.inner.replica.wait_for_index(index);
        timeout(self.inner.timings.request_timeout, applied).await.map_err(|_| StoreError::Timeout)?;
        Ok(self.revision())
    }

    /// Answers a follower's question; `None`: we do not lead, or cannot prove that we do.
    pub(crate) async fn serve_read_index(&self) -> Option<u64> {
        self.require_sound().ok()?;
        // Every call is a fresh round: an earlier answer must never serve a later question.
        self.inner.raft.read_index(self.inner.timings.round_timeout()).await
    }

    pub(super) async fn read_txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        if !validate::is_serializable(&txn) {
            self.read_barrier().await?;
        }
        self.may(|rights| rights.txn(&txn))?;
        let found = self.inner.replica.read(true, move |view, horizon| {
            let mut rows = Overlay::new(view);
            match Writer::new(&mut rows, &mut Newest::default(), horizon, 0).run(&txn) {
                Ok(result) => Ok(Ok((result, txn))),
                Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
                Err(Stop::Failed(failure)) => Err(failure),
            }
        });
        let (result, txn) = found.await.map_err(|error| self.unreadable(&error))??;
        self.may(|rights| rights.txn(&txn))?;
        Ok(result)
    }

    /// Asks until somebody answers or the request's time is over.
    async fn confirm_read_index(&self) -> Result<u64, StoreError> {
        let deadline = Instant::now() + self.inner.timings.request_timeout;
        let mut failure = StoreError::NoLeader;
        while Instant::now() < deadline {
            let leader = self.leader();
            let index = match &leader {
                None => None,
                Some(leader) if leader.id == self.inner.identity.node_id => self.serve_read_index().await,
                Some(leader) => {
                    let wait = self.inner.timings.round_timeout();
                    let asked = self.inner.peers.call(leader, Call::ReadIndex, bytes::Bytes::new(), wait);
                    match timeout(wait, asked).await {
                        Ok(Ok(answer)) => codec::decode::<Option<u64>>(&answer).ok().flatten(),
                        Ok(Err(_)) | Err(_) => None,
                    }
                }
            };
            if let Some(index) = index {
                return Ok(index);
            }
            failure = if leader.is_some() { StoreError::Timeout } else { StoreError::NoLeader };
            self.wait_for_other_leader(leader.map(|leader| leader.id), deadline).await;
        }
        metrics::count_failed_read_index();
        Err(failure)
    }
}

/// Runs one round at a time; reads that arrive meanwhile share the next one.
pub(crate) struct ReadIndexTask {
    pub(crate) store: Store,
    pub(crate) inbox: mpsc::Receiver<Waiting>,
}

impl ReadIndexTask {
    pub(crate) fn spawn(self, tasks: &Tasks) {
        tasks.spawn_infallible("store read index", self.run(tasks.stop().clone()));
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                count = self.inbox.recv_many(&mut waiting, WAITING_MAX) => if count == 0 { return },
            }
            let index = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                index = self.store.confirm_read_index() => index,
            };
            for answer in waiting.drain(..) {
                let _ = answer.send(index.clone());
            }
        }
    }
}
