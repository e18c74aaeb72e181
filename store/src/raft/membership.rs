//! Changes of the members, made where the leader is. Ids come from the log and are never used again.
//!
//! Every change is one that its asker may repeat: an answer can be lost, a leader can die. Nobody becomes a voter who
//! has not caught up, and nobody is removed when those who stay would not be enough.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::types::{MemberRecord, Membership, TypeConfig};
use crate::entrance::messages::Acknowledged;
use crate::error::StoreError;
use crate::mvcc::machine::{Action, Reply};
use crate::status::{Addresses, Member, NewMember};
use crate::store::{Inner, Store};

/// How many entries a learner may lag behind when it is promoted.
const PROMOTE_LAG_MAX: u64 = 1000;
/// A member that has answered the leader within this time counts as running; as etcd's HealthInterval.
const RUNNING_WITHIN: Duration = Duration::from_secs(5);

/// What is asked of the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum MemberChange {
    Add {
        member: NewMember,
        /// The same in every attempt of one request.
        request: u64,
    },
    Promote(NodeId),
    Remove(NodeId),
    Update {
        id: NodeId,
        to: Addresses,
    },
    Seat(Applicant),
}

/// A node that asks for a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applicant {
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    pub(crate) peer_url: String,
    pub(crate) client_urls: Vec<String>,
    /// Else it must be expected: under its name, or under its address.
    pub(crate) may_be_added: bool,
}

/// Which place an applicant gets.
#[derive(Debug, PartialEq, Eq)]
enum Seating {
    /// It has one already.
    Has(u64),
    /// It is the one that was added and was not started yet.
    Claims(u64),
    /// A new one. Learners of its name are dropped; the voter of its name is replaced once it has caught up.
    New {
        drops: BTreeSet<u64>,
        replaces: Option<u64>,
        votes: bool,
    },
    Unknown,
}

impl Store {
    /// Makes a change if this node leads. [`StoreError::NoLeader`]: it does not, nothing was done.
    pub(crate) async fn change_members_here(&self, change: MemberChange) -> Result<Member, StoreError> {
        require_leader(self.inner())?;
        match change {
            MemberChange::Add { member, request } => add(self, member, request).await,
            MemberChange::Promote(id) => promote(self.inner(), id).await,
            MemberChange::Remove(id) => remove(self.inner(), id).await,
            MemberChange::Update { id, to } => update(self.inner(), id, to).await,
            MemberChange::Seat(applicant) => seat(self, applicant).await,
        }
    }
}

async fn add(store: &Store, asked: NewMember, request: u64) -> Result<Member, StoreError> {
    let known = membership(store.inner());
    if let Some((id, record)) = known.nodes().find(|(_, record)| record.added_by == request) {
        return Ok(member(&known, *id, record));
    }
    if known.nodes().any(|(_, record)| record.peer_url == asked.peer_url) {
        return Err(StoreError::MemberExists);
    }
    if !asked.votes_when_ready && learners(&known) >= store.inner().learners_max {
        return Err(StoreError::TooManyLearners);
    }
    let id = take_id(store, &known).await?;
    let record = MemberRecord {
        name: asked.name,
        peer_url: asked.peer_url,
        client_urls: asked.client_urls,
        votes_when_ready: asked.votes_when_ready,
        added_by: request,
        ..MemberRecord::default()
    };
    let nodes = BTreeMap::from([(id.get(), record.clone())]);
    change(store.inner(), ChangeMembers::AddNodes(nodes)).await?;
    Ok(member(&known, id.get(), &record))
}

/// Those that somebody wants as learners; who is on the way to be a voter is not counted.
fn learners(known: &Membership) -> usize {
    let voters: BTreeSet<u64> = known.voter_ids().collect();
    known.nodes().filter(|(id, record)| !voters.contains(id) && !record.votes_when_ready).count()
}

async fn take_id(store: &Store, known: &Membership) -> Result<NodeId, StoreError> {
    let above = NodeId::new(known.nodes().map(|(id, _)| *id).max().unwrap_or_default());
    // Boxed: proposing may end up at whoever leads, which may end up here.
    match Box::pin(store.propose(Action::TakeNodeId { above })).await? {
        Reply::Node(id) => Ok(id),
        _ => Err(StoreError::Timeout),
    }
}

