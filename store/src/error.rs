//! Why the store refuses, one variant per answer that a client must be able to tell apart.

use base::Revision;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a request was not served. Only [`StoreError::Timeout`] leaves open whether a write happened.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum StoreError {
    #[error("revision {asked} has been compacted; the oldest readable revision is {compacted}")]
    Compacted { asked: Revision, compacted: Revision },
    #[error("revision {asked} is in the future; the newest is {newest}")]
    FutureRevision { asked: Revision, newest: Revision },
    #[error("no leader is known; nothing was written")]
    NoLeader,
    #[error("the request timed out; a write may or may not have happened")]
    Timeout,
    #[error("the request has {size} bytes, more than the {limit} allowed")]
    TooLarge { size: usize, limit: usize },
    #[error("the key is empty")]
    EmptyKey,
    #[error("a value was given together with ignore_value")]
    ValueProvided,
    #[error("a lease was given together with ignore_lease")]
    LeaseProvided,
    #[error("the key whose value or lease was to be kept does not exist")]
    KeyNotFound,
    #[error("a transaction changes one key twice")]
    DuplicateKey,
    #[error("a transaction has more than {limit} operations")]
    TooManyOps { limit: usize },
    #[error("the lease does not exist")]
    LeaseNotFound,
    #[error("the lease exists already")]
    LeaseExists,
    #[error("the time to live is more than {limit_seconds} seconds")]
    LeaseTtlTooLarge { limit_seconds: i64 },
    #[error("the member is unknown")]
    MemberNotFound,
    #[error("a member with this peer address exists already")]
    MemberExists,
    #[error("the member is not a learner")]
    MemberNotLearner,
    #[error("the learner has not caught up with the leader")]
    LearnerNotReady,
    #[error("another change of the members is in progress")]
    MembershipBusy,
    #[error("removing this member would leave no voter")]
    LastVoter,
    #[error("the store is stopping")]
    Stopping,
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WatchError {
    #[error("revision {asked} has been compacted; the oldest readable revision is {compacted}")]
    Compacted { asked: Revision, compacted: Revision },
    #[error("the store is stopping")]
    Stopping,
}
