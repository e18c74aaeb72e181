//! The types that openraft is instantiated with.

use std::fmt;

use base::NodeId;
use serde::{Deserialize, Serialize};

use super::commands::Commands;
use crate::mvcc::machine::Outcome;
use crate::status::Member;

openraft::declare_raft_types!(
    /// Our instance of openraft.
    pub(crate) TypeConfig:
        D = Proposal,
        R = Vec<Outcome>,
        NodeId = u64,
        Node = MemberRecord,
        AsyncRuntime = Runtime,
);

/// tokio, with a generator of its own: election timeouts are drawn from the seed that the node was started with.
pub(crate) type Runtime = openraft::rt::deterministic_rng::DeterministicRng<openraft::impls::TokioRuntime>;

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, MemberRecord>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type LeaderId = openraft::type_config::alias::LeaderIdOf<TypeConfig>;
pub(crate) type Raft = openraft::Raft<TypeConfig, super::state_machine::StateMachine>;

/// Commands on their way through the log, with what the leader adds so that applying them needs nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    /// The leader's wall time, in milliseconds since 1970.
    pub(crate) time_ms: i64,
    /// A revision that the leader had applied, and its state hash.
    pub(crate) witness: Option<(i64, u32)>,
    /// Encoded `mvcc::machine::Command`s.
    pub(crate) commands: Commands,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.commands.bytes())
    }
}

/// What the log says about a member beside its id and whether it votes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberRecord {
    pub(crate) name: String,
    pub(crate) peer_url: String,
    pub(crate) client_urls: Vec<String>,
    /// Drawn by chance when the member's directory was made; 0: not known, it was not started yet.
    pub(crate) incarnation: u64,
    /// It becomes a voter by itself, once it has caught up.
    pub(crate) votes_when_ready: bool,
    /// In the place of this voter, whose disk is lost.
    pub(crate) replaces: Option<u64>,
    /// The request that added it.
    pub(crate) added_by: u64,
}

impl MemberRecord {
    pub(crate) fn member(&self, id: u64, is_learner: bool) -> Member {
        Member {
            id: NodeId::new(id),
            name: self.name.clone(),
            peer_url: self.peer_url.clone(),
            client_urls: self.client_urls.clone(),
            is_learner,
        }
    }
}
