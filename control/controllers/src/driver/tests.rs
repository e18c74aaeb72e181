//! The driver over the API in memory.

use base::{Clock, Entropy, SeededEntropy, SystemClock, Tasks};
use client::memory::MemoryApi;
use client::{Client, ElectionConfig, Recorder};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ControllersConfig;

/// Tells what it saw of each object, by its label.
struct Probe(mpsc::UnboundedSender<String>);

impl Controller for Probe {
    type Kind = ConfigMap;
    const NAME: &'static str = "probe";

    fn new(_shared: &Shared) -> Self {
        unreachable!("made by the test")
    }

    fn watches() -> Watches {
        Watches::of::<ConfigMap>()
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let seen = cx.cache::<ConfigMap>().get(key);
        let label = seen.and_then(|map| map.metadata.labels.clone()?.remove("is"));
        self.0.send(label.unwrap_or_default()).expect("the test listens");
        Ok(Next::Done)
    }
}

fn shared(client: &Client, tasks: &Tasks) -> Shared {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
        (Arc::new(SystemClock), Arc::new(SeededEntropy::new(5)));
    let config = ControllersConfig {
        client: client.clone(),
        clock: clock.clone(),
        informers: Informers::new(client, entropy.clone(), tasks),
        entropy,
        identity: "server-2".to_owned(),
        election: ElectionConfig::default(),
        cluster_cidr: "10.244.0.0/16".parse().expect("a network"),
        root_ca: None,
    };
    Shared {
        recorder: Recorder::start(client, "controllers", "", clock, tasks),
        config,
        tasks: tasks.clone(),
    }
}

/// Time stands still while anybody has something to do.
#[tokio::test(start_paused = true)]
async fn a_new_leader_decides_nothing_by_a_view_older_than_its_term() {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(4));
    let api = MemoryApi::new(Arc::new(SystemClock), entropy);
    let behind = api.another();
    let (client, tasks) = (api.client(), Tasks::new(CancellationToken::new()));
    let lease = json!({ "metadata": { "name": "probe", "namespace": "kube-system" },
        "spec": { "holderIdentity": "server-1", "leaseDurationSeconds": 6, "leaseTransitions": 1 } });
    let lease = client.create::<Lease>(&serde_json::from_value(lease).expect("a lease")).await.expect("held");
    let map = json!({ "metadata": { "name": "a", "namespace": "default", "labels": { "is": "old" } } });
    client.create::<ConfigMap>(&serde_json::from_value(map).expect("a map")).await.expect("created");

    let shared = shared(&behind.client(), &tasks);
    let known = shared.config.informers.cache::<ConfigMap>();
    known.synced().await;
    behind.hold_watches(true);
    let (told, mut seen) = mpsc::unbounded_channel();
    start_with(&shared, Probe(told));

    let key = ObjectKey::namespaced("default", "a");
    let patch = json!({ "metadata": { "labels": { "is": "new" } } });
    client.merge_patch::<ConfigMap>(&key, &patch).await.expect("what the former leader did last");
    let holder = async || {
        let now = client.get::<Lease>(&lease.key()).await.expect("a lease");
        now.spec.and_then(|spec| spec.holder_identity)
    };
    while holder().await.as_deref() != Some("server-2") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(seen.try_recv().is_err(), "it acted by an old view");
    behind.hold_watches(false);
    assert_eq!(seen.recv().await.as_deref(), Some("new"));
    tasks.stop().cancel();
}
