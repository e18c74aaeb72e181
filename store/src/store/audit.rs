//! Replicas compare themselves all the time, also when nothing is written, and one that differs takes itself out.
//!
//! The leader looks at the state hash and at one piece of the keys at a time, and asks the others for theirs. Whoever is
//! told of a difference asks everybody and judges only itself: it is wrong when a majority agrees on something else, or,
//! while there is no majority, when it differs from the leader.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{NodeId, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Store;
use super::rebuild::{Chunk, Offer, Wanted};
use crate::disk::codec;
use crate::error::StoreError;
use crate::metrics;
use crate::mvcc::alarm::{Alarm, AlarmChange, AlarmKind, Lasts};
use crate::mvcc::layout;
use crate::mvcc::scrub::{self, Piece};
use crate::mvcc::span::Span;
use crate::mvcc::tables::TableError;
use crate::raft::peers::{Call, Peer};
use crate::status::{Health, Role};

/// How often the leader compares one piece.
const PERIOD: Duration = Duration::from_secs(2);
/// How soon a replica that is under suspicion asks again.
const PERIOD_SUSPECT: Duration = Duration::from_millis(500);
const KEYS_MAX: usize = 1000;
/// How long a member may take to answer, its own catching up included.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// Claims that may wait to be looked at. More are dropped: the next round finds the same difference.
pub(crate) const CLAIMS_MAX: usize = 8;

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Claim {
    /// The state hash of a revision: what was applied up to it.
    Applied(Revision),
    /// What the keys of a span hold at a revision.
    Keys { at: Revision, span: Span },
}

/// What one member asks of another about its replica.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    Hash(Claim),
    /// Somebody has seen a difference: look at yourself.
    LookAt(Claim),
    Offer(Wanted),
    Chunk(Chunk),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// `None`: not known here, or not any more.
    Hash(Option<u32>),
    Noted,
    Offer(Offer),
    Chunk(Bytes),
    Refused(String),
}

/// What the answers of all members say about this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong,
    Open,
}

/// The members' hashes of one claim, as far as they are known.
struct Answers {
    mine: u32,
    votes: bool,
    others: Vec<u32>,
    leaders: Option<u32>,
    voters: usize,
}

impl Answers {
    fn judge(&self) -> Verdict {
        let majority = self.voters / 2 + 1;
        let mut same: BTreeMap<u32, usize> = BTreeMap::new();
        for hash in &self.others {
            *same.entry(*hash).or_default() += 1;
        }
        let agree = same.remove(&self.mine).unwrap_or(0) + usize::from(self.votes);
        if agree >= majority {
            Verdict::Right
        } else if same.values().any(|count| *count >= majority) {
            Verdict::Wrong
        } else {
            Verdict::Open
        }
    }

    fn differs_from_leader(&self) -> bool {
        self.leaders.is_some_and(|leaders| leaders != self.mine)
    }

    fn differs(&self) -> bool {
        self.others.iter().any(|hash| *hash != self.mine)
    }
}

/// Compares for as long as the node runs.
pub(crate) struct Auditor {
    pub(crate) store: Store,
    pub(crate) claims: mpsc::Receiver<Claim>,
}

impl Auditor {
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut from = Bytes::new();
        let mut health = self.store.replica().health.changes();
        let mut aside = false;
        let mut alarmed = false;
        loop {
            let quarantined = self.store.replica().health.is_quarantined();
            if aside != quarantined {
                self.store.stand_aside(quarantined).await;
                aside = quarantined;
            }
            let suspect = matches!(*health.borrow_and_update(), Health::Suspect { .. });
            let pause = if suspect { PERIOD_SUSPECT } else { PERIOD };
            let claim = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                claim = self.claims.recv() => match claim {
                    Some(claim) => Some(claim),
                    None => return,
                },
                changed = health.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = sleep(pause) => None,
            };
            self.store.inner.offered.tidy();
            let round = async {
                self.store.follow_alarm(&mut alarmed).await;
                match claim {
                    Some(claim) => self.store.look_at(&claim).await,
                    None => self.store.round(&mut from).await,
                }
            };
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                done = round => done,
            };
            if let Err(error) = done {
                self.store.replica().failed(&error);
            }
        }
    }
}

impl Store {
    /// Refuses while it is in doubt whether what this node holds is right.
    pub(crate) fn require_sound(&self) -> Result<(), StoreError> {
        if self.inner.replica.health.is_sound() { Ok(()) } else { Err(StoreError::Corrupt) }
    }

