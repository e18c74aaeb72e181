//! Watched caches of what agents need, and what follows from them for one node.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{ApiResource, Cache, HasMetadata, Index, Informers, ObjectKey, Partial};
use k8s_openapi::api::core::v1::{
    ConfigMap, EnvFromSource, EnvVar, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec, Secret,
    Service, Volume,
};
use proto::agent::{ObjectId, ObjectKind, Peer, Settings};

use super::peers::{Page, PeerNews, Peers};
use super::sessions::{Source, Wanted, WantedObject};
use super::wakes::{Changes, Wakes};

/// The Service of the API itself, which every container's environment names.
const API_SERVICE: (&str, &str) = ("default", "kubernetes");

pub(super) const BY_NODE: Index<Pod> = Index {
    name: "node",
    values: |pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).into_iter().collect(),
};

pub(crate) struct View {
    pods: Cache<Pod>,
    /// There may be many that no pod names: what is in them is read when a node is to have it.
    config_maps: Cache<Partial>,
    secrets: Cache<Partial>,
    services: Cache<Service>,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    nodes: Cache<Node>,
    cluster_cidr: String,
    wakes: Arc<Wakes>,
    peers: Arc<Peers>,
}

impl View {
    pub(crate) fn of(informers: &Informers, cluster_cidr: String) -> Self {
        let (wakes, peers) = (Arc::new(Wakes::default()), Peers::new());
        let view = Self {
            pods: informers.cache(),
            config_maps: informers.metadata(&ApiResource::of::<ConfigMap>()),
            secrets: informers.metadata(&ApiResource::of::<Secret>()),
            services: informers.cache(),
            claims: informers.cache(),
            volumes: informers.cache(),
            nodes: informers.cache(),
            cluster_cidr,
            wakes: wakes.clone(),
            peers: peers.clone(),
        };
        view.pods.add_index(BY_NODE);
        wakes_all(&view.config_maps, &wakes);
        wakes_all(&view.secrets, &wakes);
        wakes_all(&view.services, &wakes);
        wakes_all(&view.claims, &wakes);
        wakes_all(&view.volumes, &wakes);
        let of_pods = wakes.clone();
        view.pods.on_change(move |change| {
            for pod in change.old.iter().chain(&change.new) {
                pod.spec.iter().flat_map(|spec| &spec.node_name).for_each(|node| of_pods.node(node));
            }
        });
        view.nodes.on_change(move |change| {
            let Some(node) = change.latest() else { return };
            peers.set(node.name(), change.new.as_ref().and_then(|node| peer(node)));
            wakes.node(node.name());
        });
        view
    }

    /// The nodes as each other's peers.
    pub(crate) fn peers(&self) -> Arc<Peers> {
        self.peers.clone()
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

    /// Moves with every change that may be news to this node.
    pub(crate) fn changes(&self, node: &str) -> Changes {
        self.wakes.changes(node, self.peers.snapshots())
    }

    /// What a node should be told of its peers that has read up to `page`, or holds peers of this digest.
    pub(crate) fn peer_news(
        &self,
        node: &str,
        page: Page,
        digest: Option<u64>,
        changes: &Changes,
    ) -> Option<PeerNews> {
        if page == 0 {
            return Some(self.peers.unknown_to(node, digest));
        }
        let book = changes.peers();
        book.has_news(page, node).then(|| book.since(page, node))
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
        let own = self.nodes.get(&ObjectKey::cluster(node));
        wanted.settings = Settings {
            pod_cidr: own.as_ref().and_then(|own| pod_cidr(own)).unwrap_or_default(),
            cluster_cidr: self.cluster_cidr.clone(),
            node_labels: own.and_then(|own| own.metadata.labels.clone()).into_iter().flatten().collect(),
        };
        wanted
    }

    /// What a pod names, and with a claim the volume that it is bound to.
    fn add_referenced(&self, wanted: &mut Wanted, kind: ObjectKind, key: ObjectKey) {
        match kind {
            ObjectKind::ConfigMap => add(wanted, kind, self.config_maps.get(&key), |_| Source::Unread),
            ObjectKind::Secret => add(wanted, kind, self.secrets.get(&key), |_| Source::Unread),
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

/// For what any pod may use: whose these are would be dearer to find out.
fn wakes_all<K: HasMetadata + Send + Sync + 'static>(cache: &Cache<K>, wakes: &Arc<Wakes>) {
    let wakes = wakes.clone();
    cache.on_change(move |_| wakes.everybody());
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
