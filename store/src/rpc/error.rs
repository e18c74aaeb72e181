//! The store's refusals as gRPC statuses. Clients match on the exact text, which is etcd's.

pub(super) mod auth;

use tonic::{Code, Status};

use crate::error::{StoreError, WatchError};

pub(super) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
pub(super) const EMPTY_WATCH: &str = "mvcc: watcher range is empty";
pub(super) const TOO_MANY_WATCHES: &str = "etcdserver: too many watches on the stream";
pub(super) const DUPLICATE_WATCH_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";

pub(super) fn status(error: &StoreError) -> Status {
    let (code, text) = match error {
        StoreError::Compacted { .. } | StoreError::BeforeHistory { .. } => (Code::OutOfRange, COMPACTED),
        StoreError::FutureRevision { .. } => {
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")
        }
        StoreError::NoLeader => return no_leader(),
        StoreError::QuorumLost { .. } => {
            return Status::failed_precondition(format!("etcdserver: {error}"));
        }
        StoreError::Timeout => (Code::Unavailable, "etcdserver: request timed out"),
        StoreError::TooLarge { .. } => (Code::InvalidArgument, "etcdserver: request is too large"),
        StoreError::EmptyKey => return empty_key(),
        StoreError::ValueProvided => (Code::InvalidArgument, "etcdserver: value is provided"),
        StoreError::LeaseProvided => (Code::InvalidArgument, "etcdserver: lease is provided"),
        StoreError::KeyNotFound => return key_not_found(),
        StoreError::DuplicateKey => (Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
        StoreError::TooManyOps { .. } => {
            (Code::InvalidArgument, "etcdserver: too many operations in txn request")
        }
        StoreError::LeaseNotFound => (Code::NotFound, "etcdserver: requested lease not found"),
        StoreError::LeaseExists => (Code::FailedPrecondition, "etcdserver: lease already exists"),
        StoreError::LeaseTtlTooLarge { .. } => (Code::OutOfRange, "etcdserver: too large lease TTL"),
        StoreError::MemberNotFound => (Code::NotFound, "etcdserver: member not found"),
        StoreError::MemberExists => (Code::FailedPrecondition, "etcdserver: Peer URLs already exists"),
        StoreError::MemberNotLearner => {
            (Code::FailedPrecondition, "etcdserver: can only promote a learner member")
        }
        StoreError::LearnerNotReady => (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        StoreError::MembershipBusy | StoreError::TooFewRunning => {
            (Code::Unavailable, "etcdserver: unhealthy cluster")
        }
        StoreError::TooManyLearners => {
            (Code::FailedPrecondition, "etcdserver: too many learner members in cluster")
        }
        // The one refusal to which etcd gives no code: it sends the client's form of the error.
        StoreError::LastVoter => {
            (Code::Unknown, "etcdserver: re-configuration failed due to not enough started members")
        }
        StoreError::Corrupt => return corrupt(),
        StoreError::Fenced { .. } => {
            return Status::failed_precondition(format!("etcdserver: fenced: {error}"));
        }
        StoreError::NoSpace => (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        StoreError::Auth(refusal) => return auth::status(*refusal),
        StoreError::Stopping => return stopped(),
    };
    Status::new(code, text)
}

/// Why a watch was not made, as Go prints a status: clients read it back from this text.
pub(super) fn watch_refusal(error: &StoreError) -> String {
    let status = status(error);
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}

/// Of a stream that ends because the store does; a compacted watch ends with a response instead.
pub(super) fn watch_status(error: &WatchError) -> Status {
    match error {
        WatchError::Compacted { .. } => Status::out_of_range(COMPACTED),
        WatchError::Corrupt => corrupt(),
        WatchError::Stopping => stopped(),
    }
}

/// etcd's words of a member that must not be believed. Unavailable, so that clients go on to another member: nothing was
/// written.
fn corrupt() -> Status {
    Status::unavailable("etcdserver: corrupt cluster")
}

pub(super) fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

pub(super) fn not_for_learners() -> Status {
    Status::failed_precondition("etcdserver: rpc not supported for learner")
}

pub(super) fn not_leader() -> Status {
    Status::failed_precondition("etcdserver: not leader")
}

pub(super) fn bad_transferee() -> Status {
    Status::failed_precondition("etcdserver: bad leader transferee")
}

pub(super) fn stopped() -> Status {
    Status::unavailable("etcdserver: server stopped")
}

pub(super) fn empty_key() -> Status {
    Status::invalid_argument("etcdserver: key is not provided")
}

pub(super) fn key_not_found() -> Status {
    Status::invalid_argument("etcdserver: key not found")
}

pub(super) fn invalid_sort() -> Status {
    Status::invalid_argument("etcdserver: invalid sort option")
}

pub(super) fn bad_member_urls() -> Status {
    Status::invalid_argument("etcdserver: given member URLs are invalid")
}

pub(super) fn no_downgrade() -> Status {
    Status::failed_precondition("etcdserver: no inflight downgrade job")
}

pub(super) fn downgrade_target() -> Status {
    Status::invalid_argument("etcdserver: invalid downgrade target version")
}

pub(super) fn downgrade_format() -> Status {
    Status::invalid_argument("etcdserver: wrong downgrade target version format")
}

/// Nothing was done: the client, or the node, holds more than it may.
pub(super) fn too_many_requests() -> Status {
    Status::resource_exhausted("etcdserver: too many requests")
}

/// As grpc-go says it.
pub(super) fn message_too_large(bytes: usize, bytes_max: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({bytes} vs. {bytes_max})"))
}

pub(super) fn no_certificate() -> Status {
    Status::unauthenticated("a client certificate is needed")
}
