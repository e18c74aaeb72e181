//! The API over `handle`, on a store in memory. Expected texts are those of a real server (`api-probes.txt`).

pub(crate) mod bench;
mod deletes;
mod discovery;
mod fencing;
mod patches;
mod reads;
mod watches;
mod workloads;
mod writes;
