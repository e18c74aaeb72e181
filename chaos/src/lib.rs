//! Breaks a cluster on purpose, and judges what it answered meanwhile.

pub mod check;
pub mod history;
pub mod verdict;
