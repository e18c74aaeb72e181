//! All kinds in one table, and how to find one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::custom::{Definition, by_priority};
use crate::{
    Kind, apiextensions, apps, authentication, authorization, batch, coordination, core, discovery,
    networking, node, policy, rbac, scheduling, storage,
};

/// Every kind that is served. The order within a group is discovery's.
pub static ALL: &[&Kind] = &[
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
    &apps::controller_revision::CONTROLLER_REVISION,
    &apps::daemon_set::DAEMON_SET,
    &apps::deployment::DEPLOYMENT,
    &apps::replica_set::REPLICA_SET,
    &apps::stateful_set::STATEFUL_SET,
    &authentication::SELF_SUBJECT_REVIEW,
    &authentication::TOKEN_REVIEW,
    &authorization::LOCAL_SUBJECT_ACCESS_REVIEW,
    &authorization::SELF_SUBJECT_ACCESS_REVIEW,
    &authorization::SELF_SUBJECT_RULES_REVIEW,
    &authorization::SUBJECT_ACCESS_REVIEW,
    &batch::cron_job::CRON_JOB,
    &batch::job::JOB,
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
    &scheduling::priority_class::PRIORITY_CLASS,
    &coordination::lease::LEASE,
    &node::runtime_class::RUNTIME_CLASS,
    &discovery::endpoint_slice::ENDPOINT_SLICE,
    &apiextensions::custom_resource_definition::CUSTOM_RESOURCE_DEFINITION,
];

/// Groups in the order in which discovery lists them and kubectl prefers them.
const GROUPS: &[&str] = &[
    "",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "apiextensions.k8s.io",
];

/// Finds kinds by the words of a path or of an object: those of this program, and custom ones as they come and go.
///
/// Custom kinds are looked up in a snapshot that is replaced as a whole, so a reader holds no lock while it looks.
#[derive(Default)]
pub struct Registry {
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

impl Default for Snapshot {
    fn default() -> Self {
        Self::of(&[], 0)
    }
}

impl Snapshot {
    fn of(custom: &[&'static Kind], generation: u64) -> Self {
        let mut custom = custom.to_vec();
        custom.sort_by(|a, b| {
            let versions = by_priority(a.version, b.version);
            a.group.cmp(b.group).then(versions).then(a.plural.cmp(b.plural))
        });
        let all: Vec<&'static Kind> = ALL.iter().copied().chain(custom).collect();
        let by = |name: fn(&Kind) -> &'static str| {
            all.iter().map(|&kind| ((kind.group, kind.version, name(kind)), kind)).collect()
        };
        Self { by_plural: by(|kind| kind.plural), by_kind: by(|kind| kind.kind), all, generation }
    }
}

impl Registry {
    /// The kinds built into this program.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// The kinds of a definition, compiled once for each different text.
    pub fn compile(&self, definition: &Definition) -> &'static [&'static Kind] {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.entry(definition.digest()).or_insert_with(|| definition.compile().leak())
    }

