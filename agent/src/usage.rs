//! What the node and its containers use: sampled every few seconds, told as rates between the last two samples.
//!
//! Nothing is sent anywhere: who wants to know asks over the tunnel, and gets the same from whichever server it asked
//! (`control/apiserver/design/0009-proxies-and-measures.md`). A restarted agent knows rates again after one period.

mod cadvisor;
mod machine;
mod rates;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Tasks, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

use crate::causes::in_full;
use crate::desired::Desired;
use crate::runtime::{ContainerState, ContainerUsage, Runtime, RuntimeError, Which};
use machine::Machine;
use rates::Measured;

/// The kubelet's, and short enough for who scales by it.
const PERIOD: Duration = Duration::from_secs(10);

/// The newest rates. Clones read the same.
#[derive(Clone)]
pub struct Usage {
    node: Arc<str>,
    measured: watch::Receiver<Arc<Measured>>,
}

/// Everything at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at: Timestamp,
    /// For rates: the wall clock may be set.
    instant: Instant,
    machine: Machine,
    /// By the runtime's id.
    containers: BTreeMap<String, Running>,
}

/// A container that runs.
#[derive(Clone, Debug)]
struct Running {
    pod: Arc<PodName>,
    name: String,
    started_at: Timestamp,
    usage: ContainerUsage,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PodName {
    namespace: String,
    name: String,
    uid: String,
}

/// Samples until `tasks` end.
pub fn start(node: &str, runtime: Arc<dyn Runtime>, clock: Arc<dyn Clock>, tasks: &Tasks) -> Usage {
    let (publish, measured) = watch::channel(Arc::default());
    let stop = tasks.stop().clone();
    tasks.spawn_infallible("usage", async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = keep_sampling(runtime.as_ref(), clock.as_ref(), &publish) => {}
        }
    });
    Usage { node: node.into(), measured }
}

async fn keep_sampling(runtime: &dyn Runtime, clock: &dyn Clock, publish: &watch::Sender<Arc<Measured>>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Sample> = None;
    loop {
        ticks.tick().await;
        match Sample::take(runtime, clock).await {
            Ok(now) => {
                if let Some(before) = &before {
                    publish.send_replace(Arc::new(rates::between(before, &now)));
                }
                before = Some(now);
            }
            // The runtime's health is told elsewhere, louder.
            Err(error) => debug!(error = %in_full(&error), "no sample of what containers use"),
        }
    }
}

impl Sample {
    async fn take(runtime: &dyn Runtime, clock: &dyn Clock) -> Result<Self, RuntimeError> {
        let pods = runtime.observe(Which::All).await?;
        let used = runtime.usage().await?;
        let (at, instant) = (clock.now(), Instant::now());
        let mut containers = BTreeMap::new();
        for pod in pods.into_values() {
            let name = Arc::new(PodName { namespace: pod.namespace, name: pod.name, uid: pod.uid });
            for container in pod.containers {
                let ContainerState::Running { started_at } = container.state else { continue };
                let Some(usage) = used.get(&container.id).copied() else { continue };
                let running = Running { pod: name.clone(), name: container.name, started_at, usage };
                containers.insert(container.id, running);
            }
        }
        Ok(Self { at, instant, machine: Machine::read(), containers })
    }
}

impl Usage {
    /// For the API server, which makes metrics.k8s.io of it.
    pub(crate) fn brief(&self) -> Value {
        let measured = self.measured.borrow().clone();
        let Some(window) = &measured.window else { return json!({"pods": []}) };
        let pods: Vec<Value> = measured
            .pods
            .iter()
            .map(|pod| {
                let containers = pod.containers.iter().map(|container| {
                    json!({
                        "name": container.name,
                        "cpuNanoCores": container.cpu_nano_cores,
                        "memoryBytes": container.usage.memory_bytes,
                    })
                });
                json!({
                    "uid": pod.pod.uid, "complete": pod.is_complete, "containers": containers.collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({
            "timestamp": window.end.to_string(),
            "windowMillis": u64::try_from(window.length.as_millis()).unwrap_or(u64::MAX),
            "node": {
                "cpuNanoCores": measured.node_cpu_nano_cores, "memoryBytes": measured.machine.working_set_bytes,
            },
            "pods": pods,
        })
    }

    /// What a kubelet serves at `/stats/summary`.
    pub(crate) fn summary(&self) -> Value {
        text::summary(&self.node, &self.measured.borrow())
    }

    /// What a kubelet serves at `/metrics/cadvisor`; `desired` knows the images.
    pub(crate) fn cadvisor(&self, desired: &Desired) -> String {
        let pods = desired.pods.values().filter_map(|pod| Some((pod.metadata.uid.as_deref()?, pod)));
        let pods = pods.collect();
        cadvisor::page(&self.measured.borrow(), &pods)
    }

    /// What a kubelet serves at `/metrics/resource`.
    pub(crate) fn exposition(&self) -> String {
        text::exposition(&self.measured.borrow())
    }
}

#[cfg(test)]
mod tests;
