//! Replication: openraft, glued to our log, our state machine and our network.

pub mod peers;