async fn promote(inner: &Inner, id: NodeId) -> Result<Member, StoreError> {
    let known = membership(inner);
    let Some(record) = known.get_node(&id.get()) else { return Err(StoreError::MemberNotFound) };
    if known.voter_ids().any(|voter| voter == id.get()) {
        return Err(StoreError::MemberNotLearner);
    }
    if !is_caught_up(inner, id.get()) {
        return Err(StoreError::LearnerNotReady);
    }
    let record = MemberRecord { votes_when_ready: false, replaces: None, ..record.clone() };
    let voter = Member { is_learner: false, ..member(&known, id.get(), &record) };
    let steps = vec![
        ChangeMembers::SetNodes(BTreeMap::from([(id.get(), record)])),
        ChangeMembers::AddVoterIds(BTreeSet::from([id.get()])),
    ];
    change(inner, ChangeMembers::Batch(steps)).await?;
    Ok(voter)
}

async fn remove(inner: &Inner, id: NodeId) -> Result<Member, StoreError> {
    let known = membership(inner);
    let Some(record) = known.get_node(&id.get()) else { return Err(StoreError::MemberNotFound) };
    let gone = member(&known, id.get(), record);
    let ids = BTreeSet::from([id.get()]);
    if gone.is_learner {
        change(inner, ChangeMembers::RemoveNodes(ids)).await?;
        return Ok(gone);
    }
    let stay: BTreeSet<u64> = known.voter_ids().filter(|voter| *voter != id.get()).collect();
    if stay.is_empty() {
        return Err(StoreError::LastVoter);
    }
    let running = running(inner);
    if stay.iter().filter(|voter| running.contains(voter)).count() <= stay.len() / 2 {
        return Err(StoreError::TooFewRunning);
    }
    change(inner, ChangeMembers::RemoveVoters(ids)).await?;
    Ok(gone)
}

async fn update(inner: &Inner, id: NodeId, to: Addresses) -> Result<Member, StoreError> {
    let known = membership(inner);
    let Some(old) = known.get_node(&id.get()) else { return Err(StoreError::MemberNotFound) };
    if known.nodes().any(|(other, record)| *other != id.get() && record.peer_url == to.peer_url) {
        return Err(StoreError::MemberExists);
    }
    let record = MemberRecord {
        peer_url: to.peer_url,
        client_urls: to.client_urls.unwrap_or_else(|| old.client_urls.clone()),
        ..old.clone()
    };
    let updated = member(&known, id.get(), &record);
    if record != *old {
        change(inner, ChangeMembers::SetNodes(BTreeMap::from([(id.get(), record)]))).await?;
    }
    Ok(updated)
}

/// Gives a node a place. Asked twice, it gives the same one.
async fn seat(store: &Store, who: Applicant) -> Result<Member, StoreError> {
    let known = membership(store.inner());
    match seating(&known, &who) {
        Seating::Unknown => Err(StoreError::MemberNotFound),
        Seating::Has(id) => {
            let record = known.get_node(&id).ok_or(StoreError::MemberNotFound)?;
            Ok(member(&known, id, record))
        }
        Seating::Claims(id) => {
            let record = known.get_node(&id).ok_or(StoreError::MemberNotFound)?;
            let record = MemberRecord {
                name: who.name,
                peer_url: who.peer_url,
                client_urls: who.client_urls,
                incarnation: who.incarnation,
                ..record.clone()
            };
            change(store.inner(), ChangeMembers::SetNodes(BTreeMap::from([(id, record.clone())]))).await?;
            Ok(member(&known, id, &record))
        }
        Seating::New { drops, replaces, votes } => {
            // Somebody of this name is alive: two processes must not share it.
            let running = running(store.inner());
            if drops.iter().chain(&replaces).any(|id| running.contains(id)) {
                return Err(StoreError::MemberExists);
            }
            let id = take_id(store, &known).await?;
            let record = MemberRecord {
                name: who.name,
                peer_url: who.peer_url,
                client_urls: who.client_urls,
                incarnation: who.incarnation,
                votes_when_ready: votes,
                replaces,
                added_by: 0,
            };
            let nodes = BTreeMap::from([(id.get(), record.clone())]);
            let steps = vec![ChangeMembers::RemoveNodes(drops), ChangeMembers::AddNodes(nodes)];
            change(store.inner(), ChangeMembers::Batch(steps)).await?;
            tracing::info!(%id, name = %record.name, ?replaces, "a member has come");
            Ok(record.member(id.get(), true))
        }
    }
}

