//! Watched caches of what agents need, and what follows from them for one node.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Cache, HasMetadata, Index, Informers, ObjectKey};
use k8s_openapi::api::core::v1::{
    ConfigMap, EnvFromSource, EnvVar, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec, Secret,
    Service, Volume,
};
use proto::agent::{ObjectId, ObjectKind, Peer, Settings};
use tokio::sync::watch;

use super::sessions::{Source, Wanted, WantedObject};

/// The Service of the API itself, which every container's environment names.
const API_SERVICE: (&str, &str) = ("default", "kubernetes");

pub(super) const BY_NODE: Index<Pod> = Index {
    name: "node",
    values: |pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).into_iter().collect(),
};

pub(crate) struct View {
    pods: Cache<Pod>,
    config_maps: Cache<ConfigMap>,
    secrets: Cache<Secret>,
    services: Cache<Service>,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    nodes: Cache<Node>,
    cluster_cidr: String,
    changes: watch::Receiver<u64>,
}

impl View {
    pub(crate) fn of(informers: &Informers, cluster_cidr: String) -> Self {
        let view_changes = watch::Sender::new(0);
        let changes = view_changes.subscribe();
        let view = Self {
            pods: informers.cache(),
            config_maps: informers.cache(),
            secrets: informers.cache(),
            services: informers.cache(),
            claims: informers.cache(),
            volumes: informers.cache(),
            nodes: informers.cache(),
            cluster_cidr,
            changes,
        };
        view.pods.add_index(BY_NODE);
        let bump = Arc::new(move || view_changes.send_modify(|count| *count += 1));
        moves(&view.pods, &bump);
        moves(&view.config_maps, &bump);
        moves(&view.secrets, &bump);
        moves(&view.services, &bump);
        moves(&view.claims, &bump);
        moves(&view.volumes, &bump);
        moves(&view.nodes, &bump);
        view
    }

    pub(crate) fn nodes(&self) -> Cache<Node> {
        self.nodes.clone()
    }

    /// The pod, if it is this one and on this node. A pod never moves.
    pub(crate) fn pod_on(&self, node: &str, key: &ObjectKey, uid: &str) -> Option<Arc<Pod>> {
        let pod = self.pods.get(key).filter(|pod| pod.uid() == uid)?;
        let its_node = pod.spec.as_ref()?.node_name.as_deref();
        (its_node == Some(node)).then_some(pod)
    }

    pub(crate) fn pods(&self) -> Cache<Pod> {
        self.pods.clone()
    }

    /// Moves with every change of any cache.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Waits for the first list of every kind.
    pub(crate) async fn synced(&self) {
        self.pods.synced().await;
        self.config_maps.synced().await;
        self.secrets.synced().await;
        self.services.synced().await;
        self.claims.synced().await;
        self.volumes.synced().await;
        self.nodes.synced().await;
    }

    /// Waits until each of these pods, or a later state of it, is in the cache.
    pub(crate) async fn holds(&self, fresh: &[Pod]) {
        let newest = fresh.iter().map(HasMetadata::revision).max().unwrap_or_default();
        let cached = |cache: &Cache<Pod>, pod: &Pod| {
            cache
                .get(&pod.key())
                .is_some_and(|known| known.uid() == pod.uid() && known.revision() >= pod.revision())
        };
        self.pods
            .wait_until(|cache| cache.has_seen(newest) || fresh.iter().all(|pod| cached(cache, pod)))
            .await;
    }

