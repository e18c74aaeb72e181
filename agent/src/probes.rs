//! Readiness, liveness and startup probes of running containers.
//!
//! One task per container id; its verdicts are read by the pod's worker, which alone decides what to do
//! about them. After a failed liveness or startup probe a container is not probed any more: its next run has
//! another id. A probe that could not be made at all says nothing, as with the kubelet.

mod check;
mod counts;
mod grpc;
mod hook;
mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Clock, Entropy, Timestamp};
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Probe};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use check::{Target, dial_error};
pub(crate) use counts::{ProbeCounts, Tally};
pub(crate) use hook::hook;
pub(crate) use http::over_tls;

use crate::pods::{Probed, Verdict};
use crate::runtime::Runtime;
use check::Outcome;

/// A probe that could not be made is tried again at once, so often in all.
const TRIES: usize = 3;

/// The probes of one pod's containers. Dropping it ends them.
pub(crate) struct Probes {
    runtime: Arc<dyn Runtime>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    tasks: base::Tasks,
    running: BTreeMap<String, AbortHandle>,
    verdicts: Arc<Verdicts>,
    /// Once the pod ends for good.
    ending: CancellationToken,
    tally: Arc<Tally>,
}

/// A running container to probe.
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) spec: &'a ContainerSpec,
    pub(crate) pod_ip: &'a str,
    pub(crate) started_at: Timestamp,
    /// What was told of this very run before this agent was there; `None` for a run of its own.
    pub(crate) before: Option<Before>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    pub(crate) started: bool,
    pub(crate) ready: bool,
}

/// What is known so far, by container id, and what was not told yet.
struct Verdicts {
    state: Mutex<VerdictState>,
    /// Wakes the pod's worker.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct VerdictState {
    probed: BTreeMap<String, Probed>,
    notes: Vec<Note>,
}

/// One probe that did not simply succeed, for an event.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) container: String,
    /// `Unhealthy` or `ProbeWarning`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    fn set(self, probed: &mut Probed, verdict: Verdict) {
        match self {
            Self::Startup => probed.startup = Some(verdict),
            Self::Liveness => probed.liveness = Some(verdict),
            Self::Readiness => probed.readiness = Some(verdict),
        }
    }

    /// Only readiness comes and goes; the others are asked until they have decided what they are there for.
    fn ends_with(self, verdict: Verdict) -> bool {
        match self {
            Self::Startup => verdict != Verdict::Unknown,
            Self::Liveness => verdict == Verdict::Failure,
            Self::Readiness => false,
        }
    }
}

impl Probes {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        tasks: base::Tasks,
        changed: Arc<Notify>,
        tally: Tally,
    ) -> Self {
        let verdicts = Arc::new(Verdicts { state: Mutex::default(), changed });
        let ending = CancellationToken::new();
        Self {
            runtime,
            clock,
            entropy,
            tasks,
            running: BTreeMap::new(),
            verdicts,
            ending,
            tally: Arc::new(tally),
        }
    }

    /// Probes the container from now on, unless it is probed already.
    pub(crate) fn watch(&mut self, subject: &Subject<'_>) {
        let (id, spec) = (subject.id, subject.spec);
        let has_probe =
            spec.liveness_probe.is_some() || spec.readiness_probe.is_some() || spec.startup_probe.is_some();
        if !has_probe || self.running.contains_key(id) {
            return;
        }
        let (started, ready) = subject.before.map_or((false, false), |before| (before.started, before.ready));
        let known = |good: bool, otherwise: Verdict| if good { Verdict::Success } else { otherwise };
        self.verdicts.change(id, |probed| {
            probed.startup = spec.startup_probe.as_ref().map(|_| known(started, Verdict::Unknown));
            probed.liveness = spec.liveness_probe.as_ref().map(|_| Verdict::Success);
            probed.readiness = spec.readiness_probe.as_ref().map(|_| known(ready, Verdict::Failure));
        });
        let one = One {
            runtime: self.runtime.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            verdicts: self.verdicts.clone(),
            id: id.to_owned(),
            spec: spec.clone(),
            pod_ip: subject.pod_ip.to_owned(),
            started_at: subject.started_at,
            before: subject.before,
            ending: self.ending.clone(),
            tally: self.tally.clone(),
        };
        let task = self.tasks.spawn_infallible(format!("probes of {id}"), one.run());
        self.running.insert(id.to_owned(), task);
    }

    /// From now on it only matters who is still ready: a pod that stops may become unready first, and nobody would
    /// restart a container of it.
    pub(crate) fn pod_ends(&self) {
        self.ending.cancel();
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

    /// What went wrong since the last call.
    pub(crate) fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut self.verdicts.lock().notes)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
        self.tally.forget();
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

    fn note(&self, note: Note) {
        self.lock().notes.push(note);
        self.changed.notify_one();
    }
}

/// How often in a row a probe came to the same, which decides when that counts.
#[derive(Default)]
struct Row {
    good: bool,
    length: i32,
}

impl Row {
    /// The verdict that follows, once there were enough of a kind.
    fn add(&mut self, good: bool, probe: &Probe) -> Option<Verdict> {
        self.length = if self.length > 0 && self.good == good { self.length.saturating_add(1) } else { 1 };
        self.good = good;
        let (needed, verdict) = if good {
            (probe.success_threshold.unwrap_or(1), Verdict::Success)
        } else {
            (probe.failure_threshold.unwrap_or(3), Verdict::Failure)
        };
        (self.length >= needed).then_some(verdict)
    }
}

