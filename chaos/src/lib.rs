//! Breaks a cluster on purpose, and judges what it answered meanwhile.

pub mod bugs;
pub mod check;
pub mod client;
pub mod cluster;
pub mod dice;
pub mod doctor;
pub mod export;
pub mod faults;
pub mod gate;
pub mod history;
pub mod live;
pub mod model;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod sim;
pub mod verdict;
pub mod workloads;
