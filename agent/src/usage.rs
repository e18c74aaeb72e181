//! What the node and its containers use: sampled every few seconds, told as rates between the last two samples.
//!
//! Nobody else measures: who makes room on the node reads the same sample. Nothing is sent anywhere: who wants to know
//! asks over the tunnel, and gets the same from whichever server it asked
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

/// The newest sample and the newest rates. Clones read the same.
#[derive(Clone)]
pub struct Usage {
    node: Arc<str>,
    /// `None` while the runtime does not say.
    sample: watch::Receiver<Option<Arc<Sample>>>,
    measured: watch::Receiver<Arc<Measured>>,
}

/// Where the sampler puts what it finds.
struct Findings {
    sample: watch::Sender<Option<Arc<Sample>>>,
    measured: watch::Sender<Arc<Measured>>,
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
    let (found, sample) = watch::channel(None);
    let (publish, measured) = watch::channel(Arc::default());
    let findings = Findings { sample: found, measured: publish };
    let stop = tasks.stop().clone();
    tasks.spawn_infallible("usage", async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = keep_sampling(runtime.as_ref(), clock.as_ref(), &findings) => {}
        }
    });
    Usage { node: node.into(), sample, measured }
}

async fn keep_sampling(runtime: &dyn Runtime, clock: &dyn Clock, findings: &Findings) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Arc<Sample>> = None;
    loop {
        ticks.tick().await;
        match Sample::take(runtime, clock).await.map(Arc::new) {
            Ok(now) => {
                if let Some(before) = &before {
                    findings.measured.send_replace(Arc::new(rates::between(before, &now)));
                }
                findings.sample.send_replace(Some(now.clone()));
                before = Some(now);
            }
            Err(error) => {
                // The runtime's health is told elsewhere, louder.
                debug!(error = %in_full(&error), "no sample of what containers use");
                findings.sample.send_replace(None);
            }
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
    /// What each container used when it was last looked at, by the runtime's id; `None` when that failed, or was not
    /// done yet.
    pub(crate) fn of_containers(&self) -> Option<BTreeMap<String, ContainerUsage>> {
        let sample = self.sample.borrow().clone()?;
        Some(sample.containers.iter().map(|(id, running)| (id.clone(), running.usage)).collect())
    }

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