/// The probes of one run of one container.
struct One {
    runtime: Arc<dyn Runtime>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    verdicts: Arc<Verdicts>,
    id: String,
    spec: ContainerSpec,
    pod_ip: String,
    started_at: Timestamp,
    before: Option<Before>,
    ending: CancellationToken,
    tally: Arc<Tally>,
}

impl One {
    async fn run(self) {
        if self.before.is_some() {
            // Many pods are adopted at once; their probes must not all start at once.
            let spread = Duration::from_millis(self.entropy.u64() % 1000);
            tokio::time::sleep(spread).await;
        }
        let has_started = self.before.is_some_and(|before| before.started);
        if let Some(probe) = self.spec.startup_probe.as_ref().filter(|_| !has_started)
            && self.watch_until_end(Kind::Startup, probe).await != Some(Verdict::Success)
        {
            return;
        }
        let liveness = async {
            if let Some(probe) = &self.spec.liveness_probe {
                self.watch_until_end(Kind::Liveness, probe).await;
            }
        };
        let readiness = async {
            if let Some(probe) = &self.spec.readiness_probe {
                self.watch(Kind::Readiness, probe).await;
            }
        };
        futures::join!(liveness, readiness);
    }

    /// `None` when the pod has begun to end.
    async fn watch_until_end(&self, kind: Kind, probe: &Probe) -> Option<Verdict> {
        tokio::select! {
            biased;
            () = self.ending.cancelled() => None,
            verdict = self.watch(kind, probe) => Some(verdict),
        }
    }

    /// Asks until there is a verdict that ends it.
    async fn watch(&self, kind: Kind, probe: &Probe) -> Verdict {
        let since = Duration::try_from(self.clock.now().duration_since(self.started_at)).unwrap_or_default();
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0).saturating_sub(since)).await;
        let mut ticks = tokio::time::interval(seconds(probe.period_seconds, 10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut row = Row::default();
        loop {
            ticks.tick().await;
            let Some(good) = self.check(kind, probe).await else { continue };
            let Some(verdict) = row.add(good, probe) else { continue };
            self.verdicts.change(&self.id, |probed| kind.set(probed, verdict));
            if kind.ends_with(verdict) {
                return verdict;
            }
        }
    }

    /// `None` when nothing was learnt about the container.
    async fn check(&self, kind: Kind, probe: &Probe) -> Option<bool> {
        let timeout = seconds(probe.timeout_seconds, 1);
        let target = Target {
            id: &self.id,
            pod_ip: &self.pod_ip,
            ports: self.spec.ports.as_deref().unwrap_or_default(),
        };
        let mut outcome = check::probe(self.runtime.as_ref(), probe, &target, timeout).await;
        for _ in 1..TRIES {
            if !matches!(outcome, Outcome::Errored(_)) {
                break;
            }
            outcome = check::probe(self.runtime.as_ref(), probe, &target, timeout).await;
        }
        let (result, learnt) = match &outcome {
            Outcome::Success | Outcome::Warning(_) => ("successful", Some(true)),
            Outcome::Failure(_) => ("failed", Some(false)),
            Outcome::Errored(_) => ("unknown", None),
        };
        metrics::counter!(crate::metrics::PROBES, "probe_type" => kind.name(), "result" => result)
            .increment(1);
        self.tally.add(&self.spec.name, kind.name(), result);
        let kind = kind.name();
        let (reason, message) = match outcome {
            Outcome::Success => return learnt,
            Outcome::Warning(message) => ("ProbeWarning", format!("{kind} probe warning: {message}")),
            Outcome::Failure(message) => ("Unhealthy", format!("{kind} probe failed: {message}")),
            Outcome::Errored(message) => {
                ("Unhealthy", format!("{kind} probe errored and resulted in unknown state: {message}"))
            }
        };
        self.verdicts.note(Note { container: self.spec.name.clone(), reason, message });
        learnt
    }
}

/// Never zero where it divides time: a period of nothing would spin.
fn seconds(value: Option<i32>, default: u64) -> Duration {
    let value = value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default);
    Duration::from_secs(if default > 0 { value.max(1) } else { value })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdicts(probe: serde_json::Value, outcomes: &str) -> String {
        let probe: Probe = serde_json::from_value(probe).unwrap();
        let mut row = Row::default();
        let shown = outcomes.chars().map(|outcome| match row.add(outcome == '+', &probe) {
            None => '.',
            Some(Verdict::Success) => 'S',
            Some(Verdict::Failure) => 'F',
            Some(Verdict::Unknown) => '?',
        });
        shown.collect()
    }

    #[test]
    fn only_enough_of_a_kind_in_a_row_count() {
        assert_eq!(verdicts(json!({}), "+--+---+"), "S..S..FS");
        assert_eq!(verdicts(json!({"successThreshold": 2, "failureThreshold": 1}), "+-++-++"), ".F.SF.S");
    }

    #[test]
    fn a_period_of_nothing_is_one_second() {
        assert_eq!(seconds(Some(0), 10), Duration::from_secs(1));
        assert_eq!(seconds(Some(-1), 10), Duration::from_secs(10));
        assert_eq!(seconds(Some(0), 0), Duration::ZERO);
    }
}