    /// Everything that a node should know now.
    pub(crate) fn wanted_by(&self, node: &str) -> Wanted {
        let mut wanted = Wanted::default();
        let mut linked = BTreeSet::new();
        for pod in self.pods.by_index(BY_NODE.name, node) {
            for (kind, name) in references(&pod) {
                self.add_referenced(&mut wanted, kind, ObjectKey::namespaced(pod.namespace(), name));
            }
            if pod.spec.as_ref().is_some_and(|spec| spec.enable_service_links != Some(false)) {
                linked.insert(pod.namespace().to_owned());
            }
            add(&mut wanted, ObjectKind::Pod, Some(pod), Source::Pod);
        }
        let api = self.services.get(&ObjectKey::namespaced(API_SERVICE.0, API_SERVICE.1));
        add(&mut wanted, ObjectKind::Service, api, Source::Service);
        for service in linked.iter().flat_map(|namespace| self.services.in_namespace(namespace)) {
            add(&mut wanted, ObjectKind::Service, Some(service), Source::Service);
        }
        let nodes = self.nodes.list();
        wanted.peers =
            nodes.iter().filter(|other| other.name() != node).filter_map(|other| peer(other)).collect();
        let own = nodes.iter().find(|other| other.name() == node);
        wanted.settings = Settings {
            pod_cidr: own.and_then(|own| pod_cidr(own)).unwrap_or_default(),
            cluster_cidr: self.cluster_cidr.clone(),
            node_labels: own.and_then(|own| own.metadata.labels.clone()).into_iter().flatten().collect(),
        };
        wanted
    }

    /// What a pod names, and with a claim the volume that it is bound to.
    fn add_referenced(&self, wanted: &mut Wanted, kind: ObjectKind, key: ObjectKey) {
        match kind {
            ObjectKind::ConfigMap => add(wanted, kind, self.config_maps.get(&key), Source::ConfigMap),
            ObjectKind::Secret => add(wanted, kind, self.secrets.get(&key), Source::Secret),
            ObjectKind::PersistentVolumeClaim => {
                let claim = self.claims.get(&key);
                let volume = claim.as_ref().and_then(|claim| claim.spec.as_ref()?.volume_name.clone());
                let volume = volume.and_then(|name| self.volumes.get(&ObjectKey::cluster(name)));
                add(wanted, kind, claim, Source::Claim);
                add(wanted, ObjectKind::PersistentVolume, volume, Source::Volume);
            }
            ObjectKind::Unspecified
            | ObjectKind::Pod
            | ObjectKind::Service
            | ObjectKind::PersistentVolume => {}
        }
    }
}

/// Lets every change of a cache be noticed.
fn moves<K: HasMetadata + Send + Sync + 'static>(
    cache: &Cache<K>,
    bump: &Arc<impl Fn() + Send + Sync + 'static>,
) {
    let bump = bump.clone();
    cache.on_change(move |_| bump());
}

fn add<K: HasMetadata>(
    wanted: &mut Wanted,
    kind: ObjectKind,
    object: Option<Arc<K>>,
    source: fn(Arc<K>) -> Source,
) {
    // An object that does not exist (yet) is not news; the cache's change will be.
    let Some(object) = object else { return };
    let id = ObjectId {
        kind: kind.into(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
    };
    let key = (id.kind, id.namespace.clone(), id.name.clone());
    let resource_version = object.meta().resource_version.clone().unwrap_or_default();
    wanted.objects.insert(key, WantedObject { id, resource_version, object: source(object) });
}

fn peer(node: &Node) -> Option<Peer> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let internal = addresses.iter().find(|address| address.type_ == "InternalIP")?;
    Some(Peer {
        node: node.name().to_owned(),
        internal_ip: internal.address.clone(),
        pod_cidr: pod_cidr(node)?,
    })
}

fn pod_cidr(node: &Node) -> Option<String> {
    node.spec.as_ref()?.pod_cidr.clone()
}

/// The ConfigMaps, Secrets and claims that a pod names.
fn references(pod: &Pod) -> BTreeSet<(ObjectKind, String)> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let of_volume = |volume| of_volume(pod.name(), volume);
    let ephemeral = ephemeral_environments(spec);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let pull_secrets = spec.image_pull_secrets.iter().flatten().map(|source| secret(&source.name));
    containers
        .flat_map(|container| of_environment(&container.env, &container.env_from))
        .chain(ephemeral)
        .chain(spec.volumes.iter().flatten().flat_map(of_volume))
        .chain(pull_secrets)
        .collect()
}

