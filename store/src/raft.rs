//! Replication: openraft, glued to our log, our state machine and our network.
//!
//! No type of openraft leaves this room, and none is written to disk.

pub(crate) mod addresses;
pub(crate) mod announcements;
pub(crate) mod commands;
pub(crate) mod handle;
pub(crate) mod health;
pub(crate) mod log_store;
pub(crate) mod membership;
pub(crate) mod network;
pub(crate) mod peers;
pub(crate) mod record;
pub(crate) mod refound;
pub(crate) mod replay;
pub(crate) mod replica;
pub(crate) mod service;
pub(crate) mod state_machine;
pub(crate) mod types;
