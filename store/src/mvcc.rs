//! The pure half of the store: revisions, transactions, leases, compaction and watch matching.
//!
//! Everything here is a function of rows and a command. No async, no disk, no clock, no chance: two replicas that
//! apply the same commands hold the same rows.

pub mod request;
pub mod span;
