//! Why the store refuses, one variant per answer that a client must be able to tell apart.

use base::{NodeId, Revision};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use crate::mvcc::auth::refusal::AuthError;

/// Why a request was not served. Only [`StoreError::Timeout`] leaves open whether a write happened.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum StoreError {
    #[error("revision {asked} has been compacted; the oldest readable revision is {compacted}")]
    Compacted { asked: Revision, compacted: Revision },
    #[error("revision {asked} is in the future; the newest is {newest}")]
    FutureRevision { asked: Revision, newest: Revision },
    #[error("the state of {asked} is not kept any more; the oldest is of {oldest}")]
    BeforeHistory { asked: String, oldest: String },
    #[error("no leader is known; nothing was written")]
    NoLeader,
    #[error(
        "no leader, and never again: {lost} of {voters} voters have lost their data; restore one, or make a cluster of what \
         is left (navarch recover); nothing was written"
    )]
    QuorumLost { lost: usize, voters: usize },
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
    #[error("there are as many learners as may be")]
    TooManyLearners,
    #[error("those that would be left and run would be no majority")]
    TooFewRunning,
    #[error("removing this member would leave no voter")]
    LastVoter,
    /// `holder` says who holds the lease key now.
    #[error("lease key {key:?} is held by {holder}, not by the sender (epoch {epoch})")]
    Fenced { key: String, epoch: Revision, holder: String },
    #[error("there is no space for more; delete and compact, or raise the quota, then disarm the alarm")]
    NoSpace,
    #[error("this member's data cannot be trusted; it serves nothing until it is rebuilt")]
    Corrupt,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("the store is stopping")]
    Stopping,
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WatchError {
    #[error("revision {asked} has been compacted; the oldest readable revision is {compacted}")]
    Compacted { asked: Revision, compacted: Revision },
    #[error("this member's data cannot be trusted")]
    Corrupt,
    #[error("the store is stopping")]
    Stopping,
}

/// Why a node did not start. Each says what to do.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("the member {name} is not in the list of initial members ({members})")]
    NotAMember { name: String, members: String },
    #[error("{path} belongs to member {found}, not {expected}; use another data directory or the right name")]
    WrongIdentity { path: String, found: String, expected: String },
    #[error("{path} is in use by another process; stop it, or use another data directory")]
    InUse { path: String },
    #[error("{path} is read-only; make it writable or use another data directory")]
    ReadOnly {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the disk that holds {path} is full; make room and start again")]
    Full {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("no permission to use {path}; run as its owner or use another data directory")]
    NoPermission {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the store in {path} is damaged; when other members hold the data, start this one with the others in its \
         configuration, and it comes back as a new one; else restore a snapshot"
    )]
    Corrupt {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{path} is missing or cannot be understood; restore it, or move the whole directory away and start again"
    )]
    MemberFile { path: String },
    #[error("a recovery in {path} was interrupted; run navarch recover on it again")]
    UnfinishedRecovery { path: String },
    #[error(
        "{name} (id {id}) was removed from the cluster; to let it come back, move its data directory away, add it \
         (etcdctl member add), and start it again"
    )]
    Removed { name: String, id: NodeId },
    #[error(
        "the running cluster has no member {name}; add it (etcdctl member add), or start it with --join to let it in"
    )]
    NotInvited { name: String },
    #[error("{name} is a member of the cluster {token}; give each cluster's members its name and addresses")]
    OtherCluster { name: String, token: String },
    #[error(
        "another process runs as {name} (id {id}): this directory, or that one, is a copy; stop one of them, move its \
         directory away, and start it again"
    )]
    Elsewhere { name: String, id: NodeId },
    /// The directory was put back from a copy, or the disk lost what it had synced.
    #[error(
        "the log ends at {last}, and this member has acknowledged {acknowledged}: its directory is an old copy; it must not \
         vote again under its id"
    )]
    Outdated { last: u64, acknowledged: u64 },
    #[error("stopped before there was a place in the cluster")]
    Stopped,
    #[error("cannot open the store in {path}")]
    Open {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// The member may have forgotten its vote, or entries that it acknowledged.
    #[error(
        "the log is corrupt: {file}, byte {offset}: {what}; this member must not vote again under its id: move its \
         directory away, and let it join again under a new one"
    )]
    CorruptLog { file: String, offset: u64, what: &'static str },
    #[error("the timings are not usable: {reason}")]
    Timings { reason: String },
    #[error("raft did not start: {reason}")]
    Raft { reason: String },
}

impl StartError {
    /// Names the way out of a failure to open `path`.
    pub(crate) fn open(path: &std::path::Path, source: std::io::Error) -> Self {
        let path = path.display().to_string();
        match source.kind() {
            std::io::ErrorKind::ResourceBusy => Self::InUse { path },
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, source },
            std::io::ErrorKind::StorageFull => Self::Full { path, source },
            std::io::ErrorKind::PermissionDenied => Self::NoPermission { path, source },
            std::io::ErrorKind::InvalidData => Self::Corrupt { path, source },
            _ => Self::Open { path, source },
        }
    }
}