    /// From now on these are the custom kinds. Whether that is a change.
    pub fn replace_custom(&self, kinds: &[&'static Kind]) -> bool {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        let next = Snapshot::of(kinds, custom.generation + 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use expect_test::expect;

    #[test]
    fn every_kind_is_found_by_its_names_and_in_the_schema() {
        let registry = Registry::builtin();
        let schema = Schema::builtin();
        for kind in ALL {
            assert!(registry.resource(kind.group, kind.version, kind.plural).is_some(), "{}", kind.kind);
            assert!(registry.of_type(&kind.api_version(), kind.kind).is_some(), "{}", kind.kind);
            assert!(schema.type_of(kind.definition).is_some(), "{}", kind.definition);
            assert!(GROUPS.contains(&kind.group), "{}", kind.group);
        }
        assert_eq!(registry.groups().len(), GROUPS.len());
    }

    #[test]
    fn what_is_served() {
        let line = |kind: &&Kind| {
            let subresources: Vec<&str> =
                kind.subresources.iter().map(|subresource| subresource.name).collect();
            let columns: Vec<String> = kind
                .columns
                .iter()
                .map(|column| format!("{}{}", column.name, if column.priority > 0 { "+" } else { "" }))
                .collect();
            format!(
                "{} {:?} {:?} /{} | {}\n",
                kind.resource(),
                kind.short_names,
                kind.categories,
                subresources.join("/"),
                columns.join(" ")
            )
        };
        expect![[r#"
            configmaps ["cm"] [] / | Name Data Age
            endpoints ["ep"] [] / | Name Endpoints Age
            events ["ev"] [] / | Last Seen Type Reason Object Subobject+ Source+ Message First Seen+ Count+ Name+
            limitranges ["limits"] [] / | Name Created At
            namespaces ["ns"] [] /finalize/status | Name Status Age
            nodes ["no"] [] /status | Name Status Roles Age Version Internal-IP+ External-IP+ OS-Image+ Kernel-Version+ Container-Runtime+
            persistentvolumeclaims ["pvc"] [] /status | Name Status Volume Capacity Access Modes StorageClass VolumeAttributesClass Age VolumeMode+
            persistentvolumes ["pv"] [] /status | Name Capacity Access Modes Reclaim Policy Status Claim StorageClass VolumeAttributesClass Reason Age VolumeMode+
            pods ["po"] ["all"] /binding/eviction/log/status | Name Ready Status Restarts Age IP+ Node+ Nominated Node+ Readiness Gates+
            podtemplates [] [] / | Name Containers Images Pod Labels
            replicationcontrollers ["rc"] ["all"] /scale/status | Name Desired Current Ready Age Containers+ Images+ Selector+
            resourcequotas ["quota"] [] /status | Name Request Limit Age
            secrets [] [] / | Name Type Data Age
            serviceaccounts ["sa"] [] /token | Name Secrets Age
            services ["svc"] ["all"] /status | Name Type Cluster-IP External-IP Port(s) Age Selector+
            controllerrevisions.apps [] [] / | Name Controller Revision Age
            daemonsets.apps ["ds"] ["all"] /status | Name Desired Current Ready Up-to-date Available Node Selector Age Containers+ Images+ Selector+
            deployments.apps ["deploy"] ["all"] /scale/status | Name Ready Up-to-date Available Age Containers+ Images+ Selector+
            replicasets.apps ["rs"] ["all"] /scale/status | Name Desired Current Ready Age Containers+ Images+ Selector+
            statefulsets.apps ["sts"] ["all"] /scale/status | Name Ready Age Containers+ Images+
            selfsubjectreviews.authentication.k8s.io [] [] / | Name Age
            tokenreviews.authentication.k8s.io [] [] / | Name Age
            localsubjectaccessreviews.authorization.k8s.io [] [] / | Name Age
            selfsubjectaccessreviews.authorization.k8s.io [] [] / | Name Age
            selfsubjectrulesreviews.authorization.k8s.io [] [] / | Name Age
            subjectaccessreviews.authorization.k8s.io [] [] / | Name Age
            cronjobs.batch ["cj"] ["all"] /status | Name Schedule Timezone Suspend Active Last Schedule Age Containers+ Images+ Selector+
            jobs.batch [] ["all"] /status | Name Status Completions Duration Age Containers+ Images+ Selector+
            ingressclasses.networking.k8s.io [] [] / | Name Controller Parameters Age
            ingresses.networking.k8s.io ["ing"] [] /status | Name Class Hosts Address Ports Age
            ipaddresses.networking.k8s.io ["ip"] [] / | Name ParentRef Age
            networkpolicies.networking.k8s.io ["netpol"] [] / | Name Pod-Selector Age
            servicecidrs.networking.k8s.io [] [] /status | Name CIDRs Age
            poddisruptionbudgets.policy ["pdb"] [] /status | Name Min Available Max Unavailable Allowed Disruptions Age
            clusterrolebindings.rbac.authorization.k8s.io [] [] / | Name Role Age Users+ Groups+ ServiceAccounts+
            clusterroles.rbac.authorization.k8s.io [] [] / | Name Created At
            rolebindings.rbac.authorization.k8s.io [] [] / | Name Role Age Users+ Groups+ ServiceAccounts+
            roles.rbac.authorization.k8s.io [] [] / | Name Created At
            csidrivers.storage.k8s.io [] [] / | Name AttachRequired PodInfoOnMount StorageCapacity TokenRequests RequiresRepublish Modes Age
            csinodes.storage.k8s.io [] [] / | Name Drivers Age
            csistoragecapacities.storage.k8s.io [] [] / | Name StorageClassName Capacity
            storageclasses.storage.k8s.io ["sc"] [] / | Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion Age
            volumeattachments.storage.k8s.io [] [] /status | Name Attacher PV Node Attached Age
            volumeattributesclasses.storage.k8s.io ["vac"] [] / | Name DriverName Age
            priorityclasses.scheduling.k8s.io ["pc"] [] / | Name Value Global-Default Age PreemptionPolicy
            leases.coordination.k8s.io [] [] / | Name Holder Age
            runtimeclasses.node.k8s.io [] [] / | Name Handler Age
            endpointslices.discovery.k8s.io [] [] / | Name AddressType Ports Endpoints Age
            customresourcedefinitions.apiextensions.k8s.io ["crd", "crds"] ["api-extensions"] /status | Name Created At
        "#]].assert_eq(&ALL.iter().map(line).collect::<String>());
    }
}
