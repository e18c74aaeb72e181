//! Breaks a cluster on purpose, and judges what it answered meanwhile.

pub mod history;
pub mod verdict;
