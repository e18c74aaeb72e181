//! The life of pods: one worker each, from what should run and what does.
//!
//! The manager starts a worker for every pod that is desired, or that runs without being desired, and wakes
//! workers when the runtime changed. It stops nothing while the control plane has not yet answered for the
//! first time, and nothing when it stops answering.

mod admission;
mod backoff;
mod begun;
mod configuration;
mod containers;
mod environment;
mod events;
mod fields;
mod host;
mod memory;
mod plan;
mod resize;
mod restart;
mod service_links;
mod status;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Entropy, Tasks};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use admission::Circumstances;
pub(crate) use containers::{lasting, named};
pub(crate) use environment::{MissingValue, Sources, expand_known};
pub(crate) use events::About;
pub(crate) use fields::{Allocatable, FieldPathError, pod_field, resource_field};
pub(crate) use host::Host;
pub(crate) use memory::{Probed, Verdict};
pub(crate) use status::{Ended, has_ended};

use crate::desired::{Desired, ObjectKey, PodKey, Reports};
use crate::probes::ProbeCounts;
use crate::runtime::{PodRuntime, Runtime, RuntimeError, Which};
use crate::statics::is_static;
use crate::tokens::Tokens;
use admission::Scene;
use configuration::Refused;
use worker::Worker;

/// How often everything in the runtime is listed. containerd 1.6 has no container events over CRI.
const RELIST: Duration = Duration::from_secs(1);
/// Leftovers of pods that nobody knows are looked for this many relists apart.
const SWEEP_EVERY: u64 = 30;
/// A pod that seems to be meant for another node is not judged before the node's labels had this long to arrive.
const LABELS_LAG_MAX: Duration = Duration::from_secs(1);
/// Workers that have ended and wait for the manager to notice.
const ENDED_MAX: usize = 256;

/// What all workers of a node share.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ip: String,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Folders and cgroups; absent where nothing really runs.
    pub(crate) host: Option<Host>,
    pub(crate) reports: Reports,
    pub(crate) tokens: Tokens,
    pub(crate) probe_counts: ProbeCounts,
    /// What the node has for pods.
    pub(crate) allocatable: Allocatable,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) tasks: Tasks,
}

/// What a worker is to do with its pod.
#[derive(Clone)]
pub(crate) struct Order {
    /// As last seen. Absent for a pod that runs but was never heard of by this agent.
    pub(crate) pod: Option<Arc<Pod>>,
    /// The API does not have it any more.
    pub(crate) gone: bool,
    /// For the ConfigMaps and Secrets that it uses.
    pub(crate) desired: Arc<Desired>,
}

impl Order {
    /// True when the pod must stop for good.
    pub(crate) fn ends(&self) -> bool {
        self.gone || self.pod.as_ref().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
    }

    /// How gently; `None` when only the runtime knows.
    pub(crate) fn grace(&self) -> Option<Duration> {
        let pod = self.pod.as_ref()?;
        let seconds = match pod.metadata.deletion_grace_period_seconds {
            Some(seconds) => u64::try_from(seconds).unwrap_or(0),
            None => configuration::grace_seconds(pod),
        };
        Some(Duration::from_secs(seconds))
    }
}

/// From this priority on a pod is never stopped for the node's sake.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// True for a pod that the cluster needs to work.
pub(crate) fn is_critical(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|priority| priority >= CRITICAL_PRIORITY)
}

/// How long a pod wishes to have for its end.
pub(crate) fn grace_of(pod: &Pod) -> Duration {
    Duration::from_secs(configuration::grace_seconds(pod))
}

/// Stops a pod for good, whatever its specification says.
pub(crate) struct Eviction {
    pub(crate) uid: String,
    pub(crate) ended: Ended,
}

/// The manager of all pods of a node.
pub(crate) struct Pods {
    node: Arc<Node>,
    desired: watch::Receiver<Arc<Desired>>,
    evictions: mpsc::Receiver<Eviction>,
    workers: BTreeMap<String, Handle>,
    ended: (mpsc::Sender<String>, mpsc::Receiver<String>),
    /// What the last relist saw; nothing is started before the first.
    seen: Option<BTreeMap<String, PodRuntime>>,
    /// Since when pods seem to be meant for another node, by uid.
    misplaced: BTreeMap<String, Instant>,
    circumstances: watch::Receiver<Circumstances>,
    /// What the runtime's health is, for the node's own status.
    health: watch::Sender<Option<String>>,
}

struct Handle {
    key: PodKey,
    orders: watch::Sender<Order>,
    evictions: watch::Sender<Option<Ended>>,
    wake: Arc<Notify>,
    /// True for one that the node did not take.
    is_rejected: bool,
}

