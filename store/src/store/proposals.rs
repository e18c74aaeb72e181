//! The way of writes to the log: whatever waits at a node travels together, as one entry or one message to the leader.
//!
//! A write that finds the way free goes at once. What arrives while others are on their way goes together when those
//! have landed, because an entry costs as much as some twenty writes in it; but nothing waits for long, so that a slow
//! disk or a far member costs a write one round, not two. A write that is not answered is tried again, under its own id,
//! until its time is over.

use std::collections::VecDeque;
use std::time::Duration;

use base::Tasks;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Store;
use super::writes::{ForwardAnswer, Forwarded};
use crate::disk::codec;
use crate::error::StoreError;
use crate::mvcc::machine::{Command, Outcome};
use crate::raft::commands::Commands;
use crate::raft::handle::Proposed;
use crate::raft::peers::Peer;
use crate::raft::types::Proposal;

/// How many writes may wait at a node.
pub(crate) const WAITING_MAX: usize = 8192;
/// How many batches may be on their way from a node.
const FLIGHTS_MAX: usize = 16;
/// While so few commands are on their way, another batch may follow them at once.
const FEW_COMMANDS: usize = 16;
/// The longest that a write waits for those before it to land.
const HELD_MAX: Duration = Duration::from_millis(5);
const BATCH_COMMANDS_MAX: usize = 512;
/// A single command may be larger.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Commands, and who waits for them.
pub(crate) struct Bundle {
    commands: Vec<Bytes>,
    /// Another node asks. If this one does not lead, that one must ask elsewhere.
    forwarded: bool,
    /// It was sent to somebody, and may be in the log.
    asked: bool,
    until: Instant,
    answer: oneshot::Sender<Answer>,
}

enum Answer {
    /// One for each command.
    Outcomes(Vec<Outcome>),
    NotLeader,
    Failed(StoreError),
}

impl Store {
    /// Gets an encoded command applied, wherever the leader is.
    pub(super) async fn submit(&self, command: Bytes) -> Outcome {
        match self.enqueue(vec![command], false).await? {
            Answer::Outcomes(outcomes) => outcomes.into_iter().next().unwrap_or(Err(StoreError::Timeout)),
            Answer::NotLeader => Err(StoreError::Timeout),
            Answer::Failed(error) => Err(error),
        }
    }

    /// Puts what another node has collected into the log here.
    pub(super) async fn submit_forwarded(&self, commands: &Commands) -> ForwardAnswer {
        if self.leader().is_none_or(|leader| leader.id != self.inner.identity.node_id) {
            return ForwardAnswer::NotLeader;
        }
        let Ok(commands) = commands.unpack() else { return ForwardAnswer::NotLeader };
        // In the log it would stop every member that cannot read it.
        if commands.iter().any(|command| codec::decode::<Command>(command).is_err()) {
            tracing::warn!("another member asks for what this one cannot read; it is refused");
            return ForwardAnswer::NotLeader;
        }
        match self.enqueue(commands, true).await {
            Ok(Answer::Outcomes(outcomes)) => ForwardAnswer::Outcomes(outcomes),
            Ok(Answer::NotLeader | Answer::Failed(_)) | Err(_) => ForwardAnswer::NotLeader,
        }
    }

    async fn enqueue(&self, commands: Vec<Bytes>, forwarded: bool) -> Result<Answer, StoreError> {
        let until = Instant::now() + self.inner.timings.request_timeout;
        let (answer, answered) = oneshot::channel();
        let bundle = Bundle { commands, forwarded, asked: false, until, answer };
        self.inner.proposals.send(bundle).await.map_err(|_| StoreError::Stopping)?;
        // Without an answer the node stops, and the write may be in the log.
        answered.await.map_err(|_| StoreError::Timeout)
    }

    /// Makes one entry; `None`: there is no answer.
    async fn propose_here(&self, commands: Commands) -> Option<Vec<Outcome>> {
        self.require_sound().ok()?;
        let progress = self.inner.replica.progress();
        let proposal = Proposal {
            time_ms: self.inner.clock.now().as_millisecond(),
            witness: Some((progress.horizon.newest.get(), progress.hash)),
            commands,
        };
        match self.inner.raft.propose(proposal).await {
            Proposed::Applied(outcomes) => Some(outcomes),
            // What was proposed may still be applied by others.
            Proposed::NotLeader | Proposed::Unknown => None,
        }
    }
}

/// Collects a node's writes and sends them off.
pub(crate) struct ProposalTask {
    pub(crate) store: Store,
    pub(crate) inbox: mpsc::Receiver<Bundle>,
}