fn config_map(name: &str) -> (ObjectKind, String) {
    (ObjectKind::ConfigMap, name.to_owned())
}

fn secret(name: &str) -> (ObjectKind, String) {
    (ObjectKind::Secret, name.to_owned())
}

fn of_volume(pod: &str, volume: &Volume) -> Vec<(ObjectKind, String)> {
    let mut all = Vec::new();
    all.extend(volume.config_map.iter().map(|source| config_map(&source.name)));
    all.extend(volume.secret.iter().filter_map(|source| source.secret_name.as_deref()).map(secret));
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        all.extend(source.config_map.iter().map(|source| config_map(&source.name)));
        all.extend(source.secret.iter().map(|source| secret(&source.name)));
    }
    let claim = |name: String| (ObjectKind::PersistentVolumeClaim, name);
    all.extend(volume.persistent_volume_claim.iter().map(|source| claim(source.claim_name.clone())));
    // The claim that a generic ephemeral volume gets.
    all.extend(volume.ephemeral.iter().map(|_| claim(format!("{pod}-{}", volume.name))));
    all
}

fn ephemeral_environments(spec: &PodSpec) -> Vec<(ObjectKind, String)> {
    let containers = spec.ephemeral_containers.iter().flatten();
    containers.flat_map(|container| of_environment(&container.env, &container.env_from)).collect()
}

fn of_environment(
    env: &Option<Vec<EnvVar>>,
    env_from: &Option<Vec<EnvFromSource>>,
) -> Vec<(ObjectKind, String)> {
    let mut all = Vec::new();
    for source in env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        all.extend(source.config_map_key_ref.iter().map(|selector| config_map(&selector.name)));
        all.extend(source.secret_key_ref.iter().map(|selector| secret(&selector.name)));
    }
    for source in env_from.iter().flatten() {
        all.extend(source.config_map_ref.iter().map(|source| config_map(&source.name)));
        all.extend(source.secret_ref.iter().map(|source| secret(&source.name)));
    }
    all
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(spec: &str, expected: Expect) {
        let spec: PodSpec = serde_json::from_str(spec).unwrap();
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        pod.metadata.name = Some("web-1".to_owned());
        let all: Vec<String> =
            references(&pod).iter().map(|(kind, name)| format!("{kind:?} {name}")).collect();
        expected.assert_eq(&all.join(", "));
    }

    #[test]
    fn a_pod_needs_its_claims() {
        check(
            r#"{"containers": [{"name": "c"}], "volumes": [
              {"name": "data", "persistentVolumeClaim": {"claimName": "disk"}},
              {"name": "scratch", "ephemeral": {}}]}"#,
            expect!["PersistentVolumeClaim disk, PersistentVolumeClaim web-1-scratch"],
        );
    }

    #[test]
    fn a_pod_needs_what_its_volumes_and_environment_name() {
        check(r#"{"containers": [{"name": "c"}]}"#, expect![""]);
        check(
            r#"{
              "containers": [{"name": "c", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "env-map", "key": "k"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "k"}}},
                {"name": "C", "value": "literal"}]}],
              "initContainers": [{"name": "i", "envFrom": [
                {"configMapRef": {"name": "from-map"}}, {"secretRef": {"name": "from-secret"}}]}],
              "volumes": [
                {"name": "m", "configMap": {"name": "volume-map"}},
                {"name": "s", "secret": {"secretName": "volume-secret"}},
                {"name": "p", "projected": {"sources": [
                  {"configMap": {"name": "projected-map"}}, {"secret": {"name": "projected-secret"}}]}}],
              "imagePullSecrets": [{"name": "pull-secret"}]
            }"#,
            expect![
                "ConfigMap env-map, ConfigMap from-map, ConfigMap projected-map, ConfigMap volume-map, Secret env-secret, Secret from-secret, Secret projected-secret, Secret pull-secret, Secret volume-secret"
            ],
        );
    }
}
