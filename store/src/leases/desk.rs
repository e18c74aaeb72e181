//! Questions about leases, from this node's clients to whoever leads, many in one call.
//!
//! Only a leader that has just proved that it leads may speak about time, and a proof is a round to the others. A
//! thousand keepalives share one round, and one call from the node that took them to the leader.

use base::LeaseId;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::StoreError;
use crate::mvcc::lease;
use crate::store::Store;

/// How many questions share a call, and how many may wait.
pub(crate) const QUESTIONS_MAX: usize = 4096;
/// Calls in flight: one that waits for a leader does not hold up the next for ever.
const CALLS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeaseQuestion {
    /// Start its time anew.
    KeepAlive(LeaseId),
    TimeToLive(LeaseId),
}

impl LeaseQuestion {
    fn lease(self) -> LeaseId {
        let (Self::KeepAlive(id) | Self::TimeToLive(id)) = self;
        id
    }
}

/// Seconds; `None`: there is no such lease.
pub(crate) type LeaseAnswer = Option<i64>;

pub(crate) struct Asked {
    question: LeaseQuestion,
    answer: oneshot::Sender<Result<LeaseAnswer, StoreError>>,
}

impl Store {
    pub(crate) async fn ask_about_lease(&self, question: LeaseQuestion) -> Result<LeaseAnswer, StoreError> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { question, answer };
        self.inner().leases.desk.send(asked).await.map_err(|_| StoreError::Stopping)?;
        answered.await.map_err(|_| StoreError::Stopping)?
    }

    /// Answers as the leader; `None`: we do not lead, or cannot prove that we do.
    pub(crate) async fn serve_lease_questions(
        &self,
        questions: Vec<LeaseQuestion>,
    ) -> Option<Vec<LeaseAnswer>> {
        let index = self.serve_read_index().await?;
        let replica = self.replica();
        replica.wait_for_index(index).await;
        let found = replica.read(false, move |view, _| {
            let find = |question: &LeaseQuestion| lease::find(view, question.lease());
            let found: Result<Vec<_>, _> = questions.iter().map(find).collect();
            Ok((questions.clone(), found?))
        });
        let (questions, found) = match found.await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "cannot read the leases");
                return None;
            }
        };
        let now = Instant::now();
        let answers = questions.into_iter().zip(found).map(|(question, lease)| match (question, lease) {
            (_, None) => None,
            (LeaseQuestion::KeepAlive(_), Some(lease)) => self.inner().leases.renew(lease, now),
            (LeaseQuestion::TimeToLive(_), Some(lease)) => {
                Some(self.inner().leases.remaining_seconds(lease, now))
            }
        });
        Some(answers.collect())
    }
}

/// Carries this node's questions to the leader. Those that arrive while it is asked share the next call.
pub(crate) async fn serve(store: Store, mut inbox: mpsc::Receiver<Asked>, stop: CancellationToken) {
    let mut calls = FuturesUnordered::new();
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = calls.next(), if !calls.is_empty() => {}
            count = inbox.recv_many(&mut waiting, QUESTIONS_MAX), if calls.len() < CALLS_MAX => {
                if count == 0 {
                    return;
                }
                calls.push(ask(&store, std::mem::take(&mut waiting)));
            }
        }
    }
}

async fn ask(store: &Store, asked: Vec<Asked>) {
    let questions = asked.iter().map(|asked| asked.question).collect();
    let mut answers = match store.ask_leader_about_leases(questions).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); asked.len()],
    };
    answers.resize(asked.len(), Err(StoreError::Timeout));
    for (asked, answer) in asked.into_iter().zip(answers) {
        // Whoever asked may have gone.
        let _ = asked.answer.send(answer);
    }
}
