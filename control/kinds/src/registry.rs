//! All kinds in one table, and how to find one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::custom::{Definition, by_priority};
use crate::{
    Kind, admissionregistration, apiextensions, apiregistration, apps, authentication, authorization,
    autoscaling, batch, certificates, coordination, core, discovery, events, flowcontrol, metrics,
    networking, node, policy, rbac, resource, scheduling, storage,
};

/// Every kind that is served. The order within a group is discovery's.
pub static ALL: &[&Kind] = &[
    &core::component_status::COMPONENT_STATUS,
    &core::config_map::CONFIG_MAP,
    &core::endpoints::ENDPOINTS,
    &core::event::EVENT,
    &core::limit_range::LIMIT_RANGE,
    &core::namespace::NAMESPACE,
    &core::node::NODE,
    &core::persistent_volume_claim::PERSISTENT_VOLUME_CLAIM,
    &core::persistent_volume::PERSISTENT_VOLUME,
    &core::pod::POD,
    &core::pod_template::POD_TEMPLATE,
    &core::replication_controller::REPLICATION_CONTROLLER,
    &core::resource_quota::RESOURCE_QUOTA,
    &core::secret::SECRET,
    &core::service_account::SERVICE_ACCOUNT,
    &core::service::SERVICE,
    &apiregistration::API_SERVICE,
    &apps::controller_revision::CONTROLLER_REVISION,
    &apps::daemon_set::DAEMON_SET,
    &apps::deployment::DEPLOYMENT,
    &apps::replica_set::REPLICA_SET,
    &apps::stateful_set::STATEFUL_SET,
    &events::EVENT_V1,
    &authentication::SELF_SUBJECT_REVIEW,
    &authentication::TOKEN_REVIEW,
    &authorization::LOCAL_SUBJECT_ACCESS_REVIEW,
    &authorization::SELF_SUBJECT_ACCESS_REVIEW,
    &authorization::SELF_SUBJECT_RULES_REVIEW,
    &authorization::SUBJECT_ACCESS_REVIEW,
    &autoscaling::horizontal_pod_autoscaler::HORIZONTAL_POD_AUTOSCALER,
    &autoscaling::older::HORIZONTAL_POD_AUTOSCALER_V1,
    &batch::cron_job::CRON_JOB,
    &batch::job::JOB,
    &certificates::certificate_signing_request::CERTIFICATE_SIGNING_REQUEST,
    &networking::ingress_class::INGRESS_CLASS,
    &networking::ingress::INGRESS,
    &networking::ip_address::IP_ADDRESS,
    &networking::network_policy::NETWORK_POLICY,
    &networking::service_cidr::SERVICE_CIDR,
    &policy::pod_disruption_budget::POD_DISRUPTION_BUDGET,
    &rbac::binding::CLUSTER_ROLE_BINDING,
    &rbac::role::CLUSTER_ROLE,
    &rbac::binding::ROLE_BINDING,
    &rbac::role::ROLE,
    &storage::csi_driver::CSI_DRIVER,
    &storage::csi_node::CSI_NODE,
    &storage::capacity::CSI_STORAGE_CAPACITY,
    &storage::storage_class::STORAGE_CLASS,
    &storage::volume_attachment::VOLUME_ATTACHMENT,
    &storage::attributes_class::VOLUME_ATTRIBUTES_CLASS,
    &admissionregistration::policy::MUTATING_ADMISSION_POLICY,
    &admissionregistration::policy_binding::MUTATING_ADMISSION_POLICY_BINDING,
    &admissionregistration::webhook_configuration::MUTATING_WEBHOOK_CONFIGURATION,
    &admissionregistration::policy::VALIDATING_ADMISSION_POLICY,
    &admissionregistration::policy_binding::VALIDATING_ADMISSION_POLICY_BINDING,
    &admissionregistration::webhook_configuration::VALIDATING_WEBHOOK_CONFIGURATION,
    &scheduling::priority_class::PRIORITY_CLASS,
    &coordination::lease::LEASE,
    &node::runtime_class::RUNTIME_CLASS,
    &discovery::endpoint_slice::ENDPOINT_SLICE,
    &flowcontrol::flow_schema::FLOW_SCHEMA,
    &flowcontrol::priority_level_configuration::PRIORITY_LEVEL_CONFIGURATION,
    &resource::device_class::DEVICE_CLASS,
    &resource::resource_claim::RESOURCE_CLAIM,
    &resource::resource_claim::RESOURCE_CLAIM_TEMPLATE,
    &resource::resource_slice::RESOURCE_SLICE,
    &apiextensions::custom_resource_definition::CUSTOM_RESOURCE_DEFINITION,
    &metrics::NODE_METRICS,
    &metrics::POD_METRICS,
];

/// Versions that Kubernetes no longer serves, for clients that know no newer: served where a server is told to.
pub static LEGACY: &[&Kind] = &[
    &autoscaling::older::HORIZONTAL_POD_AUTOSCALER_V2BETA2,
    &batch::older::CRON_JOB_V1BETA1,
    &networking::older::INGRESS_CLASS_V1BETA1,
    &networking::older::INGRESS_V1BETA1,
    &policy::older::POD_DISRUPTION_BUDGET_V1BETA1,
    &rbac::older::CLUSTER_ROLE_BINDING_V1BETA1,
    &rbac::older::CLUSTER_ROLE_V1BETA1,
    &rbac::older::ROLE_BINDING_V1BETA1,
    &rbac::older::ROLE_V1BETA1,
    &discovery::older::ENDPOINT_SLICE_V1BETA1,
];

