//! The scheduler over the API in memory.

use std::sync::Arc;
use std::time::Duration;

use base::{Entropy, SeededEntropy, SystemClock, Tasks};
use client::memory::MemoryApi;
use client::{Client, ElectionConfig, Informers, ListOptions, Object};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::SchedulerConfig;

struct World {
    client: Client,
    tasks: Tasks,
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.stop().cancel();
    }
}

fn world() -> World {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(5));
    let client = MemoryApi::new(Arc::new(SystemClock), entropy.clone()).client();
    let tasks = Tasks::new(CancellationToken::new());
    let informers = Informers::new(&client, entropy.clone(), &tasks);
    let config = SchedulerConfig {
        client: client.clone(),
        clock: Arc::new(SystemClock),
        entropy,
        informers,
        identity: "server-1".to_owned(),
        election: ElectionConfig::default(),
    };
    crate::run(config, &tasks);
    World { client, tasks }
}

impl World {
    async fn create<K: Object>(&self, object: Value) {
        let object: K = serde_json::from_value(object).expect("an object");
        self.client.create(&object).await.expect("created");
    }

    async fn node(&self, name: &str) {
        let allocatable = json!({ "cpu": "2", "memory": "4Gi", "pods": "10" });
        self.create::<Node>(
            json!({ "metadata": { "name": name }, "status": { "allocatable": allocatable } }),
        )
        .await;
    }

    async fn pod(&self, name: &str, cpu: &str) {
        let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "web",
            "controller": true }]);
        let container = json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } });
        self.create::<Pod>(json!({
            "metadata": { "name": name, "namespace": "default", "ownerReferences": owner },
            "spec": { "containers": [container] } }))
            .await;
    }

    async fn list<K: Object>(&self) -> Vec<K> {
        self.client.list::<K>(&ListOptions::default()).await.expect("a list").items
    }

    /// Waits, on real time, until the pods are on these nodes, in order of name; empty is nowhere.
    async fn eventually(&self, wanted: &[&str]) {
        let mut nodes: Vec<String> = Vec::new();
        for _ in 0..600 {
            let pods = self.list::<Pod>().await;
            nodes =
                pods.into_iter().map(|pod| pod.spec.and_then(|s| s.node_name).unwrap_or_default()).collect();
            if nodes == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(nodes, wanted);
    }
}

#[tokio::test]
async fn spreads_waits_and_goes_on_when_there_is_room() {
    let world = world();
    world.node("a").await;
    world.node("b").await;
    world.pod("1", "1500m").await;
    world.pod("2", "1500m").await;
    world.eventually(&["a", "b"]).await;

    world.pod("3", "1500m").await;
    let message = "0/2 nodes are available: 2 Insufficient cpu.";
    for _ in 0..600 {
        let told =
            world.list::<Event>().await.into_iter().any(|event| event.message.as_deref() == Some(message));
        let pods = world.list::<Pod>().await;
        let conditions = pods[2].status.as_ref().and_then(|status| status.conditions.as_ref());
        let is_marked = conditions.into_iter().flatten().any(|condition| {
            condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
        });
        if told && is_marked {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.eventually(&["a", "b", ""]).await;
    world.node("c").await;
    world.eventually(&["a", "b", "c"]).await;
    let scheduled =
        world.list::<Event>().await.into_iter().filter(|event| event.reason.as_deref() == Some("Scheduled"));
    assert!(scheduled.count() >= 2);
}
