//! Readiness, liveness and startup probes of running containers.
//!
//! One task per container id; its verdicts are read by the pod's worker, which alone decides what to do
//! about them. After a failed liveness or startup probe a container is not probed any more: its next run has
//! another id.

mod check;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Entropy;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Probe};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub(crate) use check::{Outcome, Target, hook};

use crate::pods::{Probed, Verdict};
use crate::runtime::Runtime;

/// The probes of one pod's containers. Dropping it ends them.
pub(crate) struct Probes {
    runtime: Arc<dyn Runtime>,
    entropy: Arc<dyn Entropy>,
    tasks: base::Tasks,
    running: BTreeMap<String, AbortHandle>,
    verdicts: Arc<Verdicts>,
}

/// What is known so far, by container id, and failures that were not told yet.
struct Verdicts {
    state: Mutex<VerdictState>,
    /// Wakes the pod's worker.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct VerdictState {
    probed: BTreeMap<String, Probed>,
    failures: Vec<ProbeFailure>,
}

/// One failed probe, for an event.
#[derive(Clone, Debug)]
pub(crate) struct ProbeFailure {
    pub(crate) container: String,
    /// `Readiness`, `Liveness` or `Startup`.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Probes {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        entropy: Arc<dyn Entropy>,
        tasks: base::Tasks,
        changed: Arc<Notify>,
    ) -> Self {
        let verdicts = Arc::new(Verdicts { state: Mutex::default(), changed });
        Self { runtime, entropy, tasks, running: BTreeMap::new(), verdicts }
    }

    /// Probes the container from now on, unless it is probed already. `adopted`: it ran before this agent.
    pub(crate) fn watch(&mut self, id: &str, spec: &ContainerSpec, pod_ip: &str, adopted: bool) {
        let has_probe =
            spec.liveness_probe.is_some() || spec.readiness_probe.is_some() || spec.startup_probe.is_some();
        if !has_probe || self.running.contains_key(id) {
            return;
        }
        self.verdicts.change(id, |probed| {
            probed.startup = spec.startup_probe.as_ref().map(|_| Verdict::Unknown);
            probed.liveness = spec.liveness_probe.as_ref().map(|_| Verdict::Success);
            probed.readiness = spec.readiness_probe.as_ref().map(|_| Verdict::Failure);
        });
        let one = One {
            runtime: self.runtime.clone(),
            entropy: self.entropy.clone(),
            verdicts: self.verdicts.clone(),
            id: id.to_owned(),
            spec: spec.clone(),
            pod_ip: pod_ip.to_owned(),
            adopted,
        };
        let task = self.tasks.spawn_infallible(format!("probes of {id}"), one.run());
        self.running.insert(id.to_owned(), task);
    }

    /// Stops probing every container that is not in `ids`.
    pub(crate) fn keep(&mut self, ids: &[&str]) {
        self.running.retain(|id, task| {
            let keep = ids.contains(&id.as_str());
            if !keep {
                task.abort();
            }
            keep
        });
        self.verdicts.lock().probed.retain(|id, _| ids.contains(&id.as_str()));
    }

    pub(crate) fn probed(&self) -> BTreeMap<String, Probed> {
        self.verdicts.lock().probed.clone()
    }

    /// Failures since the last call.
    pub(crate) fn take_failures(&self) -> Vec<ProbeFailure> {
        std::mem::take(&mut self.verdicts.lock().failures)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

impl Verdicts {
    fn lock(&self) -> std::sync::MutexGuard<'_, VerdictState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Probed)) {
        let mut state = self.lock();
        let probed = state.probed.entry(id.to_owned()).or_default();
        let before = *probed;
        change(probed);
        if *probed != before {
            self.changed.notify_one();
        }
    }

    fn failed(&self, failure: ProbeFailure) {
        self.lock().failures.push(failure);
        self.changed.notify_one();
    }
}

/// The probes of one run of one container.
struct One {
    runtime: Arc<dyn Runtime>,
    entropy: Arc<dyn Entropy>,
    verdicts: Arc<Verdicts>,
    id: String,
    spec: ContainerSpec,
    pod_ip: String,
    adopted: bool,
}

impl One {
    async fn run(self) {
        if self.adopted {
            // Many pods are adopted at once; their probes must not all start at once.
            let spread = Duration::from_millis(self.entropy.u64() % 1000);
            tokio::time::sleep(spread).await;
        }
        if let Some(probe) = &self.spec.startup_probe {
            let passed = self.until_decided(probe, "Startup").await;
            let verdict = if passed { Verdict::Success } else { Verdict::Failure };
            self.verdicts.change(&self.id, |probed| probed.startup = Some(verdict));
            if !passed {
                return;
            }
        }
        let liveness = async {
            if let Some(probe) = &self.spec.liveness_probe {
                self.until_failed(probe).await;
                self.verdicts.change(&self.id, |probed| probed.liveness = Some(Verdict::Failure));
            }
        };
        let readiness = async {
            if let Some(probe) = &self.spec.readiness_probe {
                self.readiness(probe).await;
            }
        };
        futures::join!(liveness, readiness);
    }

    /// True at the first success, false after so many failures in a row.
    async fn until_decided(&self, probe: &Probe, kind: &'static str) -> bool {
        let mut failures = 0;
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
        loop {
            if self.check(probe, kind).await {
                return true;
            }
            failures += 1;
            if failures >= probe.failure_threshold.unwrap_or(3) {
                return false;
            }
            tokio::time::sleep(seconds(probe.period_seconds, 10)).await;
        }
    }

    async fn until_failed(&self, probe: &Probe) {
        let mut failures = 0;
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
        loop {
            failures = if self.check(probe, "Liveness").await { 0 } else { failures + 1 };
            if failures >= probe.failure_threshold.unwrap_or(3) {
                return;
            }
            tokio::time::sleep(seconds(probe.period_seconds, 10)).await;
        }
    }

    async fn readiness(&self, probe: &Probe) {
        let (mut successes, mut failures) = (0, 0);
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
        loop {
            if self.check(probe, "Readiness").await {
                (successes, failures) = (successes + 1, 0);
            } else {
                (successes, failures) = (0, failures + 1);
            }
            if successes >= probe.success_threshold.unwrap_or(1) {
                self.verdicts.change(&self.id, |probed| probed.readiness = Some(Verdict::Success));
            } else if failures >= probe.failure_threshold.unwrap_or(3) {
                self.verdicts.change(&self.id, |probed| probed.readiness = Some(Verdict::Failure));
            }
            tokio::time::sleep(seconds(probe.period_seconds, 10)).await;
        }
    }

    async fn check(&self, probe: &Probe, kind: &'static str) -> bool {
        let timeout = seconds(probe.timeout_seconds, 1);
        let target = Target {
            id: &self.id,
            pod_ip: &self.pod_ip,
            ports: self.spec.ports.as_deref().unwrap_or_default(),
        };
        let outcome = check::probe(self.runtime.as_ref(), probe, &target, timeout).await;
        let result = if matches!(outcome, Outcome::Success) { "successful" } else { "failed" };
        metrics::counter!(crate::metrics::PROBES, "probe_type" => kind, "result" => result).increment(1);
        match outcome {
            Outcome::Success => true,
            Outcome::Failure(message) => {
                let container = self.spec.name.clone();
                self.verdicts.failed(ProbeFailure { container, kind, message });
                false
            }
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}
