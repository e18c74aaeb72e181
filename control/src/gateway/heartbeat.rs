//! Tells the cluster which nodes are in touch with this server: one small write for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use client::{Client, ClientError, ObjectKey};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::liveness::Liveness;

/// How often this server speaks for its nodes.
const PERIOD: Duration = Duration::from_secs(2);

/// A server that could not speak for its nodes for this long sends them to another one.
const OUT_OF_TOUCH_AFTER: Duration = Duration::from_secs(3);

const NAMESPACE: &str = "kube-node-lease";

/// The nodes, comma-separated.
const NODES_ANNOTATION: &str = "navarch.io/nodes";

pub(crate) struct Heartbeat {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) server: String,
    pub(crate) liveness: Arc<Liveness>,
    /// False while this server cannot write: nodes that poll here would be given up.
    pub(crate) in_touch: watch::Sender<bool>,
}

impl Heartbeat {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let client = self.client.with_timeout(PERIOD);
        let mut silent = true;
        let mut renewed = Instant::now();
        let mut period = tokio::time::interval_at(renewed + PERIOD, PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = period.tick() => {}
            }
            let nodes = self.liveness.alive();
            // A server without nodes says so once, then keeps quiet.
            if nodes.is_empty() && silent && *self.in_touch.borrow() {
                renewed = Instant::now();
                continue;
            }
            match self.renew(&client, &nodes.join(",")).await {
                Ok(()) => {
                    silent = nodes.is_empty();
                    renewed = Instant::now();
                    self.in_touch.send_replace(true);
                }
                Err(error) => {
                    debug!(%error, "cannot renew the heartbeat of this server's nodes");
                    if renewed.elapsed() >= OUT_OF_TOUCH_AFTER && self.in_touch.send_replace(false) {
                        warn!("this server cannot speak for its nodes: they are sent to another one");
                    }
                }
            }
        }
    }

    async fn renew(&self, client: &Client, nodes: &str) -> Result<(), ClientError> {
        let key = ObjectKey::namespaced(NAMESPACE, format!("gateway-{}", self.server));
        let renewed = MicroTime(self.clock.now());
        let patch = json!({
            "metadata": {"annotations": {NODES_ANNOTATION: nodes}},
            "spec": {"holderIdentity": self.server, "renewTime": renewed},
        });
        match client.merge_patch::<Lease>(&key, &patch).await {
            Err(error) if error.is_not_found() => self.create(client, key, nodes, renewed).await,
            other => other.map(|_| ()),
        }
    }

    async fn create(
        &self,
        client: &Client,
        key: ObjectKey,
        nodes: &str,
        renewed: MicroTime,
    ) -> Result<(), ClientError> {
        let annotations = BTreeMap::from([(NODES_ANNOTATION.to_owned(), nodes.to_owned())]);
        let metadata = ObjectMeta {
            name: Some(key.name),
            namespace: Some(key.namespace),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            holder_identity: Some(self.server.clone()),
            renew_time: Some(renewed),
            ..LeaseSpec::default()
        };
        client.create(&Lease { metadata, spec: Some(spec) }).await.map(|_| ())
    }
}
