//! What nodes tell each other before one of them knows who it is, and how a running member answers.
//!
//! These messages are checked by their content: cluster and node, which every other call names, are not known yet.

use std::time::Duration;

use base::NodeId;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::settle::introduce;
use crate::error::StoreError;
use crate::raft::membership::{self, Applicant, MemberChange};
use crate::raft::peers::Peer;
use crate::seat::Founder;
use crate::status::{Member, Role};
use crate::store::Store;

/// How long a member may take to find out whether another one was removed.
const STANDING_TIME_MAX: Duration = Duration::from_millis(500);
/// How long whoever lives where a member should may take to say who it is.
const TWIN_TIME_MAX: Duration = Duration::from_millis(200);
const LEADER_SILENCE_MAX: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Introduction {
    /// The name of the cluster that it means.
    pub(crate) token: String,
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    /// Of this run of the program, drawn by chance: a copy of a directory has another.
    pub(crate) process: u64,
    /// The cluster and the id that it has.
    pub(crate) place: Option<(u64, NodeId)>,
    pub(crate) peer_url: String,
    pub(crate) client_urls: Vec<String>,
    pub(crate) asks: Asks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asks {
    /// Who are you, and what do you know of me?
    Standing,
    /// A place. Whoever may be added need not be expected.
    /// Nor need one whose cluster was given up for this one.
    Place { may_be_added: bool, former: Option<u64> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Welcome {
    OtherCluster {
        token: String,
    },
    /// Has no place either.
    New {
        name: String,
        incarnation: u64,
        lost: bool,
    },
    Placed {
        cluster_id: u64,
        node_id: NodeId,
        process: u64,
        name: String,
        founders: Vec<Founder>,
        supersedes: Vec<u64>,
        standing: Standing,
        /// Whether its cluster has a leader, as far as it can tell.
        hears_leader: bool,
        /// What the asked one, who leads, has from the one who asks.
        acknowledged: Option<Acknowledged>,
        /// Today's members and their peer addresses; none while it is starting itself.
        members: Vec<(NodeId, String)>,
    },
    /// A place for the one who asked.
    Given {
        cluster_id: u64,
        node_id: NodeId,
        supersedes: Vec<u64>,
    },
    /// Ask again, or somebody else.
    NotNow(String),
    Never(String),
}

/// The end of what a member has said to be durable, to the leader of this vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    /// Term and leader: larger is later.
    pub(crate) vote: (u64, u64),
    pub(crate) index: u64,
}

/// What a running member can say for sure about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// It would have to ask a leader.
    Unknown,
    Member,
    Removed,
    /// Another process is that member, where the log says that it is.
    Elsewhere,
}

impl Welcome {
    /// Whether who answers has this place.
    pub(crate) fn is_of(&self, place: (u64, NodeId)) -> bool {
        matches!(self, Self::Placed { cluster_id, node_id, .. } if (*cluster_id, *node_id) == place)
    }

    pub(crate) fn is_from(&self, asked: u64) -> bool {
        matches!(self, Self::Placed { process, .. } if *process == asked)
    }
}

impl Store {
    /// Answers a node that may not know who it is.
    pub(crate) async fn welcome(&self, guest: Introduction) -> Welcome {
        let seat = &self.inner().seat;
        if guest.token != seat.file.token {
            return Welcome::OtherCluster { token: seat.file.token.clone() };
        }
        let place = seat.place();
        match guest.asks {
            Asks::Place { may_be_added, former } => {
                let was_given_up = former.is_some_and(|former| place.supersedes.contains(&former));
                let applicant = Applicant {
                    name: guest.name,
                    incarnation: guest.incarnation,
                    peer_url: guest.peer_url,
                    client_urls: guest.client_urls,
                    may_be_added: may_be_added || was_given_up,
                };
                let change = MemberChange::Seat(applicant);
                match self.ask_leader_to_change_members(change).await {
                    Ok(Member { id, .. }) => Welcome::Given {
                        cluster_id: place.cluster_id,
                        node_id: id,
                        supersedes: place.supersedes,
                    },
                    Err(error @ StoreError::MemberNotFound) => Welcome::Never(error.to_string()),
                    Err(error) => Welcome::NotNow(error.to_string()),
                }
            }
            Asks::Standing => {
                let standing = match guest.place {
                    Some((cluster, id)) if cluster == place.cluster_id => {
                        if self.is_elsewhere(id, guest.process).await {
                            Standing::Elsewhere
                        } else {
                            self.inner().book.learn_alternative(id, &guest.peer_url);
                            self.standing_of(id).await
                        }
                    }
                    Some(_) | None => Standing::Unknown,
                };
                let acknowledged =
                    guest.place.and_then(|(_, id)| membership::acknowledged(self.inner(), id.get()));
                Welcome::Placed {
                    cluster_id: place.cluster_id,
                    node_id: place.node_id,
                    process: seat.process,
                    name: seat.file.name.clone(),
                    founders: place.founders,
                    supersedes: place.supersedes,
                    standing,
                    hears_leader: self.hears_leader(),
                    acknowledged,
                    members: self.members().into_iter().map(|one| (one.id, one.peer_url)).collect(),
                }
            }
        }
    }

    fn hears_leader(&self) -> bool {
        let leads = self.inner().status.borrow().role == Role::Leader;
        leads || self.inner().heard.leader_within(LEADER_SILENCE_MAX)
    }

    /// Whether another process than this one answers as that member, at the address that the log has for it.
    async fn is_elsewhere(&self, id: NodeId, process: u64) -> bool {
        let Some(known) = self.members().into_iter().find(|member| member.id == id) else { return false };
        let inner = self.inner();
        // Without a place: nobody is asked back.
        let introduction = Introduction {
            token: inner.seat.file.token.clone(),
            name: inner.seat.file.name.clone(),
            incarnation: inner.seat.file.incarnation,
            process: inner.seat.process,
            place: None,
            peer_url: String::new(),
            client_urls: Vec::new(),
            asks: Asks::Standing,
        };
        let cluster = inner.seat.place().cluster_id;
        let answer = introduce(inner.peers.as_ref(), &Peer::from(&known), &introduction, TWIN_TIME_MAX).await;
        answer.is_ok_and(|answer| answer.is_of((cluster, id)) && !answer.is_from(process))
    }

    /// An id is given out before its member can ask, and never again: one that is not there any more was removed.
    async fn standing_of(&self, id: NodeId) -> Standing {
        let known = || self.members().iter().any(|member| member.id == id);
        if known() {
            return Standing::Member;
        }
        match timeout(STANDING_TIME_MAX, self.read_barrier()).await {
            Ok(Ok(_)) if known() => Standing::Member,
            Ok(Ok(_)) => Standing::Removed,
            Ok(Err(_)) | Err(_) => Standing::Unknown,
        }
    }
}
