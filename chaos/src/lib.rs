//! Breaks a cluster on purpose, and judges what it answered meanwhile.

pub mod check;
pub mod client;
pub mod dice;
pub mod history;
pub mod verdict;
pub mod workloads;