impl Pods {
    /// `health` takes the runtime's problem, or `None` while it answers.
    pub(crate) fn new(
        node: Arc<Node>,
        desired: watch::Receiver<Arc<Desired>>,
        evictions: mpsc::Receiver<Eviction>,
        circumstances: watch::Receiver<Circumstances>,
        health: watch::Sender<Option<String>>,
    ) -> Self {
        Self {
            node,
            desired,
            evictions,
            workers: BTreeMap::new(),
            ended: mpsc::channel(ENDED_MAX),
            seen: None,
            misplaced: BTreeMap::new(),
            circumstances,
            health,
        }
    }

    /// Until `stop`. What runs goes on running.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut relist = tokio::time::interval(RELIST);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ticks = 0_u64;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(uid) = self.ended.1.recv() => {
                    self.workers.remove(&uid);
                    // An order may have come while the worker was ending.
                    self.apply(&stop);
                }
                Some(eviction) = self.evictions.recv() => {
                    if let Some(handle) = self.workers.get(&eviction.uid).filter(|it| !it.is_rejected) {
                        handle.evictions.send_replace(Some(eviction.ended));
                        handle.wake.notify_one();
                    }
                }
                changed = self.desired.changed() => match changed {
                    Ok(()) => drop(self.apply(&stop)),
                    // No gateway client any more: the agent is stopping.
                    Err(_) => return,
                },
                _ = relist.tick() => {
                    self.relist(&stop).await;
                    ticks += 1;
                    if ticks.is_multiple_of(SWEEP_EVERY) {
                        self.sweep(&stop);
                    }
                }
            }
        }
    }

    /// Gives every worker its newest order, and says what that followed from.
    fn apply(&mut self, stop: &CancellationToken) -> Arc<Desired> {
        let desired = self.desired.borrow_and_update().clone();
        let mut wanted: BTreeMap<&str, (&PodKey, &Arc<Pod>)> = BTreeMap::new();
        // Until a server has answered, only what the node runs by itself is known.
        for (key, pod) in desired.pods.iter().filter(|(_, pod)| desired.synced || is_static(pod)) {
            if let Some(uid) = &pod.metadata.uid {
                wanted.insert(uid, (key, pod));
            }
        }
        for (uid, handle) in self.workers.iter().filter(|_| desired.synced) {
            if !wanted.contains_key(uid.as_str()) {
                handle.orders.send_if_modified(|order| !std::mem::replace(&mut order.gone, true));
            }
        }
        self.misplaced.retain(|uid, _| wanted.contains_key(uid.as_str()));
        let mut fresh = Vec::new();
        for (uid, (key, pod)) in wanted {
            let order = Order { pod: Some(pod.clone()), gone: false, desired: desired.clone() };
            match self.workers.get(uid) {
                Some(handle) => {
                    handle.orders.send_if_modified(|known| {
                        let changed = !known.is_same(&order);
                        *known = order;
                        changed
                    });
                }
                None => fresh.push((uid, key, pod, order)),
            }
        }
        let Some(seen) = &self.seen else { return desired };
        // What runs is there already; of the others, who came first is taken first.
        fresh.sort_by_key(|(uid, key, pod, _)| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (!seen.contains_key(*uid), !is_static(pod), created, *key)
        });
        for (uid, key, pod, order) in fresh {
            self.take(pod, (key, uid), order, stop);
        }
        desired
    }

    /// Starts the worker of a pod that has none, unless it cannot be said yet whether the node takes it.
    fn take(&mut self, pod: &Pod, (key, uid): (&PodKey, &str), order: Order, stop: &CancellationToken) {
        let ran = self.seen.as_ref().is_some_and(|seen| seen.contains_key(uid));
        let rejected = if ran || order.ends() || has_ended(pod) {
            None
        } else {
            self.admitted(pod, &order.desired).err()
        };
        if rejected.as_ref().is_some_and(|refused| refused.reason == admission::NODE_AFFINITY) {
            // The node's labels may be on their way, as the pod was a moment ago.
            let since = *self.misplaced.entry(uid.to_owned()).or_insert_with(Instant::now);
            if since.elapsed() < LABELS_LAG_MAX {
                return;
            }
        }
        if let Some(refused) = &rejected {
            info!(pod = %key, %uid, reason = refused.reason, message = refused.message, "the node does not take a pod");
        }
        self.misplaced.remove(uid);
        self.start(key.clone(), uid.to_owned(), order, rejected.as_ref().map(Ended::rejected), stop);
    }

    /// What a new pod is judged by.
    fn admitted(&self, pod: &Pod, desired: &Desired) -> Result<(), Refused> {
        let node = desired.synced.then(|| {
            let metadata = ObjectMeta {
                name: Some(self.node.name.clone()),
                labels: Some(desired.node_labels.clone()),
                ..ObjectMeta::default()
            };
            NodeObject { metadata, ..NodeObject::default() }
        });
        let is_taken = |other: &&Arc<Pod>| {
            let handle = other.metadata.uid.as_ref().and_then(|uid| self.workers.get(uid));
            handle.is_some_and(|handle| !handle.is_rejected) && !has_ended(other)
        };
        let circumstances = self.circumstances.borrow().clone();
        let scene = Scene {
            node: node.as_ref(),
            allocatable: &self.node.allocatable,
            circumstances: &circumstances,
            others: desired.pods.values().filter(is_taken).map(|other| &**other).collect(),
        };
        admission::admit(pod, &scene)
    }

    fn start(
        &mut self,
        key: PodKey,
        uid: String,
        order: Order,
        rejected: Option<Ended>,
        stop: &CancellationToken,
    ) {
        let (orders, inbox) = watch::channel(order);
        let wake = Arc::new(Notify::new());
        let is_rejected = rejected.is_some();
        let (evictions, evicted) = watch::channel(rejected);
        let worker =
            Worker::new(self.node.clone(), (key.clone(), uid.clone()), (inbox, evicted), wake.clone());
        let (ended, stop, id) = (self.ended.0.clone(), stop.clone(), uid.clone());
        self.node.tasks.spawn_infallible(format!("pod {key} {uid}"), async move {
            worker.run(stop).await;
            // The manager is gone only when the agent stops.
            let _stopping = ended.send(id).await;
        });
        self.workers.insert(uid, Handle { key, orders, evictions, wake, is_rejected });
    }

    /// Wakes the workers of pods that changed, and ends pods that nobody wants.
    async fn relist(&mut self, stop: &CancellationToken) {
        let begin = tokio::time::Instant::now();
        let all = match self.node.runtime.observe(Which::All).await {
            Ok(all) => all,
            Err(error) => {
                self.note_problem(&error);
                return;
            }
        };
        metrics::histogram!(crate::metrics::RELIST_DURATION).record(begin.elapsed().as_secs_f64());
        self.health.send_if_modified(|problem| problem.take().is_some());
        let running = all.values().filter(|pod| pod.sandboxes.iter().any(|sandbox| sandbox.ready)).count();
        let containers = all.values().flat_map(|pod| &pod.containers).filter(|c| c.is_running()).count();
        metrics::gauge!(crate::metrics::RUNNING_PODS).set(gauge(running));
        metrics::gauge!(crate::metrics::RUNNING_CONTAINERS).set(gauge(containers));
        for (uid, handle) in &self.workers {
            if all.get(uid) != self.seen.as_ref().and_then(|seen| seen.get(uid)) {
                handle.wake.notify_one();
            }
        }
        self.seen = Some(all);
        // What is wanted may have become known while the runtime was asked.
        let desired = self.apply(stop);
        if desired.synced {
            let seen = self.seen.iter().flatten();
            let unwanted: Vec<(String, PodKey)> = seen
                .filter(|(uid, _)| !self.workers.contains_key(*uid))
                .map(|(uid, pod)| (uid.clone(), PodKey::new(&pod.namespace, &pod.name)))
                .collect();
            for (uid, key) in unwanted {
                info!(pod = %key, %uid, "a pod runs that nobody wants");
                let order = Order { pod: None, gone: true, desired: desired.clone() };
                self.start(key, uid, order, None, stop);
            }
        }
    }

    fn note_problem(&self, error: &RuntimeError) {
        let text = error.to_string();
        let is_news = self.health.send_if_modified(|problem| {
            let is_news = problem.is_none();
            *problem = Some(text.clone());
            is_news
        });
        if is_news {
            warn!(%error, "the container runtime has a problem");
        }
    }

    /// Removes what pods have left behind that neither the runtime nor the control plane knows.
    fn sweep(&mut self, stop: &CancellationToken) {
        let desired = self.apply(stop);
        let Some(host) = self.node.host.as_ref().filter(|_| desired.synced) else { return };
        for uid in host.pods_with_files() {
            if !self.workers.contains_key(&uid)
                && !self.seen.as_ref().is_some_and(|seen| seen.contains_key(&uid))
            {
                info!(%uid, "removing what a pod has left behind");
                host.clean_up(&uid);
            }
        }
    }
}

impl Order {
    /// True when nothing in it concerns the pod anew.
    fn is_same(&self, other: &Self) -> bool {
        let same_pod = match (&self.pod, &other.pod) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let (a, b) = (&self.desired, &other.desired);
        // Services matter when a container starts, and only then.
        same_pod
            && same_objects(&a.config_maps, &b.config_maps)
            && same_objects(&a.secrets, &b.secrets)
            && same_objects(&a.claims, &b.claims)
            && same_objects(&a.volumes, &b.volumes)
            && self.gone == other.gone
    }
}

fn same_objects<K>(a: &BTreeMap<ObjectKey, Arc<K>>, b: &BTreeMap<ObjectKey, Arc<K>>) -> bool {
    a.len() == b.len() && a.values().zip(b.values()).all(|(a, b)| Arc::ptr_eq(a, b))
}

impl Drop for Pods {
    fn drop(&mut self) {
        let still: Vec<String> = self.workers.values().map(|handle| handle.key.to_string()).collect();
        tracing::debug!(pods = ?still, "leaving pods running");
    }
}

fn gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
