//! The replicated, revisioned, watchable key space.
//!
//! The contract is etcd's v3 API: revisions, ranges, transactions, watches from any retained revision, leases,
//! compaction. `README.md` says what holds and what is absent.

mod error;
mod mvcc;
mod raft;

pub use error::{StoreError, WatchError};
pub use mvcc::request::{
    Compare, Delete, Event, EventKind, KeyValue, Lease, Op, OpResult, Put, Range, RangeResult, Relation,
    Sort, SortTarget, Target, Txn, TxnResult, Watch, WatchBatch,
};
pub use mvcc::span::{End, Span};
pub use raft::peers::{Call, Intake, Peer, PeerError, PeerService, Peers, SnapshotFile, SnapshotOffer};
