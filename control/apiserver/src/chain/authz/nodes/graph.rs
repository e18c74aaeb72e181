//! Which node uses what, by its pods. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kinds::core::pod::MIRROR;
use kinds::{meta, tree};
use serde_json::Value;

/// What a pod may use of its namespace; the pod itself is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Thing {
    Account,
    Claim,
    ConfigMap,
    Pod,
    Secret,
}

/// Fields of a volume's source that name a Secret.
const SECRET_REFERENCES: &[&str] =
    &["secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"];

/// Keys are `namespace/name`.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pods: HashMap<String, Uses>,
    /// How many pods of which node use a thing.
    users: HashMap<(Thing, String), BTreeMap<String, usize>>,
    volumes: HashMap<String, Volume>,
    /// The volumes that need a Secret.
    by_secret: HashMap<String, BTreeSet<String>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Uses {
    node: String,
    things: BTreeSet<(Thing, String)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Volume {
    claim: String,
    secrets: BTreeSet<String>,
}

impl Graph {
    /// What the pod of this key is now; nothing when it is gone.
    pub(super) fn set_pod(&mut self, key: &str, pod: Option<&Value>) {
        if let Some(Uses { node, things }) = self.pods.remove(key) {
            for thing in things {
                let Some(nodes) = self.users.get_mut(&thing) else { continue };
                if let Some(count) = nodes.get_mut(&node) {
                    *count -= 1;
                }
                nodes.retain(|_, count| *count > 0);
                if nodes.is_empty() {
                    self.users.remove(&thing);
                }
            }
        }
        let Some(uses) = pod.map(|pod| uses(key, pod)).filter(|uses| !uses.node.is_empty()) else { return };
        for thing in &uses.things {
            *self.users.entry(thing.clone()).or_default().entry(uses.node.clone()).or_default() += 1;
        }
        self.pods.insert(key.to_owned(), uses);
    }

    /// What the volume of this name is now; nothing when it is gone.
    pub(super) fn set_volume(&mut self, name: &str, volume: Option<&Value>) {
        for secret in self.volumes.remove(name).into_iter().flat_map(|volume| volume.secrets) {
            let Some(volumes) = self.by_secret.get_mut(&secret) else { continue };
            volumes.remove(name);
            if volumes.is_empty() {
                self.by_secret.remove(&secret);
            }
        }
        let Some(volume) = volume.map(claimed).filter(|volume| !volume.claim.is_empty()) else { return };
        for secret in &volume.secrets {
            self.by_secret.entry(secret.clone()).or_default().insert(name.to_owned());
        }
        self.volumes.insert(name.to_owned(), volume);
    }

    /// Whether a pod on `node` uses it, be it through a volume.
    pub(super) fn reaches(&self, node: &str, thing: Thing, key: &str) -> bool {
        let directly = self.users.get(&(thing, key.to_owned())).is_some_and(|nodes| nodes.contains_key(node));
        directly
            || (thing == Thing::Secret
                && self
                    .by_secret
                    .get(key)
                    .is_some_and(|volumes| volumes.iter().any(|name| self.volume_reaches(node, name))))
    }

    pub(super) fn volume_reaches(&self, node: &str, name: &str) -> bool {
        self.volumes.get(name).is_some_and(|volume| self.reaches(node, Thing::Claim, &volume.claim))
    }
}

/// What a pod names, and where it runs.
fn uses(key: &str, pod: &Value) -> Uses {
    let node = tree::text(pod, "spec.nodeName").to_owned();
    let mut things = BTreeSet::from([(Thing::Pod, key.to_owned())]);
    // What a node runs by itself gives it no rights.
    if meta::annotation(pod, MIRROR).is_some() {
        return Uses { node, things };
    }
    let (namespace, name) = key.split_once('/').unwrap_or_default();
    let mut add = |thing: Thing, name: &str| {
        if !name.is_empty() {
            things.insert((thing, format!("{namespace}/{name}")));
        }
    };
    add(Thing::Account, tree::text(pod, "spec.serviceAccountName"));
    for secret in tree::items(pod, "spec.imagePullSecrets") {
        add(Thing::Secret, tree::text(secret, "name"));
    }
    let lists = ["spec.containers", "spec.initContainers", "spec.ephemeralContainers"];
    for container in lists.into_iter().flat_map(|list| tree::items(pod, list)) {
        for variable in tree::items(container, "env") {
            add(Thing::Secret, tree::text(variable, "valueFrom.secretKeyRef.name"));
            add(Thing::ConfigMap, tree::text(variable, "valueFrom.configMapKeyRef.name"));
        }
        for source in tree::items(container, "envFrom") {
            add(Thing::Secret, tree::text(source, "secretRef.name"));
            add(Thing::ConfigMap, tree::text(source, "configMapRef.name"));
        }
    }
    for volume in tree::items(pod, "spec.volumes") {
        add(Thing::ConfigMap, tree::text(volume, "configMap.name"));
        add(Thing::Claim, tree::text(volume, "persistentVolumeClaim.claimName"));
        if !tree::get(volume, "ephemeral").is_null() {
            add(Thing::Claim, &format!("{name}-{}", tree::text(volume, "name")));
        }
        for source in tree::items(volume, "projected.sources") {
            add(Thing::Secret, tree::text(source, "secret.name"));
            add(Thing::ConfigMap, tree::text(source, "configMap.name"));
        }
        for source in volume.as_object().into_iter().flat_map(|fields| fields.values()) {
            add(Thing::Secret, tree::text(source, "secretName"));
            for field in SECRET_REFERENCES {
                add(Thing::Secret, tree::text(tree::get(source, field), "name"));
            }
        }
    }
    Uses { node, things }
}

/// Whose a volume is, and which Secrets a node needs for it.
fn claimed(volume: &Value) -> Volume {
    let claim = tree::get(volume, "spec.claimRef");
    let (namespace, name) = (tree::text(claim, "namespace"), tree::text(claim, "name"));
    if name.is_empty() {
        return Volume::default();
    }
    let place = |own: &str| if own.is_empty() { namespace.to_owned() } else { own.to_owned() };
    let mut secrets = BTreeSet::new();
    for source in tree::map(volume, "spec").into_iter().flat_map(|spec| spec.values()) {
        let references = SECRET_REFERENCES.iter().map(|field| tree::get(source, field));
        for reference in references.filter(|reference| !tree::text(reference, "name").is_empty()) {
            let namespace = place(tree::text(reference, "namespace"));
            secrets.insert(format!("{namespace}/{}", tree::text(reference, "name")));
        }
        let name = tree::text(source, "secretName");
        if !name.is_empty() {
            secrets.insert(format!("{}/{name}", place(tree::text(source, "secretNamespace"))));
        }
    }
    Volume { claim: format!("{namespace}/{name}"), secrets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(node: &str) -> Value {
        json!({"spec": {
            "nodeName": node,
            "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}]}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "all"}}]}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "files"}},
                {"name": "b", "projected": {"sources": [{"configMap": {"name": "part"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "disk"}},
                {"name": "d", "ephemeral": {}},
                {"name": "e", "csi": {"nodePublishSecretRef": {"name": "driver"}}},
            ],
        }})
    }

    const USED: &[(Thing, &str)] = &[
        (Thing::Pod, "p"),
        (Thing::Account, "robot"),
        (Thing::Secret, "pull"),
        (Thing::Secret, "env"),
        (Thing::ConfigMap, "all"),
        (Thing::Secret, "files"),
        (Thing::ConfigMap, "part"),
        (Thing::Claim, "disk"),
        (Thing::Claim, "p-d"),
        (Thing::Secret, "driver"),
    ];

    fn reached(graph: &Graph, node: &str) -> usize {
        USED.iter().filter(|(thing, name)| graph.reaches(node, *thing, &format!("team/{name}"))).count()
    }

    #[test]
    fn a_node_reaches_what_its_pods_use_as_long_as_they_are_there() {
        let mut graph = Graph::default();
        graph.set_pod("team/p", Some(&pod("")));
        assert_eq!(reached(&graph, ""), 0, "a pod that is nowhere yet");
        graph.set_pod("team/p", Some(&pod("n1")));
        assert_eq!((reached(&graph, "n1"), reached(&graph, "n2")), (USED.len(), 0));
        graph.set_pod("team/q", Some(&pod("n1")));
        graph.set_pod("team/p", None);
        // All but the pod itself, and its own volume.
        assert_eq!(reached(&graph, "n1"), USED.len() - 2);
        graph.set_pod("team/q", Some(&pod("n2")));
        assert_eq!((reached(&graph, "n1"), reached(&graph, "n2")), (0, USED.len() - 2));
        graph.set_pod("team/q", None);
        assert!(graph.pods.is_empty() && graph.users.is_empty());
    }

    #[test]
    fn a_volume_is_reached_by_its_claim_and_its_secrets_by_it() {
        let mut graph = Graph::default();
        graph.set_pod("team/p", Some(&pod("n1")));
        let volume = json!({"spec": {
            "claimRef": {"namespace": "team", "name": "disk"},
            "csi": {
                "nodeStageSecretRef": {"namespace": "system", "name": "stage"},
                "controllerPublishSecretRef": {"namespace": "system", "name": "controller"},
            },
        }});
        graph.set_volume("v", Some(&volume));
        assert!(graph.volume_reaches("n1", "v") && !graph.volume_reaches("n2", "v"));
        assert!(graph.reaches("n1", Thing::Secret, "system/stage"));
        assert!(!graph.reaches("n1", Thing::Secret, "system/controller"));
        graph.set_volume("v", None);
        assert!(!graph.volume_reaches("n1", "v") && !graph.reaches("n1", Thing::Secret, "system/stage"));
        assert!(graph.volumes.is_empty() && graph.by_secret.is_empty());
    }

    #[test]
    fn what_a_node_runs_by_itself_gives_it_nothing() {
        let mut graph = Graph::default();
        let mut mirror = pod("n1");
        mirror["metadata"] = json!({"annotations": {MIRROR: "x"}});
        graph.set_pod("team/p", Some(&mirror));
        assert_eq!(reached(&graph, "n1"), 1);
    }
}
