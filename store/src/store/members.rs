//! Who the members are, and changing that, from any member: the leader makes the change, wherever it is.

use base::NodeId;

use super::Store;
use crate::error::StoreError;
use crate::raft::membership::{self, MemberChange};
use crate::status::{Addresses, Member, NewMember, Role};

impl Store {
    /// The members as this node knows them.
    pub fn members(&self) -> Vec<Member> {
        self.status().members
    }

    /// Whether this node only replicates: it votes for nothing, and etcd's clients may ask it next to nothing.
    pub fn is_learner(&self) -> bool {
        let status = self.inner.status.borrow();
        status.members.iter().any(|member| member.id == status.node_id && member.is_learner)
    }

    /// Adds a member under an id that was never used. It begins as a learner; if it shall vote, it is promoted by
    /// itself once it has caught up.
    ///
    /// # Errors
    /// When the address is a member's already, or there are as many learners as may be.
    pub async fn member_add(&self, member: NewMember) -> Result<Member, StoreError> {
        let request = self.inner.entropy.u64();
        self.change_members(MemberChange::Add { member, request }).await
    }

    /// Lets a learner vote.
    ///
    /// # Errors
    /// [`StoreError::LearnerNotReady`] while it lags behind.
    pub async fn member_promote(&self, id: NodeId) -> Result<Member, StoreError> {
        let learner = self.current(id).await?;
        match self.change_members(MemberChange::Promote(id)).await {
            // It was one just now: an earlier attempt of ours did it, and its answer was lost.
            Err(StoreError::MemberNotLearner) if learner.is_learner => {
                Ok(Member { is_learner: false, ..learner })
            }
            done => done,
        }
    }

    /// Removes a member. Its id is never used again.
    ///
    /// # Errors
    /// [`StoreError::LastVoter`] when nobody would be left, [`StoreError::TooFewRunning`] when those that are left and
    /// run would be no majority.
    pub async fn member_remove(&self, id: NodeId) -> Result<Member, StoreError> {
        let member = self.current(id).await?;
        match self.change_members(MemberChange::Remove(id)).await {
            // As above: it was a member just now.
            Err(StoreError::MemberNotFound) => Ok(member),
            done => done,
        }
    }

    /// Says where a member is found from now on.
    ///
    /// # Errors
    /// When the member is unknown, or the address another's.
    pub async fn member_update(&self, id: NodeId, to: Addresses) -> Result<Member, StoreError> {
        self.change_members(MemberChange::Update { id, to }).await
    }

    /// Hands leadership to another voter. Returns once this node sees it, or the request's time is over.
    ///
    /// # Errors
    /// [`StoreError::NoLeader`] when this node does not lead, [`StoreError::MemberNotFound`] for a stranger.
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<(), StoreError> {
        membership::transfer(&self.inner, to).await
    }

    /// Before a planned stop: hands leadership to whoever is best prepared, so that nobody has to notice a silence.
    /// Does nothing when this node does not lead, or nobody else can.
    pub async fn step_down(&self) {
        // What is published may be a moment behind.
        if self.status().role != Role::Leader {
            return;
        }
        let Some(to) = membership::successor(&self.inner) else { return };
        match self.transfer_leadership(to).await {
            Ok(()) => tracing::info!(%to, "handed over leadership before stopping"),
            Err(error) => tracing::warn!(%to, %error, "stopping while leading"),
        }
    }

    async fn current(&self, id: NodeId) -> Result<Member, StoreError> {
        self.read_barrier().await?;
        self.members().into_iter().find(|member| member.id == id).ok_or(StoreError::MemberNotFound)
    }

    /// Returns once this node knows of the change, too.
    async fn change_members(&self, change: MemberChange) -> Result<Member, StoreError> {
        let changed = self.ask_leader_to_change_members(change).await?;
        // The change is made: what this node knows of it yet is only a courtesy.
        let _ = self.read_barrier().await;
        Ok(changed)
    }
}