fn seating(known: &Membership, who: &Applicant) -> Seating {
    let same = |(_, record): &(&u64, &MemberRecord)| {
        record.name == who.name && record.incarnation == who.incarnation
    };
    if let Some((id, _)) = known.nodes().find(same) {
        return Seating::Has(*id);
    }
    let expected = |(_, record): &(&u64, &MemberRecord)| {
        let named =
            if record.name.is_empty() { record.peer_url == who.peer_url } else { record.name == who.name };
        record.incarnation == 0 && named
    };
    if let Some((id, _)) = known.nodes().find(expected) {
        return Seating::Claims(*id);
    }
    let voters: BTreeSet<u64> = known.voter_ids().collect();
    let namesakes: Vec<(&u64, &MemberRecord)> =
        known.nodes().filter(|(_, record)| record.name == who.name).collect();
    if namesakes.is_empty() {
        let (drops, replaces) = (BTreeSet::new(), None);
        return if who.may_be_added {
            Seating::New { drops, replaces, votes: true }
        } else {
            Seating::Unknown
        };
    }
    let replaces = namesakes.iter().map(|(id, _)| **id).find(|id| voters.contains(id));
    let votes = replaces.is_some() || namesakes.iter().any(|(_, record)| record.votes_when_ready);
    let drops = namesakes.iter().map(|(id, _)| **id).filter(|id| !voters.contains(id)).collect();
    Seating::New { drops, replaces, votes }
}

/// What the leader does by itself: members that shall vote and have caught up are let to, and a change that an earlier
/// leader left half done is finished. `joint` remembers what was half done the last time: whoever is still at it has
/// finished by the next.
pub(crate) async fn tend(store: &Store, joint: &mut Option<u64>) {
    let inner = store.inner();
    let before = std::mem::replace(joint, joint_at(inner));
    if require_leader(inner).is_err() {
        return;
    }
    let known = membership(inner);
    let voters: BTreeSet<u64> = known.voter_ids().collect();
    let ready = known
        .nodes()
        .find(|(id, record)| record.votes_when_ready && !voters.contains(id) && is_caught_up(inner, **id));
    let (what, steps) = match ready {
        Some((id, record)) => {
            let voter = MemberRecord { votes_when_ready: false, replaces: None, ..record.clone() };
            let mut steps = vec![
                ChangeMembers::SetNodes(BTreeMap::from([(*id, voter)])),
                ChangeMembers::AddVoterIds(BTreeSet::from([*id])),
            ];
            if let Some(old) = record.replaces.filter(|old| voters.contains(old)) {
                steps.push(ChangeMembers::RemoveVoters(BTreeSet::from([old])));
            }
            (format!("{} votes from now on", record.name), ChangeMembers::Batch(steps))
        }
        None if joint.is_some() && *joint == before => {
            ("an unfinished change is finished".to_owned(), ChangeMembers::AddVoterIds(BTreeSet::new()))
        }
        None => return,
    };
    match change(inner, steps).await {
        Ok(()) => tracing::info!(what, "the members have changed"),
        Err(error) => tracing::debug!(%error, what, "the members cannot be changed now"),
    }
}

/// The log index of a membership that is joint and committed.
fn joint_at(inner: &Inner) -> Option<u64> {
    let receiver = inner.raft.raft().metrics();
    let metrics = receiver.borrow_watched();
    let (now, committed) = (&metrics.membership_config, &metrics.committed_membership_config);
    let is_joint = now.membership().get_joint_config().len() > 1 && now.log_id() == committed.log_id();
    is_joint.then(|| now.log_id().as_ref().map_or(0, |id| id.index))
}

/// Whether this node is a member by what it has applied.
pub(crate) fn is_committed_member(inner: &Inner) -> bool {
    let (_, membership) = inner.replica.applied();
    membership.membership().get_node(&inner.identity.node_id.get()).is_some()
}

