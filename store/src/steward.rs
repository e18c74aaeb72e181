//! What a node does about the membership by itself: the leader finishes what was begun, every node sees to it that the
//! log knows where it is found, and one that hears from no leader asks whether it still belongs.

use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use futures::future::join_all;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::entrance::messages::{Asks, Introduction, Welcome};
use crate::entrance::settle::{Looked, introduce, looked};
use crate::error::{StartError, StoreError};
use crate::raft::membership;
use crate::raft::peers::Peer;
use crate::status::{Addresses, Member, Role};
use crate::store::Store;

/// How often a node looks after itself and the membership.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a silence of the leader may last before the others are asked, and how often.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// Why this node may not go on. The process stops with it.
#[derive(Debug, Error)]
pub(crate) enum StewardError {
    #[error(
        "this member ({name}, id {id}) was removed from the cluster and serves no more; to let it come back, move its \
         data directory away, add it (etcdctl member add), and start it again"
    )]
    Removed { name: String, id: NodeId },
    #[error(
        "the cluster of this member was given up for the one of {by}; start it again, and its data is set aside and it \
         joins that one"
    )]
    GivenUp { by: String },
    #[error("{0}")]
    Elsewhere(StartError),
    #[error("cannot write down that this member was removed")]
    Save(#[source] StartError),
}

pub(crate) struct Steward {
    pub(crate) store: Store,
    /// Where this node wants to be found, until the log says so.
    pub(crate) announce: Option<Addresses>,
}

impl Steward {
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), StewardError> {
        let (mut was_member, mut joint) = (false, None);
        let mut remembered = self.store.inner().seat.remembered_members();
        let mut ask_at = Instant::now() + SILENCE_MAX;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = sleep(LOOK_EVERY) => {}
            }
            let inner = self.store.inner();
            let members = self.store.members();
            inner.book.learn_members(&members);
            self.remember(&members, &mut remembered);
            let is_member = membership::is_committed_member(inner);
            if was_member && !is_member {
                return Err(self.removed());
            }
            was_member |= is_member;
            membership::tend(&self.store, &mut joint).await;
            self.announce().await;
            if self.is_heard() {
                self.store.inner().quorum_lost.store(None);
                ask_at = Instant::now() + SILENCE_MAX;
            } else if Instant::now() >= ask_at {
                self.ask_others().await?;
                ask_at = Instant::now() + SILENCE_MAX;
            }
        }
    }

    /// Writes down where the members are, for a start at which this node can read nothing else.
    fn remember(&self, members: &[Member], remembered: &mut Vec<Peer>) {
        let now: Vec<Peer> = members.iter().map(Peer::from).collect();
        if now.is_empty() || now == *remembered {
            return;
        }
        match self.store.inner().seat.save_members(&now) {
            Ok(()) => *remembered = now,
            Err(error) => warn!(%error, "cannot write down where the members are"),
        }
    }

    fn is_heard(&self) -> bool {
        let inner = self.store.inner();
        // Who leads and is answered by no majority says that nobody leads.
        let leads = {
            let status = inner.status.borrow();
            status.role == Role::Leader && status.leader.is_some()
        };
        leads || inner.heard.within(SILENCE_MAX)
    }

    /// Gets the log to say where this node is found, once after each start.
    async fn announce(&mut self) {
        let Some(wanted) = self.announce.clone() else { return };
        let status = self.store.status();
        let Some(me) = status.members.iter().find(|member| member.id == status.node_id) else { return };
        if me.peer_url == wanted.peer_url && Some(&me.client_urls) == wanted.client_urls.as_ref() {
            self.announce = None;
            return;
        }
        if status.leader.is_none() {
            return;
        }
        match self.store.member_update(status.node_id, wanted.clone()).await {
            Ok(_) => {
                info!(peer_url = %wanted.peer_url, "this member's addresses have changed");
                self.announce = None;
            }
            Err(error) => warn!(%error, "cannot tell the cluster this member's addresses yet"),
        }
    }

    /// Whoever leads may have forgotten this node for a reason.
    async fn ask_others(&self) -> Result<(), StewardError> {
        let inner = self.store.inner();
        let me = inner.identity.node_id;
        let file = &inner.seat.file;
        let place = inner.seat.place();
        let wanted = inner.seat.addresses.as_ref();
        let introduction = Introduction {
            token: file.token.clone(),
            name: file.name.clone(),
            incarnation: file.incarnation,
            process: inner.seat.process,
            place: Some((place.cluster_id, me)),
            peer_url: wanted.map(|wanted| wanted.peer_url.clone()).unwrap_or_default(),
            client_urls: Vec::new(),
            asks: Asks::Standing,
        };
        let members = self.store.members();
        let others: Vec<(String, Peer)> = members
            .into_iter()
            .filter(|member| member.id != me)
            .map(|member| (member.name.clone(), Peer::from(&member)))
            .collect();
        let introduction = &introduction;
        let asked = others.iter().map(|(name, peer)| async move {
            let answer = introduce(inner.peers.as_ref(), peer, introduction, ANSWER_TIME_MAX).await;
            Some((name.as_str(), answer.ok()?))
        });
        let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        self.count_the_lost(&answers);
        match looked(place.cluster_id, answers.iter().map(|(name, answer)| (*name, answer))) {
            Looked::Fine => Ok(()),
            Looked::Removed => Err(self.removed()),
            Looked::Elsewhere => {
                Err(StewardError::Elsewhere(StartError::Elsewhere { name: file.name.clone(), id: me }))
            }
            Looked::GivenUp { by } => Err(StewardError::GivenUp { by }),
        }
    }

    /// Voters whose directories say that they are new have forgotten what they voted for and acknowledged. When those
    /// that are left are no majority, waiting does not help.
    fn count_the_lost(&self, answers: &[(&str, Welcome)]) {
        let inner = self.store.inner();
        let founders = inner.seat.place().founders;
        let members = self.store.members();
        let voters: Vec<&str> =
            members.iter().filter(|member| !member.is_learner).map(|member| &*member.name).collect();
        let is_lost = |(asked, answer): &&(&str, Welcome)| match answer {
            Welcome::New { name, incarnation, .. } => {
                let begins = founders.iter().any(|founder| founder.incarnation == *incarnation);
                name == asked && voters.contains(asked) && !begins
            }
            _ => false,
        };
        let (lost, voters) = (answers.iter().filter(is_lost).count(), voters.len());
        let found = (voters - lost <= voters / 2).then(|| Arc::new(StoreError::QuorumLost { lost, voters }));
        if let (Some(error), None) = (&found, inner.quorum_lost.load().as_ref()) {
            error!(%error, "this cluster cannot go on");
        }
        inner.quorum_lost.store(found);
    }

    fn removed(&self) -> StewardError {
        let inner = self.store.inner();
        match inner.seat.save_removed() {
            Ok(()) => StewardError::Removed { name: inner.identity.name.clone(), id: inner.identity.node_id },
            Err(error) => StewardError::Save(error),
        }
    }
}
