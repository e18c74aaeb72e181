//! What a node says about itself and its cluster.

use base::{NodeId, Revision};
use serde::{Deserialize, Serialize};

use crate::mvcc::alarm::Alarm;

/// A snapshot of one node's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub cluster_id: u64,
    pub node_id: NodeId,
    pub name: String,
    pub role: Role,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub applied_index: u64,
    pub committed_index: u64,
    pub revision: Revision,
    pub compacted: Revision,
    pub db_size_bytes: u64,
    pub alarms: Vec<Alarm>,
    pub health: Health,
    /// By id.
    pub members: Vec<Member>,
}

/// Whether a node's copy of the data can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Sound,
    /// It differs from the leader's, and who is wrong is being found out. Nothing is served meanwhile.
    Suspect {
        why: String,
    },
    /// It is wrong or cannot be read. Nothing is served until the member is rebuilt.
    Quarantined {
        why: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    /// Replicates, but does not vote.
    Learner,
    /// The node is stopping, or a failure has stopped it.
    Stopped,
}

/// A node that takes part in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: NodeId,
    pub name: String,
    pub peer_url: String,
    pub client_urls: Vec<String>,
    pub is_learner: bool,
}

/// A node that shall take part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMember {
    /// Empty when it is not known before the node is started.
    pub name: String,
    pub peer_url: String,
    pub client_urls: Vec<String>,
    /// It is promoted by itself; else it stays a learner until somebody promotes it.
    pub votes_when_ready: bool,
}

/// Where a member is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub peer_url: String,
    /// `None`: as before.
    pub client_urls: Option<Vec<String>>,
}
