//! Watched caches of what agents need, and what follows from them for one node.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::{Entropy, Tasks};
use client::{Cache, Client, HasMetadata, Index, Informer, ObjectKey};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Node, Pod, PodSpec, Secret, Volume};
use proto::agent::{ObjectId, ObjectKind, Peer, Settings};
use tokio::sync::watch;

use super::sessions::{Source, Wanted, WantedObject};

const BY_NODE: Index<Pod> = Index {
    name: "node",
    values: |pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).into_iter().collect(),
};

pub(crate) struct View {
    pods: Cache<Pod>,
    config_maps: Cache<ConfigMap>,
    secrets: Cache<Secret>,
    nodes: Cache<Node>,
    cluster_cidr: String,
    changes: watch::Receiver<u64>,
}

impl View {
    pub(crate) fn start(
        client: &Client,
        entropy: &Arc<dyn Entropy>,
        cluster_cidr: String,
        tasks: &Tasks,
    ) -> Self {
        let view_changes = watch::Sender::new(0);
        let changes = view_changes.subscribe();
        let view = Self {
            pods: Informer::start(client, entropy, tasks),
            config_maps: Informer::start(client, entropy, tasks),
            secrets: Informer::start(client, entropy, tasks),
            nodes: Informer::start(client, entropy, tasks),
            cluster_cidr,
            changes,
        };
        view.pods.add_index(BY_NODE);
        let bump = Arc::new(move || view_changes.send_modify(|count| *count += 1));
        let (on_pod, on_config_map, on_secret, on_node) = (bump.clone(), bump.clone(), bump.clone(), bump);
        view.pods.on_change(move |_| on_pod());
        view.config_maps.on_change(move |_| on_config_map());
        view.secrets.on_change(move |_| on_secret());
        view.nodes.on_change(move |_| on_node());
        view
    }

    pub(crate) fn nodes(&self) -> Cache<Node> {
        self.nodes.clone()
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
        for pod in self.pods.by_index(BY_NODE.name, node) {
            for (kind, name) in pod.spec.as_ref().map(references).unwrap_or_default() {
                let key = ObjectKey::namespaced(pod.namespace(), name);
                match kind {
                    ObjectKind::ConfigMap => {
                        add(&mut wanted, kind, self.config_maps.get(&key), Source::ConfigMap);
                    }
                    ObjectKind::Secret => add(&mut wanted, kind, self.secrets.get(&key), Source::Secret),
                    ObjectKind::Pod | ObjectKind::Unspecified => {}
                }
            }
            add(&mut wanted, ObjectKind::Pod, Some(pod), Source::Pod);
        }
        let nodes = self.nodes.list();
        wanted.peers =
            nodes.iter().filter(|other| other.name() != node).filter_map(|other| peer(other)).collect();
        let own = nodes.iter().find(|other| other.name() == node);
        wanted.settings = Settings {
            pod_cidr: own.and_then(|own| pod_cidr(own)).unwrap_or_default(),
            cluster_cidr: self.cluster_cidr.clone(),
        };
        wanted
    }
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

/// The ConfigMaps and Secrets that a pod names.
fn references(spec: &PodSpec) -> BTreeSet<(ObjectKind, String)> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let pull_secrets = spec.image_pull_secrets.iter().flatten().map(|source| secret(&source.name));
    containers
        .flat_map(of_environment)
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

fn of_volume(volume: &Volume) -> Vec<(ObjectKind, String)> {
    let mut all = Vec::new();
    all.extend(volume.config_map.iter().map(|source| config_map(&source.name)));
    all.extend(volume.secret.iter().filter_map(|source| source.secret_name.as_deref()).map(secret));
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        all.extend(source.config_map.iter().map(|source| config_map(&source.name)));
        all.extend(source.secret.iter().map(|source| secret(&source.name)));
    }
    all
}

fn of_environment(container: &Container) -> Vec<(ObjectKind, String)> {
    let mut all = Vec::new();
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        all.extend(source.config_map_key_ref.iter().map(|selector| config_map(&selector.name)));
        all.extend(source.secret_key_ref.iter().map(|selector| secret(&selector.name)));
    }
    for source in container.env_from.iter().flatten() {
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
        let all: Vec<String> =
            references(&spec).iter().map(|(kind, name)| format!("{kind:?} {name}")).collect();
        expected.assert_eq(&all.join(", "));
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
