//! The replicated, revisioned, watchable key space.
//!
//! The contract is etcd's v3 API: revisions, ranges, transactions, watches from any retained revision, leases,
//! compaction. `README.md` says what holds and what is absent.

mod archive;
mod disk;
mod entrance;
mod error;
mod failpoint;
mod hub;
mod leases;
mod limits;
pub mod metrics;
#[cfg(test)]
mod mutations;
mod mvcc;
mod node;
pub mod offline;
mod raft;
pub mod recover;
pub mod rpc;
mod seat;
pub mod seeded;
mod status;
mod steward;
mod store;
mod upkeep;

pub use disk::memory::{Chance, DiskWhims, SyncFate, Unsynced};
pub use entrance::{Badge, Entrance};
pub use error::{AuthError, StartError, StoreError, WatchError};
pub use hub::Watcher;
pub use leases::LeaseStatus;
pub use limits::Limits;
pub use mvcc::alarm::{Alarm, AlarmKind};
pub use mvcc::fence::Fence;
pub use mvcc::refound::Raise;
pub use mvcc::request::{
    Compare, Delete, Event, EventKind, KeyValue, Lease, Op, OpResult, Put, Range, RangeResult, Relation,
    Sort, SortTarget, Target, Txn, TxnResult, Watch, WatchBatch,
};
pub use mvcc::span::{End, Span};
pub use node::{Cluster, Disk, Identity, InitialMember, MemoryDisk, Node, NodeConfig, Timings};
pub use raft::peers::{Call, Intake, Peer, PeerError, PeerService, Peers, SnapshotFile, SnapshotOffer};
pub use status::{Addresses, Health, Member, NewMember, Role, Status};
pub use store::{History, KeySpaceHash, RebuildError, Store, WriteOptions};
