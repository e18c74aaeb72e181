//! A worker node that runs nothing: it says that it is alive, that its pods run, and that those to be deleted have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::client::{Cache, Client, ClientError, Delete, HasMetadata, Informers, Object, ObjectKey};
use base::Clock;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Site;
use crate::dice::Dice;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Slower than that, and the node counts as silent after 5 s.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long a pod takes to start, at most.
const START_MAX: Duration = Duration::from_millis(300);
/// Whoever has told something waits for so long until the watch shows it.
const TOLD_FOR: Duration = Duration::from_millis(500);
const CALL_MAX: Duration = Duration::from_secs(2);
/// Of a life; no life sees as many pods.
const ADDRESSES: usize = 250;

pub(super) struct Kubelet {
    name: String,
    member: String,
    client: Client,
    clock: Arc<dyn Clock>,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    dice: Dice,
    /// The first bytes of all pods' addresses: no other node has them, nor has this one in another life.
    network: String,
    /// By uid, every pod that was ever seen here.
    known: BTreeMap<String, Known>,
    beat_at: Instant,
}

struct Known {
    address: String,
    /// When something may be told of it next.
    due: Instant,
}

impl Kubelet {
    pub(super) fn new(site: &Site, client: Client, informers: &Informers) -> Self {
        Self {
            name: format!("worker-{}", site.number),
            member: site.seat.member.clone(),
            client: client.with_timeout(CALL_MAX),
            clock: site.clock.clone(),
            nodes: informers.cache(),
            pods: informers.cache(),
            dice: Dice::of(site.seed, "kubelet", 0),
            network: format!("10.{}.{}", site.number, site.life),
            known: BTreeMap::new(),
            beat_at: Instant::now(),
        }
    }

    /// What fails is tried again at the next look.
    pub(super) async fn run(mut self) {
        loop {
            sleep(LOOK_EVERY).await;
            if Instant::now() >= self.beat_at && self.beat().await.is_ok() {
                self.beat_at = Instant::now() + BEAT_EVERY;
            }
            for pod in self.pods.list() {
                if pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&self.name) {
                    let _again = self.tend(&pod).await;
                }
            }
        }
    }

    /// Says that the node is there, as a gateway does for its nodes.
    async fn beat(&self) -> Result<(), ClientError> {
        let key = ObjectKey::cluster(&self.name);
        match self.nodes.get(&key) {
            None => {
                match self.client.create(&decoded::<Node>(json!({"metadata": {"name": self.name}}))?).await {
                    Err(error) if !error.is_already_exists() => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
            Some(node) if !is_ready(&node) => {
                let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
                let ready = json!([self.ready()]);
                let status = json!({"capacity": room, "allocatable": room, "conditions": ready});
                self.client.strategic_patch_status::<Node>(&key, &json!({"status": status})).await?;
            }
            Some(_) => {}
        }
        let key = ObjectKey::namespaced("kube-node-lease", format!("gateway-{}", self.member));
        let renewed = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let renewal = json!({
            "metadata": {"annotations": {"navarch.io/nodes": self.name}},
            "spec": {"holderIdentity": self.member, "renewTime": renewed},
        });
        match self.client.merge_patch::<Lease>(&key, &renewal).await {
            Err(error) if error.is_not_found() => {
                let mut lease = renewal;
                lease["metadata"]["name"] = key.name.into();
                lease["metadata"]["namespace"] = key.namespace.into();
                self.client.create(&decoded::<Lease>(lease)?).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    fn ready(&self) -> Value {
        let now = now(self.clock.as_ref());
        json!({"type": "Ready", "status": "True", "reason": "Simulated", "message": "", "lastTransitionTime": now})
    }

    async fn tend(&mut self, pod: &Pod) -> Result<(), ClientError> {
        let now = Instant::now();
        let number = self.known.len() % ADDRESSES + 1;
        let known = self.known.entry(pod.uid().to_owned()).or_insert_with(|| Known {
            address: format!("{}.{number}", self.network),
            due: now + self.dice.between(Duration::ZERO, START_MAX),
        });
        if now < known.due {
            return Ok(());
        }
        if pod.is_terminating() {
            known.due = now + TOLD_FOR;
            let delete = Delete { grace_period_seconds: Some(0), ..Delete::exactly(pod) };
            return self.client.delete::<Pod>(&pod.key(), &delete).await;
        }
        if runs(pod) {
            return Ok(());
        }
        known.due = now + TOLD_FOR;
        let former = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let address = former.unwrap_or_else(|| known.address.clone());
        let ready =
            json!({"type": "Ready", "status": "True", "lastTransitionTime": self::now(self.clock.as_ref())});
        let patch = json!({
            "metadata": {"uid": pod.uid()},
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [ready],
            },
        });
        self.client.strategic_patch_status::<Pod>(&pod.key(), &patch).await.map(drop)
    }
}

/// As objects tell times: whole seconds.
fn now(clock: &dyn Clock) -> String {
    clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn decoded<K: Object>(object: Value) -> Result<K, ClientError> {
    serde_json::from_value(object).map_err(|source| ClientError::Decode { what: "an object", source })
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

fn runs(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}
