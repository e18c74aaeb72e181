//! All controllers over the API in memory: for tests of how they work together.

use std::sync::Arc;
use std::time::Duration;

use base::{Entropy, SeededEntropy, SystemClock, Tasks};
use client::memory::MemoryApi;
use client::{Client, Delete, ElectionConfig, HasMetadata, Informers, ListOptions, Object, ObjectKey};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::ControllersConfig;

struct World {
    client: Client,
    tasks: Tasks,
}

fn world() -> World {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(3));
    let api = MemoryApi::new(Arc::new(SystemClock), entropy.clone());
    let client = api.client();
    let tasks = Tasks::new(CancellationToken::new());
    let config = ControllersConfig {
        client: client.clone(),
        clock: Arc::new(SystemClock),
        informers: Informers::new(&client, entropy.clone(), &tasks),
        entropy,
        identity: "server-1".to_owned(),
        election: ElectionConfig::default(),
        cluster_cidr: "10.244.0.0/16".parse().expect("a network"),
        root_ca: Some("the authority".to_owned()),
    };
    crate::run(config, &tasks);
    World { client, tasks }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.stop().cancel();
    }
}

impl World {
    async fn create<K: Object>(&self, object: Value) -> K {
        let object: K = serde_json::from_value(object).expect("an object");
        self.client.create(&object).await.expect("created")
    }

    async fn list<K: Object>(&self) -> Vec<K> {
        self.client.list::<K>(&ListOptions::default()).await.expect("a list").items
    }

    /// Waits, on real time, until `count` objects satisfy the condition.
    async fn eventually<K: Object>(&self, count: usize, condition: impl Fn(&K) -> bool) -> Vec<K> {
        for _ in 0..600 {
            let all = self.list::<K>().await;
            let found: Vec<_> = all.into_iter().filter(&condition).collect();
            if found.len() == count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("there never were {count}: {:#?}", self.list::<K>().await)
    }

    /// Plays the agent: every pod that is not ready becomes so.
    async fn run_pods(&self) {
        for mut pod in self.list::<Pod>().await.into_iter().filter(|pod| !pod.is_terminating()) {
            let status = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
            pod.status = Some(serde_json::from_value(status).expect("a status"));
            // A conflict is no harm: the next round sees the pod again.
            let _ = self.client.replace_status(&pod).await;
        }
    }
}

fn deployment(replicas: i32, image: &str) -> Value {
    json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": { "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": image }] } },
        },
    })
}

fn image(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.containers[0].image.as_deref()).unwrap_or_default()
}

#[tokio::test]
async fn a_deployment_gets_its_pods_heals_rolls_and_goes_with_all_it_owns() {
    let world = world();
    let key = ObjectKey::namespaced("default", "web");
    world.create::<Deployment>(deployment(3, "one")).await;
    let pods = world.eventually::<Pod>(3, |_| true).await;

    let doomed = pods[0].key();
    world.client.delete::<Pod>(&doomed, &Delete::default()).await.expect("deleted");
    world.eventually::<Pod>(3, |pod| pod.key() != doomed).await;

    world.run_pods().await;
    let is_available = |deployment: &Deployment| {
        deployment.status.as_ref().is_some_and(|status| status.available_replicas == Some(3))
    };
    world.eventually::<Deployment>(1, is_available).await;

    let patch = json!({ "spec": { "template": { "spec": {
        "containers": [{ "name": "web", "image": "two" }] } } } });
    world.client.merge_patch::<Deployment>(&key, &patch).await.expect("patched");
    for _ in 0..600 {
        world.run_pods().await;
        let pods = world.list::<Pod>().await;
        assert!(pods.iter().filter(|pod| crate::pods::ready_since(pod).is_some()).count() >= 3, "too few");
        if pods.len() == 3 && pods.iter().all(|pod| image(pod) == "two") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.eventually::<Pod>(3, |pod| image(pod) == "two").await;
    let sets = world.eventually::<ReplicaSet>(2, |_| true).await;
    let mut revisions: Vec<_> =
        sets.iter().filter_map(|set| set.annotation("deployment.kubernetes.io/revision")).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, ["1", "2"]);

    world.client.delete::<Deployment>(&key, &Delete::default()).await.expect("deleted");
    world.eventually::<ReplicaSet>(0, |_| true).await;
    world.eventually::<Pod>(0, |_| true).await;
}

#[tokio::test]
async fn a_namespace_gets_its_account_and_goes_with_its_content() {
    let world = world();
    world.create::<Namespace>(json!({ "metadata": { "name": "team" } })).await;
    world.eventually::<ServiceAccount>(1, |account| account.namespace() == "team").await;
    let authority = |map: &ConfigMap| {
        let data = map.data.as_ref().and_then(|data| data.get("ca.crt"));
        map.name() == "kube-root-ca.crt" && data.is_some_and(|data| data == "the authority")
    };
    world.eventually::<ConfigMap>(1, authority).await;
    let broken = json!({ "data": { "ca.crt": "another", "more": "x" } });
    let key = ObjectKey::namespaced("team", "kube-root-ca.crt");
    world.client.merge_patch::<ConfigMap>(&key, &broken).await.expect("changed");
    let mended = world.eventually::<ConfigMap>(1, authority).await;
    assert_eq!(mended[0].data.as_ref().map(|data| data.len()), Some(1));
    let key = ObjectKey::cluster("team");
    world.client.delete::<Namespace>(&key, &Delete::default()).await.expect("deleted");
    world.eventually::<Namespace>(0, |_| true).await;
    world.eventually::<ServiceAccount>(0, |_| true).await;
}

#[tokio::test]
async fn a_silent_node_loses_its_pods_and_a_deleted_one_even_those_that_were_going() {
    let world = world();
    let status = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    world.create::<Node>(json!({ "metadata": { "name": "n" }, "status": status })).await;
    world
        .eventually::<Node>(1, |node| {
            node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.as_deref() == Some("10.244.0.0/24"))
        })
        .await;
    let pod = json!({ "metadata": { "name": "p", "namespace": "default" },
        "spec": { "nodeName": "n", "containers": [], "tolerations": [
            { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 1 }] } });
    world.create::<Pod>(pod).await;
    world.eventually::<Pod>(1, HasMetadata::is_terminating).await;
    let nodes = world.list::<Node>().await;
    let taints = nodes[0].spec.as_ref().and_then(|spec| spec.taints.as_ref()).map_or(0, Vec::len);
    assert_eq!(taints, 2);
    world.client.delete::<Node>(&ObjectKey::cluster("n"), &Delete::default()).await.expect("deleted");
    world.eventually::<Pod>(0, |_| true).await;
}
