//! The pure half of the store: revisions, transactions, leases, compaction and watch matching.
//!
//! Everything here is a function of rows and a command. No async, no disk, no clock, no chance: two replicas that
//! apply the same commands hold the same rows. Rows are reached through [`tables::View`].

pub(crate) mod alarm;
pub(crate) mod auth;
pub(crate) mod catch_up;
pub(crate) mod compaction;
pub(crate) mod fence;
pub(crate) mod head;
pub(crate) mod history;
pub(crate) mod keyspace;
pub(crate) mod layout;
pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod newest;
pub(crate) mod overlay;
pub(crate) mod refound;
pub(crate) mod request;
pub(crate) mod retries;
pub(crate) mod scrub;
pub(crate) mod span;
pub(crate) mod state_hash;
pub(crate) mod tables;
pub(crate) mod txn;
pub(crate) mod validate;
