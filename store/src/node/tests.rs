//! Whole nodes in one process: alone, three together over a network in memory, and on a real disk.

mod ahead;
mod auth;
mod cluster;
mod crash;
mod full_disk;
mod history;
mod known_bugs;
mod leases;
mod members;
mod power_loss;
mod quarantine;
mod restart;
mod restored;
mod retries;
mod single;
mod space;
mod victim;
mod watches;
