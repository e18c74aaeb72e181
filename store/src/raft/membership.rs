//! Changes of the members. Ids come from the log and are never used again.

use std::collections::{BTreeMap, BTreeSet};

use base::NodeId;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::time::timeout;

use super::types::{MemberRecord, TypeConfig};
use crate::error::StoreError;
use crate::mvcc::machine::{Action, Reply};
use crate::status::Member;
use crate::store::{Inner, Store};

/// How many entries a learner may lag behind when it is promoted.
const PROMOTE_LAG_MAX: u64 = 1000;

pub(crate) async fn add(
    store: &Store,
    name: String,
    peer_url: String,
    client_urls: Vec<String>,
) -> Result<Member, StoreError> {
    let members = store.members();
    if members.iter().any(|member| member.peer_url == peer_url) {
        return Err(StoreError::MemberExists);
    }
    require_leader(store.inner())?;
    let above = members.iter().map(|member| member.id).max().unwrap_or_default();
    let Reply::Node(id) = store.propose(Action::TakeNodeId { above }).await? else {
        return Err(StoreError::Timeout);
    };
    let record = MemberRecord { name, peer_url, client_urls };
    let nodes = BTreeMap::from([(id.get(), record.clone())]);
    change(store.inner(), ChangeMembers::AddNodes(nodes)).await?;
    let MemberRecord { name, peer_url, client_urls } = record;
    Ok(Member { id, name, peer_url, client_urls, is_learner: true })
}

pub(crate) async fn promote(inner: &Inner, id: NodeId) -> Result<(), StoreError> {
    require_leader(inner)?;
    let receiver = inner.raft.raft().metrics();
    let (known, voter, lag) = {
        let metrics = receiver.borrow_watched();
        let membership = metrics.membership_config.membership();
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&id.get()).copied().flatten());
        let last = metrics.last_log_index.unwrap_or(0);
        (
            membership.get_node(&id.get()).is_some(),
            membership.voter_ids().any(|voter| voter == id.get()),
            last.saturating_sub(matched.map_or(0, |id| id.index)),
        )
    };
    match (known, voter) {
        (false, _) => Err(StoreError::MemberNotFound),
        (true, true) => Err(StoreError::MemberNotLearner),
        (true, false) if lag > PROMOTE_LAG_MAX => Err(StoreError::LearnerNotReady),
        (true, false) => change(inner, ChangeMembers::AddVoterIds(BTreeSet::from([id.get()]))).await,
    }
}

pub(crate) async fn remove(inner: &Inner, id: NodeId) -> Result<(), StoreError> {
    require_leader(inner)?;
    let receiver = inner.raft.raft().metrics();
    let membership = receiver.borrow_watched().membership_config.membership().clone();
    if membership.get_node(&id.get()).is_none() {
        return Err(StoreError::MemberNotFound);
    }
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let ids = BTreeSet::from([id.get()]);
    if !voters.contains(&id.get()) {
        return change(inner, ChangeMembers::RemoveNodes(ids)).await;
    }
    if voters.len() == 1 {
        return Err(StoreError::LastVoter);
    }
    change(inner, ChangeMembers::RemoveVoters(ids)).await
}

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

fn require_leader(inner: &Inner) -> Result<(), StoreError> {
    let leads =
        inner.raft.raft().metrics().borrow_watched().current_leader == Some(inner.identity.node_id.get());
    if leads { Ok(()) } else { Err(StoreError::NoLeader) }
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
