//! What only the leader can answer: writes, and questions about leases.
//!
//! A write keeps its request id however often it is proposed, and the state machine applies each id once. So a lost
//! answer, or a leader that dies, is followed by another attempt, within the time that the request has.

use base::NodeId;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

use super::Store;
use crate::disk::codec;
use crate::error::StoreError;
use crate::leases::desk::{LeaseAnswer, LeaseQuestion};
use crate::metrics;
use crate::mvcc::auth::permit::By;
use crate::mvcc::machine::{Action, Command, Outcome, Reply};
use crate::raft::commands::Commands;
use crate::raft::membership::MemberChange;
use crate::raft::peers::{Call, Peer};
use crate::status::Member;

/// How long to wait before asking the same node again when nothing was heard of another leader.
const RETRY_AFTER: Duration = Duration::from_millis(25);

/// What a node asks of the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Forwarded {
    /// Encoded [`Command`]s.
    Propose(Commands),
    Leases(Vec<LeaseQuestion>),
    Member(MemberChange),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ForwardAnswer {
    /// One for each command.
    Outcomes(Vec<Outcome>),
    /// One for each question.
    Leases(Vec<LeaseAnswer>),
    Member(Result<Member, StoreError>),
    /// Ask somebody else.
    NotLeader,
}

impl Store {
    /// Gets an action applied, once, and returns what it did.
    pub(crate) async fn propose(&self, action: Action) -> Result<Reply, StoreError> {
        self.require_sound()?;
        self.propose_about_itself(action).await
    }

    /// As [`Self::propose`], also of a member that serves nobody.
    pub(crate) async fn propose_about_itself(&self, action: Action) -> Result<Reply, StoreError> {
        self.require_quorum()?;
        let by = self.by()?;
        let request = self.request_id(&action);
        let command = codec::encode(&Command { request, by, fence: self.options.fence.clone(), action });
        let outcome = self.submit(command).await;
        if matches!(outcome, Err(StoreError::Timeout | StoreError::NoLeader)) {
            metrics::count_failed_proposal();
        }
        outcome
    }

    pub(crate) async fn ask_leader_about_leases(
        &self,
        questions: Vec<LeaseQuestion>,
    ) -> Result<Vec<LeaseAnswer>, StoreError> {
        self.require_sound()?;
        self.require_quorum()?;
        match self.ask_leader(&Forwarded::Leases(questions)).await? {
            ForwardAnswer::Leases(answers) => Ok(answers),
            ForwardAnswer::Outcomes(_) | ForwardAnswer::Member(_) | ForwardAnswer::NotLeader => {
                Err(StoreError::Timeout)
            }
        }
    }

    pub(crate) async fn ask_leader_to_change_members(
        &self,
        change: MemberChange,
    ) -> Result<Member, StoreError> {
        self.require_quorum()?;
        match self.ask_leader(&Forwarded::Member(change)).await? {
            ForwardAnswer::Member(changed) => changed,
            ForwardAnswer::Outcomes(_) | ForwardAnswer::Leases(_) | ForwardAnswer::NotLeader => {
                Err(StoreError::Timeout)
            }
        }
    }

    /// Serves what another node forwarded.
    pub(crate) async fn serve_forwarded(&self, question: Forwarded) -> ForwardAnswer {
        match question {
            Forwarded::Propose(commands) => self.submit_forwarded(&commands).await,
            Forwarded::Leases(questions) => match self.serve_lease_questions(questions).await {
                Some(answers) => ForwardAnswer::Leases(answers),
                None => ForwardAnswer::NotLeader,
            },
            Forwarded::Member(change) => match self.change_members_here(change).await {
                Err(StoreError::NoLeader) => ForwardAnswer::NotLeader,
                changed => ForwardAnswer::Member(changed),
            },
        }
    }

    /// The leader as this node knows it.
    pub(super) fn leader(&self) -> Option<Peer> {
        self.inner.leader.borrow().clone()
    }

    /// Returns when somebody else leads, or after a moment.
    pub(super) async fn wait_for_other_leader(&self, asked: Option<NodeId>, deadline: Instant) {
        let until = if asked.is_some() { deadline.min(Instant::now() + RETRY_AFTER) } else { deadline };
        let _ = timeout_at(until, self.other_leader(asked)).await;
    }

    pub(super) async fn other_leader(&self, asked: Option<NodeId>) {
        let mut leader = self.inner.leader.clone();
        let changed = leader
            .wait_for(|leader| leader.as_ref().is_some_and(|leader| Some(leader.id) != asked))
            .await
            .is_ok();
        if !changed {
            // The node is stopping: whoever waits runs into the deadline.
            std::future::pending::<()>().await;
        }
    }

    /// Asks whoever leads, again and again while nobody answers.
    async fn ask_leader(&self, question: &Forwarded) -> Result<ForwardAnswer, StoreError> {
        let deadline = Instant::now() + self.inner.timings.request_timeout;
        let mut asked_somebody = false;
        while Instant::now() < deadline {
            let leader = self.leader();
            if let Some(leader) = &leader {
                asked_somebody = true;
                let answer = tokio::select! {
                    biased;
                    answer = self.ask(leader, question.clone(), deadline) => answer,
                    () = self.other_leader(Some(leader.id)) => None,
                };
                match answer {
                    Some(ForwardAnswer::NotLeader) | None => {}
                    Some(answer) => return Ok(answer),
                }
            }
            self.wait_for_other_leader(leader.map(|leader| leader.id), deadline).await;
        }
        // An attempt that was not answered may have got into the log.
        Err(if asked_somebody { StoreError::Timeout } else { StoreError::NoLeader })
    }

    pub(super) async fn ask(
        &self,
        leader: &Peer,
        question: Forwarded,
        deadline: Instant,
    ) -> Option<ForwardAnswer> {
        if leader.id == self.inner.identity.node_id {
            // The futures behind it nest deep, and are rare: writes have a way of their own.
            let served: BoxFuture<'_, _> = Box::pin(self.serve_forwarded(question));
            return timeout_at(deadline, served).await.ok();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let call = self.inner.peers.call(leader, Call::Forward, codec::encode(&question), left);
        match timeout_at(deadline, call).await {
            Ok(Ok(answer)) => codec::decode(&answer).ok(),
            Ok(Err(error)) => {
                tracing::debug!(leader = %leader.id, %error, "the leader did not answer");
                None
            }
            Err(_) => None,
        }
    }

    /// Gets an action applied by this node's own log, or not at all; `None`: this node does not lead.
    pub(crate) async fn propose_as_leader(&self, action: Action) -> Option<Outcome> {
        let request = self.request_id(&action);
        let command = codec::encode(&Command { request, by: By::Process, fence: None, action });
        match self.submit_forwarded(&Commands::pack(std::iter::once(&command))).await {
            ForwardAnswer::Outcomes(outcomes) => outcomes.into_iter().next(),
            ForwardAnswer::Leases(_) | ForwardAnswer::Member(_) | ForwardAnswer::NotLeader => None,
        }
    }
}