impl ProposalTask {
    pub(crate) fn spawn(self, tasks: &Tasks) {
        tasks.spawn_infallible("store proposals", self.run(tasks.stop().clone()));
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut waiting: VecDeque<Bundle> = VecDeque::new();
        let mut arrived = Vec::new();
        let mut flights = FuturesUnordered::new();
        let mut flying = 0;
        let mut departed = Instant::now();
        loop {
            expire(&mut waiting);
            let may_fly = |flights: usize, flying, departed: Instant| {
                flights < FLIGHTS_MAX && (flying <= FEW_COMMANDS || departed.elapsed() >= HELD_MAX)
            };
            if !waiting.is_empty() && may_fly(flights.len(), flying, departed) {
                self.gather(&mut waiting).await;
            }
            while !waiting.is_empty() && may_fly(flights.len(), flying, departed) {
                let batch = take_batch(&mut waiting);
                let commands = batch.iter().map(|bundle| bundle.commands.len()).sum::<usize>();
                flying += commands;
                departed = Instant::now();
                let flight = fly(self.store.clone(), batch);
                flights.push(async move { (commands, flight.await) });
            }
            let wake = match waiting.front() {
                Some(front) if flights.len() < FLIGHTS_MAX => Some(front.until.min(departed + HELD_MAX)),
                front => front.map(|front| front.until),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some((commands, unanswered)) = flights.next(), if !flights.is_empty() => {
                    flying -= commands;
                    for bundle in unanswered.into_iter().rev() {
                        waiting.push_front(bundle);
                    }
                }
                count = self.inbox.recv_many(&mut arrived, WAITING_MAX), if waiting.len() < WAITING_MAX => {
                    if count == 0 {
                        return;
                    }
                    waiting.extend(arrived.drain(..));
                }
                () = sleep_until(wake.unwrap_or(departed)), if wake.is_some() => {}
            }
        }
    }
}

impl ProposalTask {
    /// Takes along whoever is as good as here: the requests that this node has received and not read.
    async fn gather(&mut self, waiting: &mut VecDeque<Bundle>) {
        loop {
            tokio::task::yield_now().await;
            let before = waiting.len();
            while waiting.len() < WAITING_MAX
                && let Ok(bundle) = self.inbox.try_recv()
            {
                waiting.push_back(bundle);
            }
            if waiting.len() == before {
                return;
            }
        }
    }
}

/// Answers those at the front whose time is over, and forgets who waits no more.
fn expire(waiting: &mut VecDeque<Bundle>) {
    let now = Instant::now();
    while let Some(bundle) = waiting.pop_front_if(|bundle| bundle.until <= now || bundle.answer.is_closed()) {
        let error = if bundle.asked { StoreError::Timeout } else { StoreError::NoLeader };
        bundle.reply(Answer::Failed(error));
    }
}

fn take_batch(waiting: &mut VecDeque<Bundle>) -> Vec<Bundle> {
    let mut batch = Vec::new();
    let (mut commands, mut bytes) = (0, 0);
    while let Some(bundle) = waiting.pop_front_if(|bundle| {
        commands += bundle.commands.len();
        bytes += bundle.commands.iter().map(Bytes::len).sum::<usize>();
        batch.is_empty() || (commands <= BATCH_COMMANDS_MAX && bytes <= BATCH_BYTES_MAX)
    }) {
        batch.push(bundle);
    }
    batch
}

/// Sends a batch to whoever leads, answers it, and returns what has to be tried again, after a moment.
async fn fly(store: Store, mut batch: Vec<Bundle>) -> Vec<Bundle> {
    let leader = store.leader();
    let here = leader.as_ref().is_some_and(|leader| leader.id == store.inner.identity.node_id);
    if !here {
        for bundle in batch.extract_if(.., |bundle| bundle.forwarded) {
            bundle.reply(Answer::NotLeader);
        }
    }
    let Some(until) = batch.iter().map(|bundle| bundle.until).max() else { return Vec::new() };
    if let Some(leader) = &leader {
        for bundle in &mut batch {
            bundle.asked = true;
        }
        let commands = Commands::pack(batch.iter().flat_map(|bundle| &bundle.commands));
        let answer = tokio::select! {
            biased;
            outcomes = timeout_at(until, attempt(&store, leader, here, commands, until)) => outcomes.ok().flatten(),
            () = store.other_leader(Some(leader.id)) => None,
        };
        let expected = batch.iter().map(|bundle| bundle.commands.len()).sum::<usize>();
        if let Some(outcomes) = answer.filter(|outcomes| outcomes.len() == expected) {
            let mut outcomes = outcomes.into_iter();
            for bundle in batch {
                let own = outcomes.by_ref().take(bundle.commands.len()).collect();
                bundle.reply(Answer::Outcomes(own));
            }
            return Vec::new();
        }
    }
    for bundle in batch.extract_if(.., |bundle| bundle.forwarded) {
        bundle.reply(Answer::NotLeader);
    }
    store.wait_for_other_leader(leader.map(|leader| leader.id), until).await;
    batch
}

async fn attempt(
    store: &Store,
    leader: &Peer,
    here: bool,
    commands: Commands,
    until: Instant,
) -> Option<Vec<Outcome>> {
    if here {
        return store.propose_here(commands).await;
    }
    match store.ask(leader, Forwarded::Propose(commands), until).await? {
        ForwardAnswer::Outcomes(outcomes) => Some(outcomes),
        ForwardAnswer::Leases(_) | ForwardAnswer::Member(_) | ForwardAnswer::NotLeader => None,
    }
}

impl Bundle {
    fn reply(self, answer: Answer) {
        // Whoever asked may have gone.
        let _ = self.answer.send(answer);
    }
}
