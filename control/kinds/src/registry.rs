//! All kinds in one table, and how to find one.

use std::collections::HashMap;

use crate::{Kind, apps, coordination, core, discovery};

/// Every kind that is served. The order within a group is discovery's.
pub static ALL: &[&Kind] = &[
    &core::config_map::CONFIG_MAP,
    &core::endpoints::ENDPOINTS,
    &core::event::EVENT,
    &core::namespace::NAMESPACE,
    &core::node::NODE,
    &core::pod::POD,
    &core::secret::SECRET,
    &core::service_account::SERVICE_ACCOUNT,
    &core::service::SERVICE,
    &apps::deployment::DEPLOYMENT,
    &apps::replica_set::REPLICA_SET,
    &coordination::lease::LEASE,
    &discovery::endpoint_slice::ENDPOINT_SLICE,
];

/// Groups in the order in which discovery lists them and kubectl prefers them.
const GROUPS: &[&str] = &["", "apps", "coordination.k8s.io", "discovery.k8s.io"];

/// Finds kinds by the words of a path or of an object.
pub struct Registry {
    by_plural: HashMap<(&'static str, &'static str, &'static str), &'static Kind>,
    by_kind: HashMap<(&'static str, &'static str, &'static str), &'static Kind>,
}

impl Registry {
    /// The kinds built into this program.
    pub fn builtin() -> Self {
        let by = |name: fn(&Kind) -> &'static str| {
            ALL.iter().map(|&kind| ((kind.group, kind.version, name(kind)), kind)).collect()
        };
        Self { by_plural: by(|kind| kind.plural), by_kind: by(|kind| kind.kind) }
    }

    /// By the words of a path: `("apps", "v1", "deployments")`.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        self.by_plural.get(&(group, version, plural)).copied()
    }

    /// By the words of an object: `("apps", "v1", "Deployment")`.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
        self.by_kind.get(&(group, version, kind)).copied()
    }

    /// By an object's own `apiVersion` and `kind`.
    pub fn of_type(&self, api_version: &str, kind: &str) -> Option<&'static Kind> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.kind(group, version, kind)
    }

    /// All kinds.
    pub fn all(&self) -> &'static [&'static Kind] {
        ALL
    }

    /// Groups in order of preference, each with its versions in order of preference.
    pub fn groups(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        let versions = |group: &str| {
            let mut versions: Vec<&'static str> = Vec::new();
            for kind in ALL.iter().filter(|kind| kind.group == group) {
                if !versions.contains(&kind.version) {
                    versions.push(kind.version);
                }
            }
            versions
        };
        GROUPS
            .iter()
            .map(|&group| (group, versions(group)))
            .filter(|(_, versions)| !versions.is_empty())
            .collect()
    }

    /// The kinds of one group and version, in discovery's order.
    pub fn in_version(&self, group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
        ALL.iter().copied().filter(move |kind| kind.group == group && kind.version == version)
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
            namespaces ["ns"] [] /finalize/status | Name Status Age
            nodes ["no"] [] /status | Name Status Roles Age Version Internal-IP+ External-IP+ OS-Image+ Kernel-Version+ Container-Runtime+
            pods ["po"] ["all"] /binding/eviction/log/status | Name Ready Status Restarts Age IP+ Node+ Nominated Node+ Readiness Gates+
            secrets [] [] / | Name Type Data Age
            serviceaccounts ["sa"] [] / | Name Secrets Age
            services ["svc"] ["all"] /status | Name Type Cluster-IP External-IP Port(s) Age Selector+
            deployments.apps ["deploy"] ["all"] /scale/status | Name Ready Up-to-date Available Age Containers+ Images+ Selector+
            replicasets.apps ["rs"] ["all"] /scale/status | Name Desired Current Ready Age Containers+ Images+ Selector+
            leases.coordination.k8s.io [] [] / | Name Holder Age
            endpointslices.discovery.k8s.io [] [] / | Name AddressType Ports Endpoints Age
        "#]].assert_eq(&ALL.iter().map(line).collect::<String>());
    }
}
