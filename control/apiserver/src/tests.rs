//! The API over `handle`, on a store in memory. Expected texts are those of a real server (`api-probes.txt`).

mod applies;
pub(crate) mod bench;
mod certificates;
mod classes;
mod deletes;
mod discovery;
mod fencing;
mod limits;
mod long_lists;
mod noise;
mod past;
mod patches;
mod pod_accounts;
mod priorities;
mod probes;
mod protobuf;
mod quotas;
mod reads;
mod services;
mod tokens;
mod transactions;
mod versions;
mod watches;
mod workloads;
mod writes;
