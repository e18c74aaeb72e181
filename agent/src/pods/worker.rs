//! One pod: looks at what runs, plans, acts, tells; again whenever something changed.
//!
//! The worker keeps nothing that it could not lose. It is woken by a new order, by the relist, by a probe
//! or by time, and never reads which: it looks at the runtime itself. A deletion interrupts whatever it does.

mod ends;
mod images;
mod perform;
mod post_start;
mod resize;
mod start;
mod terminate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::begun::Begun;
use super::configuration::Refused;
use super::containers::lasting;
use super::memory::Memory;
use super::plan::{Plan, Seen, Waiting, plan};
use super::resize::Resizing;
use super::status::{Ended, StatusInput, is_terminal, pod_status};
use super::{Node, Order, Sources};
use crate::desired::PodKey;
use crate::probes::{Before, Probes, Subject, Tally};
use crate::runtime::{ContainerState, PodRuntime, RuntimeError, Which};
use crate::tokens::PodTokens;
use crate::volumes::VolumeError;
use start::StartError;

/// A plan is made after every step; more passes than this without rest mean that something does not settle.
const PASSES_MAX: usize = 64;
/// After a failure that has no back-off of its own.
const RETRY: Duration = Duration::from_secs(2);
/// A pod that rests is looked at anew, in case a wake-up was lost.
const RESYNC: Duration = Duration::from_secs(60);
/// A resize that waits for room, or for the runtime, is tried again.
const RESIZE_AGAIN: Duration = Duration::from_secs(10);
/// How often the end of a pod is told again while the control plane still lists it.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Why a pass ended early; the next one begins from what is there.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("cannot write the pod's files")]
    Files(#[source] std::io::Error),
    #[error("the pod does not settle")]
    Unsettled,
}

/// What a pass leaves to do.
enum Rest {
    /// Nothing, until woken or this much later.
    For(Duration),
    /// The pod is gone from this node and nobody asks for it.
    Gone,
}

pub(super) struct Worker {
    node: Arc<Node>,
    key: PodKey,
    uid: String,
    orders: watch::Receiver<Order>,
    evictions: watch::Receiver<Option<Ended>>,
    wake: Arc<Notify>,
    memory: Memory,
    probes: Probes,
    /// The last status that was told.
    told: Option<PodStatus>,
    /// What was shown as waiting, to tell each reason once.
    shown: BTreeMap<String, Waiting>,
    /// Termination messages, by container id.
    last_words: BTreeMap<String, String>,
    /// Containers whose preStop hook has run.
    hooked: Vec<String>,
    /// The last problem that was told, to tell each once.
    problem: Option<String>,
    /// When this worker first saw its pod.
    begun: tokio::time::Instant,
    /// True once all containers were seen running, by this worker.
    has_started: bool,
    /// True once the volumes of a pod that is over have gone.
    is_released: bool,
    /// What is to be told of a resize that is under way.
    resizing: Resizing,
    /// Why the node has ended the pod, from then on.
    ended: Option<Ended>,
    /// True when the pod ran before this agent did; unknown until the first look.
    adopted: Option<bool>,
}

impl Worker {
    pub(super) fn new(
        node: Arc<Node>,
        (key, uid): (PodKey, String),
        (orders, evictions): (watch::Receiver<Order>, watch::Receiver<Option<Ended>>),
        wake: Arc<Notify>,
    ) -> Self {
        let probes = Probes::new(
            node.runtime.clone(),
            (node.clock.clone(), node.entropy.clone()),
            node.tasks.clone(),
            wake.clone(),
            Tally::begin(node.probe_counts.clone(), key.clone(), uid.clone()),
        );
        Self {
            node,
            key,
            uid,
            orders,
            evictions,
            wake,
            probes,
            memory: Memory::default(),
            told: None,
            shown: BTreeMap::new(),
            last_words: BTreeMap::new(),
            hooked: Vec::new(),
            problem: None,
            begun: tokio::time::Instant::now(),
            has_started: false,
            is_released: false,
            resizing: Resizing::default(),
            ended: None,
            adopted: None,
        }
    }