/// Hands leadership to another voter, and returns once this node sees it.
pub(crate) async fn transfer(inner: &Inner, to: NodeId) -> Result<(), StoreError> {
    require_leader(inner)?;
    if !inner.status.borrow().members.iter().any(|member| member.id == to && !member.is_learner) {
        return Err(StoreError::MemberNotFound);
    }
    inner.raft.raft().trigger().transfer_leader(to.get()).await.map_err(|_| StoreError::Stopping)?;
    let mut status = inner.status.clone();
    let done = status.wait_for(|status| status.leader == Some(to));
    match timeout(inner.timings.request_timeout, done).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(StoreError::Stopping),
        Err(_) => Err(StoreError::Timeout),
    }
}

/// Who takes over best when this leader goes: a running voter that has the most of the log. `None`: nobody, or this
/// node does not lead.
pub(crate) fn successor(inner: &Inner) -> Option<NodeId> {
    require_leader(inner).ok()?;
    let running = running(inner);
    let known = membership(inner);
    let me = inner.identity.node_id.get();
    let candidates = known.voter_ids().filter(|id| *id != me && running.contains(id));
    candidates.max_by_key(|id| matched(inner, *id)).map(NodeId::new)
}

fn require_leader(inner: &Inner) -> Result<(), StoreError> {
    let leads =
        inner.raft.raft().metrics().borrow_watched().current_leader == Some(inner.identity.node_id.get());
    if leads { Ok(()) } else { Err(StoreError::NoLeader) }
}

fn membership(inner: &Inner) -> Membership {
    inner.raft.raft().metrics().borrow_watched().membership_config.membership().clone()
}

fn member(known: &Membership, id: u64, record: &MemberRecord) -> Member {
    let is_learner = !known.voter_ids().any(|voter| voter == id);
    record.member(id, is_learner)
}

/// The last log index that a member is known to hold; `None` before it was heard of.
fn matched(inner: &Inner, id: u64) -> Option<u64> {
    let receiver = inner.raft.raft().metrics();
    let metrics = receiver.borrow_watched();
    metrics.replication.as_ref()?.get(&id)?.map(|matched| matched.index)
}

/// The same as a proof against that member: it said so to this leader. `None`: this node does not lead.
pub(crate) fn acknowledged(inner: &Inner, id: u64) -> Option<Acknowledged> {
    require_leader(inner).ok()?;
    let index = matched(inner, id)?;
    let term = inner.raft.raft().metrics().borrow_watched().current_term;
    Some(Acknowledged { vote: (term, inner.identity.node_id.get()), index })
}

fn is_caught_up(inner: &Inner, id: u64) -> bool {
    let last = inner.raft.raft().metrics().borrow_watched().last_log_index.unwrap_or(0);
    running(inner).contains(&id)
        && matched(inner, id).is_some_and(|matched| last.saturating_sub(matched) <= PROMOTE_LAG_MAX)
}

/// Those that have answered this leader lately, and itself.
pub(crate) fn running(inner: &Inner) -> BTreeSet<u64> {
    let receiver = inner.raft.raft().metrics();
    let metrics = receiver.borrow_watched();
    let heard = metrics.heartbeat.iter().flatten().filter_map(|(id, at)| {
        let at = at.as_ref()?;
        (at.elapsed() < RUNNING_WITHIN).then_some(*id)
    });
    heard.chain([inner.identity.node_id.get()]).collect()
}

async fn change(inner: &Inner, members: ChangeMembers<u64, MemberRecord>) -> Result<(), StoreError> {
    let changed = inner.raft.raft().change_membership(members, false);
    match timeout(inner.timings.request_timeout, changed).await {
        Err(_) => Err(StoreError::Timeout),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(refusal(error)),
    }
}

fn refusal(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> StoreError {
    match error {
        RaftError::Fatal(_) => StoreError::Stopping,
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => StoreError::NoLeader,
        RaftError::APIError(
            ClientWriteError::LogEntryDiscarded(_) | ClientWriteError::PreconditionFailed(_),
        ) => StoreError::MembershipBusy,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::LearnerNotFound(_) => StoreError::MemberNotFound,
            ChangeMembershipError::EmptyMembership(_) => StoreError::LastVoter,
            _ => StoreError::MembershipBusy,
        },
    }
}
