//! Leader-elected reconcilers: each observes its caches, plans, and acts; none talks to another.
//!
//! Every process runs every controller as a candidate; a Lease decides which one acts, and each of its writes carries
//! the lease's epoch.

mod all;
mod claim_protection;
mod cluster_role_aggregation;
mod context;
mod custom_resources;
mod deployment;
mod driver;
mod emptying;
#[cfg(test)]
mod faults;
mod finalizers;
mod garbage_collector;
mod metrics;
mod namespace;
mod node_lifecycle;
mod pod_cidr;
mod pod_garbage;
mod pods;
mod replica_set;
mod resource_quota;
mod root_ca;
mod service_account;
mod taint_eviction;
mod volume_protection;
#[cfg(test)]
mod world;

use std::sync::Arc;

use base::{Clock, Entropy, Tasks};
use client::{ApiResource, Client, ElectionConfig, Informers, Recorder};
use kinds::Verb;

pub use crate::all::{ALL, Entry};
pub use crate::metrics::describe as describe_metrics;
pub use crate::pod_cidr::{ClusterCidr, ClusterCidrError};

/// What all controllers of one process share.
#[derive(Clone)]
pub struct ControllersConfig {
    /// As the identity of the controllers.
    pub client: Client,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// One set of caches for the process.
    pub informers: Informers,
    /// This process's name in elections; no two processes share it, nor do a process and its successor.
    pub identity: String,
    pub election: ElectionConfig,
    /// Where each node's pod addresses come from.
    pub cluster_cidr: ClusterCidr,
    /// The certificate of the API's authority, PEM, which every namespace is told; nothing: none is.
    pub root_ca: Option<String>,
}

/// What each controller is started with.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: ControllersConfig,
    pub(crate) recorder: Recorder,
    pub(crate) tasks: Tasks,
}

/// Starts every controller of [`ALL`]; they end with the tasks' stop token.
pub fn run(config: ControllersConfig, tasks: &Tasks) {
    let clock = config.clock.clone();
    let recorder = Recorder::start(&config.client, "controllers", "", clock, tasks);
    let shared = Shared { config, recorder, tasks: tasks.clone() };
    for entry in ALL {
        entry.start(&shared);
    }
}

/// Every resource that can be listed, watched and deleted, each in one version: what namespaces contain and owners own.
fn resources() -> Vec<ApiResource> {
    let needed = [Verb::List, Verb::Watch, Verb::Delete];
    let kinds = kinds::ALL.iter().filter(|kind| kind.conversion.is_none());
    let kinds = kinds.filter(|kind| needed.iter().all(|verb| kind.allows(*verb)));
    let resources = kinds.map(|kind| ApiResource {
        group: kind.group.into(),
        version: kind.version.into(),
        kind: kind.kind.into(),
        plural: kind.plural.into(),
        namespaced: kind.namespaced,
    });
    resources.collect()
}