    /// Until the pod is gone, or `stop`, which leaves everything running.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            let mut later = self.orders.clone();
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = interrupted(&mut later, &order) => continue,
                ended = self.pass(&order) => ended,
            };
            let rest = match ended {
                Ok(Rest::Gone) => return,
                Ok(Rest::For(rest)) => {
                    self.problem = None;
                    rest
                }
                Err(error) => {
                    self.tell_problem(&order, &error).await;
                    RETRY
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.orders.changed() => if changed.is_err() { return },
                () = self.wake.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn pass(&mut self, order: &Order) -> Result<Rest, PassError> {
        let begin = tokio::time::Instant::now();
        let (kind, ended) = match &order.pod {
            Some(pod) if !order.ends() => ("sync", self.sync(&pod.clone(), order).await),
            _ => ("terminate", self.terminate(order).await),
        };
        metrics::histogram!(crate::metrics::POD_WORKER_DURATION, "operation_type" => kind)
            .record(begin.elapsed().as_secs_f64());
        ended
    }

    /// Brings the pod to what it should be, one step after the other.
    async fn sync(&mut self, pod: &Arc<Pod>, order: &Order) -> Result<Rest, PassError> {
        if self.told.is_none() {
            self.told.clone_from(&pod.status);
        }
        for _ in 0..PASSES_MAX {
            let runtime = self.look(pod).await?;
            let pod = &self.resize(pod, order, &runtime).await?;
            self.resume_hooks(pod, &runtime).await?;
            self.check_end(pod).await;
            let phase = self.told.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let is_over = is_terminal(&phase) || self.ended.is_some();
            let plan = if is_over {
                Plan::default()
            } else {
                plan(&Seen { pod, runtime: &runtime, memory: &self.memory, now: self.node.clock.now() })
            };
            self.tell_waiting(pod, &plan.waiting).await;
            self.tell(pod, &runtime, &plan.waiting).await;
            if is_over && runtime.is_running() {
                self.stop_pod(pod, &runtime, "the pod has ended").await?;
                continue;
            }
            if is_over && !self.is_released {
                // The node may have ended it for the sake of this room; logs and last words stay with the pod.
                self.is_released = self.node.host.as_ref().is_none_or(|host| host.remove_volumes(&self.uid));
            }
            if plan.steps.is_empty() {
                self.refresh_volumes(pod, order, &runtime).await?;
                let unsettled = !self.resizing.is_done();
                let resync = if unsettled { RESIZE_AGAIN } else { RESYNC };
                let rest = plan.again_in.unwrap_or(resync).min(resync);
                let deadline = self.until_deadline(pod).filter(|_| !is_over);
                return Ok(Rest::For(deadline.map_or(rest, |left| left.min(rest))));
            }
            self.perform(pod, order, &runtime, plan.steps).await?;
        }
        Err(PassError::Unsettled)
    }

    /// A run that ended before it began, while nobody heard what became of its start: the runtime broke the start off,
    /// as containerd does when its client goes away, or is doing so.
    fn tell_aborted(&self, runtime: &mut PodRuntime) {
        let Some(host) = &self.node.host else { return };
        for container in runtime.containers.iter_mut().filter(|one| one.state.is_without_begin()) {
            if host.is_noted(self.run_of(&container.name, container.attempt), Begun::Start) {
                container.state = ContainerState::Aborted;
            }
        }
    }

    /// What runs now; also what follows from it for probes and last words.
    async fn look(&mut self, pod: &Pod) -> Result<PodRuntime, PassError> {
        let mut all = self.node.runtime.observe(Which::Pod(&self.uid)).await?;
        let mut runtime = all.remove(&self.uid).unwrap_or_default();
        self.tell_aborted(&mut runtime);
        let adopted = *self.adopted.get_or_insert(runtime.is_running());
        self.note_last_words(pod, &runtime);
        self.watch_probes(pod, &runtime, adopted);
        self.memory.probed = self.probes.probed();
        for note in self.probes.take_notes() {
            let about = super::About::container(pod, &note.container);
            self.node.warning(pod, about, note.reason, note.message).await;
        }
        Ok(runtime)
    }

    fn watch_probes(&mut self, pod: &Pod, runtime: &PodRuntime, adopted: bool) {
        if self.node.host.is_none() {
            return; // hollow: nothing would answer
        }
        let running: Vec<&str> =
            runtime.containers.iter().filter(|c| c.is_running()).map(|c| c.id.as_str()).collect();
        self.probes.keep(&running);
        let ip = self.pod_ip(pod, runtime);
        for spec in lasting(pod) {
            let Some(run) = runtime.newest(&spec.name) else { continue };
            if let ContainerState::Running { started_at } = run.state {
                let before = self.told_before(&run.id).filter(|_| adopted);
                self.probes.watch(&Subject { id: &run.id, spec, pod_ip: &ip, started_at, before });
            }
        }
    }

    /// What the last status says of this very run.
    fn told_before(&self, id: &str) -> Option<Before> {
        let status = self.told.as_ref()?;
        let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let mut of_run = all.filter(|c| {
            c.container_id
                .as_deref()
                .and_then(|told| told.split_once("://"))
                .is_some_and(|(_, told)| told == id)
        });
        of_run.next().map(|c| Before { started: c.started == Some(true), ready: c.ready })
    }

    fn note_last_words(&mut self, pod: &Pod, runtime: &PodRuntime) {
        let Some(host) = &self.node.host else { return };
        self.last_words.retain(|id, _| runtime.containers.iter().any(|container| container.id == *id));
        for container in runtime.containers.iter().filter(|container| container.exit().is_some()) {
            if !self.last_words.contains_key(&container.id) {
                let words = host.last_words(pod, container);
                self.last_words.insert(container.id.clone(), words);
            }
        }
    }

    fn pod_ip(&self, pod: &Pod, runtime: &PodRuntime) -> String {
        if pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
            return self.node.ip.clone();
        }
        runtime.sandbox().and_then(|sandbox| sandbox.ips.first().cloned()).unwrap_or_default()
    }

    fn sources<'a>(
        &'a self,
        pod: &'a Pod,
        order: &'a Order,
        pod_ip: &'a str,
        tokens: &'a PodTokens,
    ) -> Sources<'a> {
        Sources {
            pod,
            desired: &order.desired,
            node_name: &self.node.name,
            node_ip: &self.node.ip,
            pod_ip,
            allocatable: &self.node.allocatable,
            tokens,
        }
    }

    /// Where nothing really runs there is nothing to put them into.
    async fn tokens(&self, pod: &Pod) -> PodTokens {
        match &self.node.host {
            Some(_) => self.node.tokens.of_pod(pod).await,
            None => PodTokens::new(),
        }
    }

    /// A changed ConfigMap or Secret, and a renewed token, reach a running pod.
    async fn refresh_volumes(&self, pod: &Pod, order: &Order, runtime: &PodRuntime) -> Result<(), PassError> {
        if let Some(host) = self.node.host.as_ref().filter(|_| runtime.is_running()) {
            let ip = self.pod_ip(pod, runtime);
            let tokens = self.tokens(pod).await;
            host.prepare_volumes(&self.uid, &self.sources(pod, order, &ip, &tokens)).await?;
        }
        Ok(())
    }

    /// Reports the status when it differs from the one that was told.
    async fn tell(&mut self, pod: &Pod, runtime: &PodRuntime, waiting: &BTreeMap<String, Waiting>) {
        let status = pod_status(&StatusInput {
            pod,
            runtime,
            memory: &self.memory,
            waiting,
            previous: self.told.as_ref(),
            runtime_name: self.node.runtime.name(),
            node_ip: &self.node.ip,
            now: self.node.clock.now(),
            last_words: &self.last_words,
            ended: self.ended.as_ref(),
            resizing: &self.resizing,
        });
        self.note_start(&status);
        // Not compared with `pod.status`: the order may be older than what was told since.
        if self.told.as_ref() != Some(&status) {
            debug!(pod = %self.key, phase = ?status.phase, "pod status changed");
            self.node.reports.pod_status(&self.key, &self.uid, status.clone()).await;
        }
        self.told = Some(status);
    }

    fn note_start(&mut self, status: &PodStatus) {
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let all_run = containers.iter().all(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()));
        if !self.has_started && all_run {
            self.has_started = true;
            if self.adopted != Some(true) {
                metrics::histogram!(crate::metrics::POD_START_DURATION)
                    .record(self.begun.elapsed().as_secs_f64());
            }
        }
    }

    /// One event for each new reason to wait.
    async fn tell_waiting(&mut self, pod: &Pod, waiting: &BTreeMap<String, Waiting>) {
        for (name, waiting) in waiting {
            if self.shown.get(name).is_some_and(|shown| shown.reason == waiting.reason) {
                continue;
            }
            let about = super::About::container(pod, name);
            match waiting.reason.as_str() {
                "CrashLoopBackOff" => {
                    let message = format!(
                        "Back-off restarting failed container {name} in pod {}_{}({})",
                        self.key.name, self.key.namespace, self.uid
                    );
                    self.node.warning(pod, about, "BackOff", message).await;
                }
                "ImagePullBackOff" => {
                    let image = self.memory.images.get(name).map(|problem| problem.image.clone());
                    let message = format!("Back-off pulling image \"{}\"", image.unwrap_or_default());
                    self.node.normal(pod, about, "BackOff", message).await;
                    self.node.warning(pod, about, "Failed", "Error: ImagePullBackOff".to_owned()).await;
                }
                _ => {}
            }
        }
        self.shown.clone_from(waiting);
    }

    async fn tell_problem(&mut self, order: &Order, error: &PassError) {
        let text = error.to_string();
        if self.problem.as_ref() == Some(&text) {
            return;
        }
        warn!(pod = %self.key, error = %text, source = ?std::error::Error::source(error), "a pass over the pod failed");
        if let Some(pod) = &order.pod {
            let reason = match error {
                PassError::Volume(_) => "FailedMount",
                PassError::Refused(refused) => refused.reason,
                PassError::Start(StartError::Sandbox(_)) => "FailedCreatePodSandBox",
                PassError::Runtime(_) | PassError::Start(_) | PassError::Files(_) | PassError::Unsettled => {
                    "FailedSync"
                }
            };
            self.node.warning(pod, super::About::Pod, reason, text.clone()).await;
        }
        self.problem = Some(text);
    }
}

/// Returns when a newer order must interrupt the work on `current`: the end of the pod, or a sooner end.
async fn interrupted(orders: &mut watch::Receiver<Order>, current: &Order) {
    let ends = current.ends();
    let grace = current.grace();
    let changed =
        orders.wait_for(|order| if ends { order.grace() < grace } else { order.ends() }).await.map(drop);
    if changed.is_err() {
        // The sender is gone: the agent is stopping and `stop` says so.
        std::future::pending::<()>().await;
    }
}