    /// What takes a majority need not be tried when there is none, and will be none. A leader that is heard all the same
    /// proves the opposite.
    pub(crate) fn require_quorum(&self) -> Result<(), StoreError> {
        match self.inner.quorum_lost.load().as_deref() {
            Some(lost) if !*self.inner.is_led.borrow() => Err(lost.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// A read that the disk failed. Damage quarantines this member; a device that fails reads fails the next write, too,
    /// which stops the process. The caller only learns that there is no answer.
    pub(super) fn unreadable(&self, error: &TableError) -> StoreError {
        self.inner.replica.failed(error);
        if error.is_damage() { StoreError::Corrupt } else { StoreError::Stopping }
    }

    /// One look of the leader at itself and the others; of a replica under suspicion, at itself.
    pub(crate) async fn round(&self, from: &mut Bytes) -> Result<(), TableError> {
        let health = self.inner.replica.health.get();
        let leads = self.inner.status.borrow().role == Role::Leader;
        if matches!(health, Health::Quarantined { .. }) || (health == Health::Sound && !leads) {
            return Ok(());
        }
        if self.others().is_empty() {
            return Ok(());
        }
        let at = self.revision();
        self.look_at(&Claim::Applied(at)).await?;
        let start = from.clone();
        let piece = self.inner.replica.read(true, move |view, horizon| {
            Ok(match horizon.resolve(Some(at)) {
                Ok(at) => Some(scrub::piece(view, at, &start, KEYS_MAX)?),
                Err(_) => None,
            })
        });
        let Some(Piece { span, next, .. }) = piece.await? else { return Ok(()) };
        *from = next.unwrap_or_default();
        self.look_at(&Claim::Keys { at, span }).await
    }

    /// Asks everybody, judges this replica, and tells the others when they are not of one mind.
    pub(crate) async fn look_at(&self, claim: &Claim) -> Result<(), TableError> {
        let Some(answers) = self.answers(claim).await? else { return Ok(()) };
        metrics::count_comparison();
        let health = self.inner.replica.health.get();
        match (answers.judge(), &health) {
            (Verdict::Wrong, _) => {
                let (mine, others) = (answers.mine, &answers.others);
                self.quarantine(format!("{claim:?}: hash {mine:08x} here, {others:08x?} elsewhere"));
            }
            (Verdict::Right, Health::Suspect { .. }) => {
                info!(?claim, "the majority agrees with this member");
                self.inner.replica.health.set(Health::Sound);
            }
            (Verdict::Open, Health::Sound) if answers.differs_from_leader() => {
                warn!(?claim, "this member differs from the leader, and no majority says who is wrong");
                self.inner.replica.suspect(format!("{claim:?} differs from the leader's"));
            }
            (Verdict::Right | Verdict::Open, _) => {}
        }
        let leads = self.inner.status.borrow().role == Role::Leader;
        if answers.differs() && leads {
            for peer in self.others() {
                let _ = self.ask_member(&peer, &Question::LookAt(claim.clone())).await;
            }
        }
        Ok(())
    }

    /// A member that cannot be trusted must not lead: the others would follow what is wrong.
    async fn stand_aside(&self, aside: bool) {
        if !aside {
            self.inner.raft.stand_for_election();
            return;
        }
        let leads = self.inner.status.borrow().role == Role::Leader;
        let members = self.members();
        let successor = members
            .iter()
            .find(|member| leads && !member.is_learner && member.id != self.inner.identity.node_id);
        self.inner.raft.stand_aside(successor.map(|member| member.id)).await;
    }

    /// Tells all members that this one is corrupt, and later that it is not any more.
    async fn follow_alarm(&self, alarmed: &mut bool) {
        let alarm = Alarm { member: self.inner.identity.node_id, kind: AlarmKind::Corrupt };
        let quarantined = self.inner.replica.health.is_quarantined();
        let change = match (quarantined, self.inner.replica.alarms().lasts(alarm)) {
            // What it knows of alarms is as old as its quarantine.
            (true, _) if !*alarmed => AlarmChange::Raise(alarm, Lasts::UntilCleared),
            (false, Some(Lasts::UntilCleared)) => AlarmChange::Clear(alarm),
            (true, _) | (false, None | Some(Lasts::UntilDisarmed)) => return,
        };
        match self.change_alarm(change).await {
            Ok(_) => *alarmed = quarantined,
            Err(error) => warn!(%error, "cannot change the alarm for a corrupt member"),
        }
    }

    /// Takes this replica out of service until it is rebuilt.
    pub(crate) fn quarantine(&self, why: String) {
        if self.inner.replica.quarantine(why.clone()) {
            error!(why, "this member's data is wrong; it serves nothing until it is rebuilt");
        }
    }

    async fn answers(&self, claim: &Claim) -> Result<Option<Answers>, TableError> {
        let Some(mine) = self.hash_of(claim.clone()).await? else { return Ok(None) };
        let members = self.members();
        let voters = members.iter().filter(|member| !member.is_learner);
        let me = self.inner.identity.node_id;
        let votes = voters.clone().any(|member| member.id == me);
        let asked = voters.clone().filter(|member| member.id != me).map(|member| async move {
            match self.ask_member(&Peer::from(member), &Question::Hash(claim.clone())).await {
                Some(Answer::Hash(Some(hash))) => Some((member.id, hash)),
                _ => None,
            }
        });
        let known: BTreeMap<NodeId, u32> =
            futures::future::join_all(asked).await.into_iter().flatten().collect();
        let leader = self.inner.status.borrow().leader;
        Ok(Some(Answers {
            mine,
            votes,
            leaders: leader.and_then(|leader| known.get(&leader).copied()),
            others: known.into_values().collect(),
            voters: voters.count(),
        }))
    }

    pub(super) async fn ask_member(&self, peer: &Peer, question: &Question) -> Option<Answer> {
        let asked = self.inner.peers.call(peer, Call::Audit, codec::encode(question), ANSWER_TIME_MAX);
        let answer = timeout(ANSWER_TIME_MAX, asked).await.ok()?.ok()?;
        codec::decode(&answer).ok()
    }

    pub(super) fn others(&self) -> Vec<Peer> {
        let me = self.inner.identity.node_id;
        let others = self.members().into_iter().filter(|member| member.id != me);
        others.map(|member| Peer::from(&member)).collect()
    }

    /// Answers another member.
    pub(crate) async fn serve_audit(&self, question: Question) -> Answer {
        match question {
            Question::LookAt(claim) => {
                // A full queue means that this member is looking at itself anyway.
                let _ = self.inner.claims.try_send(claim);
                Answer::Noted
            }
            Question::Hash(claim) => {
                let (Claim::Applied(at) | Claim::Keys { at, .. }) = &claim;
                let caught_up = self.inner.replica.wait_for_revision(*at);
                if self.inner.replica.health.is_quarantined()
                    || timeout(ANSWER_TIME_MAX / 2, caught_up).await.is_err()
                {
                    return Answer::Hash(None);
                }
                match self.hash_of(claim).await {
                    Ok(hash) => Answer::Hash(hash),
                    Err(error) => {
                        self.inner.replica.failed(&error);
                        Answer::Hash(None)
                    }
                }
            }
            Question::Offer(wanted) => self.offer(wanted).await.map_or_else(Answer::Refused, Answer::Offer),
            Question::Chunk(chunk) => self.chunk(chunk).await.map_or_else(Answer::Refused, Answer::Chunk),
        }
    }

    async fn hash_of(&self, claim: Claim) -> Result<Option<u32>, TableError> {
        let hash = self.inner.replica.read(true, move |view, horizon| match claim {
            Claim::Applied(at) => Ok(layout::mark_at(view, at)?.map(|mark| mark.hash)),
            Claim::Keys { at, span } => match horizon.resolve(Some(at)) {
                Ok(at) => scrub::hash(view, at, &span).map(Some),
                Err(_) => Ok(None),
            },
        });
        hash.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_decides_who_is_wrong() {
        let judge = |mine, others: &[u32], voters| {
            Answers { mine, votes: true, others: others.to_vec(), leaders: None, voters }.judge()
        };
        assert_eq!(judge(1, &[1, 1], 3), Verdict::Right);
        assert_eq!(judge(1, &[1, 2], 3), Verdict::Right);
        assert_eq!(judge(1, &[2, 2], 3), Verdict::Wrong);
        assert_eq!(judge(1, &[2], 3), Verdict::Open);
        assert_eq!(judge(1, &[2, 3], 3), Verdict::Open);
        assert_eq!(judge(1, &[1, 2, 2, 2], 5), Verdict::Wrong);
        assert_eq!(judge(1, &[], 1), Verdict::Right);
        // A learner has no voice, and is judged all the same.
        let learner = Answers { mine: 1, votes: false, others: vec![2, 2], leaders: None, voters: 3 };
        assert_eq!(learner.judge(), Verdict::Wrong);
    }
}
