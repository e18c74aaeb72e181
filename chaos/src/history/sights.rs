//! What only the runner sees: servers on data that are not theirs, a cluster without its majority, and what is made of
//! what is left of one.

use serde::{Deserialize, Serialize};

use super::Kv;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sight", rename_all = "kebab-case")]
pub enum Sight {
    /// A server was started on data that are another's, or that were its own long ago.
    Impostor {
        member: String,
        deceit: Deceit,
        came_to: CameTo,
        after_ms: u64,
        /// The end of its log.
        said: String,
    },
    /// A server was started on a log that is not as it was written, elsewhere than at its end.
    Damaged { member: String, came_to: CameTo, after_ms: u64, said: String },
    /// A member was asked while most voters had lost their data for good.
    Deserted {
        member: String,
        /// It still has its data.
        survives: bool,
        asked: Asked,
        heard: Heard,
        said: String,
    },
    /// An operator has made a new cluster of what was left.
    Recovered {
        /// What the command told before it did anything.
        said: String,
        /// The newest revision that anybody had been told.
        acknowledged: u64,
        /// The newest that the survivor had.
        known: u64,
        /// Cluster ids.
        before: u64,
        after: u64,
        /// At which the new cluster begins.
        begins: u64,
    },
    /// A watch in the new cluster, of a client that goes on where it was in the old one.
    Resumed { from: u64, canceled: bool, compacted: u64 },
    /// Somebody asked for something to be there, or not: a user, a role, an alarm.
    Changed { subject: String, exists: bool, heard: Heard },
    /// All of these that a member has.
    Accounts { member: String, told: Vec<String> },
    /// Everything below the harness's prefix, as a new cluster has it of a revision of the old one.
    Restored { member: String, revision: u64, cluster: u64, kvs: Vec<Kv> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deceit {
    /// Two members have each other's.
    Swapped,
    /// Two processes have the same.
    Cloned,
    /// A copy from before was put back.
    Outdated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CameTo {
    /// It gave up by itself.
    Ended,
    /// It set the data aside, and came back as a member of another number.
    AnotherMember,
    /// It runs on them, and serves.
    Served,
    /// It runs on them, and does not serve.
    Waits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Put,
    Txn,
    Grant,
    Read,
    /// Of the member's own state, without consensus.
    OldRead,
    /// Whether it knows of a leader.
    Leader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heard {
    Yes,
    /// It certainly did not happen.
    Refusal,
    /// Nothing that says whether it happened.
    Nothing,
}