/// Groups in the order in which discovery lists them and kubectl prefers them.
const GROUPS: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "resource.k8s.io",
    "apiextensions.k8s.io",
    metrics::GROUP,
];

/// Finds kinds by the words of a path or of an object: those of this program, and custom ones as they come and go.
///
/// Custom kinds are looked up in a snapshot that is replaced as a whole, so a reader holds no lock while it looks.
pub struct Registry {
    builtin: Vec<&'static Kind>,
    custom: RwLock<Arc<Snapshot>>,
    /// Everything that was ever compiled here; see [`crate::custom`].
    compiled: Mutex<HashMap<[u8; 32], &'static [&'static Kind]>>,
}

/// All kinds at one moment.
struct Snapshot {
    by_plural: HashMap<Words, &'static Kind>,
    by_kind: HashMap<Words, &'static Kind>,
    /// In discovery's order.
    all: Vec<&'static Kind>,
    generation: u64,
}

type Words = (&'static str, &'static str, &'static str);

impl Snapshot {
    fn of(builtin: &[&'static Kind], custom: &[&'static Kind], generation: u64) -> Self {
        let mut custom = custom.to_vec();
        custom.sort_by(|a, b| {
            let versions = by_priority(a.version, b.version);
            a.group.cmp(b.group).then(versions).then(a.plural.cmp(b.plural))
        });
        let all: Vec<&'static Kind> = builtin.iter().copied().chain(custom).collect();
        let by = |name: fn(&Kind) -> &'static str| {
            all.iter().map(|&kind| ((kind.group, kind.version, name(kind)), kind)).collect()
        };
        Self { by_plural: by(|kind| kind.plural), by_kind: by(|kind| kind.kind), all, generation }
    }
}

impl Registry {
    /// The kinds built into this program.
    pub fn builtin() -> Self {
        Self::of(ALL.to_vec())
    }

    /// These, and the versions that are there for old clients.
    pub fn with_legacy() -> Self {
        Self::of([ALL, LEGACY].concat())
    }

    fn of(builtin: Vec<&'static Kind>) -> Self {
        let custom = RwLock::new(Arc::new(Snapshot::of(&builtin, &[], 0)));
        Self { builtin, custom, compiled: Mutex::default() }
    }

    /// The kinds of a definition, compiled once for each different text.
    pub fn compile(&self, definition: &Definition) -> &'static [&'static Kind] {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.entry(definition.digest()).or_insert_with(|| definition.compile().leak())
    }

    /// From now on these are the custom kinds. Whether that is a change.
    pub fn replace_custom(&self, kinds: &[&'static Kind]) -> bool {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        let next = Snapshot::of(&self.builtin, kinds, custom.generation + 1);
        let is_same = next.all.len() == custom.all.len()
            && next.all.iter().zip(&custom.all).all(|(next, now)| std::ptr::eq(*next, *now));
        if !is_same {
            *custom = Arc::new(next);
        }
        !is_same
    }

    /// Moves with every change of the custom kinds.
    pub fn generation(&self) -> u64 {
        self.now().generation
    }

    /// By the words of a path: `("apps", "v1", "deployments")`.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        self.now().by_plural.get(&(group, version, plural)).copied()
    }

    /// By the words of an object: `("apps", "v1", "Deployment")`.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
        self.now().by_kind.get(&(group, version, kind)).copied()
    }

    /// By an object's own `apiVersion` and `kind`.
    pub fn of_type(&self, api_version: &str, kind: &str) -> Option<&'static Kind> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.kind(group, version, kind)
    }

    /// All kinds.
    pub fn all(&self) -> Vec<&'static Kind> {
        self.now().all.clone()
    }

    /// Groups in order of preference, each with its versions in order of preference.
    pub fn groups(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        let mut groups: Vec<(&'static str, Vec<&'static str>)> =
            GROUPS.iter().map(|group| (*group, Vec::new())).collect();
        for kind in &self.now().all {
            let at = groups.iter().position(|(group, _)| *group == kind.group).unwrap_or_else(|| {
                groups.push((kind.group, Vec::new()));
                groups.len() - 1
            });
            if !groups[at].1.contains(&kind.version) {
                groups[at].1.push(kind.version);
            }
        }
        groups
    }

    /// The kinds of one group and version, in discovery's order.
    pub fn in_version(&self, group: &str, version: &str) -> impl Iterator<Item = &'static Kind> + use<> {
        let kinds = self.now();
        let found: Vec<&'static Kind> =
            kinds.all.iter().copied().filter(|kind| kind.group == group && kind.version == version).collect();
        found.into_iter()
    }

    fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.custom.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The kind that serves objects of `kind` as `api_version`, whether it is served or not.
pub(crate) fn sibling(kind: &'static Kind, api_version: &str) -> Option<&'static Kind> {
    let is_it = |other: &&&'static Kind| {
        std::ptr::eq(other.stored(), kind.stored()) && other.api_version() == api_version
    };
    ALL.iter().chain(LEGACY).find(is_it).copied()
}

#[cfg(test)]
mod tests;
