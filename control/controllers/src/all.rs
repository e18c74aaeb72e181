//! Every controller, one line each.

use crate::Shared;
use crate::claim_protection::ClaimProtectionController;
use crate::cluster_role_aggregation::ClusterRoleAggregationController;
use crate::custom_resources::CustomResourcesController;
use crate::deployment::DeploymentController;
use crate::driver::{self, Controller};
use crate::garbage_collector::GarbageCollector;
use crate::namespace::NamespaceController;
use crate::node_lifecycle::NodeLifecycleController;
use crate::pod_cidr::PodCidrController;
use crate::pod_garbage::PodGarbageController;
use crate::replica_set::ReplicaSetController;
use crate::resource_quota::ResourceQuotaController;
use crate::root_ca::RootCaController;
use crate::service_account::ServiceAccountController;
use crate::taint_eviction::TaintEvictionController;
use crate::volume_protection::VolumeProtectionController;

/// A controller by name, and how it starts.
pub struct Entry {
    pub name: &'static str,
    start: fn(&Shared),
}

impl Entry {
    const fn of<C: Controller>() -> Self {
        Self { name: C::NAME, start: driver::start::<C> }
    }

    pub(crate) fn start(&self, shared: &Shared) {
        (self.start)(shared);
    }
}

/// What [`crate::run`] starts.
pub const ALL: &[Entry] = &[
    Entry::of::<ClaimProtectionController>(),
    Entry::of::<ClusterRoleAggregationController>(),
    Entry::of::<CustomResourcesController>(),
    Entry::of::<DeploymentController>(),
    Entry { name: GarbageCollector::NAME, start: GarbageCollector::start },
    Entry::of::<NamespaceController>(),
    Entry::of::<NodeLifecycleController>(),
    Entry::of::<PodCidrController>(),
    Entry::of::<PodGarbageController>(),
    Entry::of::<ReplicaSetController>(),
    Entry::of::<ResourceQuotaController>(),
    Entry::of::<RootCaController>(),
    Entry::of::<ServiceAccountController>(),
    Entry::of::<TaintEvictionController>(),
    Entry::of::<VolumeProtectionController>(),
];
