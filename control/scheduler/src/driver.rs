//! The scheduling loop of one term: takes a pod, decides, assumes, and binds while it decides for the next.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Clock, Revision};
use client::{Cache, Change, Client, HasMetadata, Informers, ObjectKey, Recorder};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bind::{Bound, bind, tell_nowhere};
use crate::decide::{Decision, decide};
use crate::metrics::{
    SCHEDULER_PENDING_PODS, SCHEDULER_SCHEDULE_ATTEMPTS_TOTAL, SCHEDULER_SCHEDULING_ATTEMPT_DURATION_SECONDS,
};
use crate::pod::{PodInfo, is_to_be_scheduled};
use crate::queue::{Queue, Turn};
use crate::snapshot::Snapshot;

const BINDS_MAX: usize = 64;
/// Hopeless pods are tried again after this even if nothing seems to have changed: a safety net.
const FLUSH_EVERY: Duration = Duration::from_secs(300);

/// What the watches feed, whoever leads.
#[derive(Clone)]
pub(crate) struct Inputs {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    changed: Arc<Changed>,
}

#[derive(Default)]
struct Changed {
    keys: Mutex<Keys>,
    woken: Notify,
}

/// What changed since it was last looked at.
#[derive(Default)]
struct Keys {
    pods: BTreeSet<ObjectKey>,
    nodes: BTreeSet<ObjectKey>,
    /// Unbound pods whose spec or labels changed, or that are new.
    to_try: BTreeSet<ObjectKey>,
    /// A node or a placed pod changed so that others may fit.
    gives_room: bool,
}

impl Inputs {
    pub(crate) fn connect(informers: &Informers) -> Self {
        let (pods, nodes) = (informers.cache::<Pod>(), informers.cache::<Node>());
        let changed = Arc::new(Changed::default());
        let inputs = Self { pods, nodes, changed: changed.clone() };
        let on_pod = changed.clone();
        inputs.pods.on_change(move |change| on_pod.pod(change));
        inputs.nodes.on_change(move |change| changed.node(change));
        inputs
    }
}

impl Changed {
    fn pod(&self, change: &Change<Pod>) {
        let Some(key) = change.latest().map(|pod| pod.key()) else { return };
        let spec = |pod: &Option<Arc<Pod>>| {
            pod.as_ref().map(|pod| (pod.spec.clone(), pod.metadata.labels.clone(), pod.metadata.uid.clone()))
        };
        let mut keys = self.lock();
        if spec(&change.old) != spec(&change.new) {
            keys.to_try.insert(key.clone());
        }
        let holds = |pod: &Option<Arc<Pod>>| pod.as_ref().is_some_and(|pod| crate::pod::holds_resources(pod));
        let was_bound = change.old.as_ref().is_some_and(|pod| !PodInfo::of(pod).node_name().is_empty());
        keys.gives_room |= was_bound && holds(&change.old) && !holds(&change.new);
        keys.pods.insert(key);
        drop(keys);
        self.woken.notify_one();
    }

    fn node(&self, change: &Change<Node>) {
        let Some(key) = change.latest().map(|node| node.key()) else { return };
        let what_matters = |node: &Option<Arc<Node>>| {
            let node = node.as_ref()?;
            let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone());
            Some((node.spec.clone(), node.metadata.labels.clone(), allocatable))
        };
        if what_matters(&change.old) == what_matters(&change.new) {
            return;
        }
        let mut keys = self.lock();
        keys.gives_room |= change.new.is_some();
        keys.nodes.insert(key);
        drop(keys);
        self.woken.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One term.
pub(crate) struct Scheduler {
    inputs: Inputs,
    client: Client,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    queue: Queue,
    snapshot: Snapshot,
}

impl Scheduler {
    pub(crate) fn new(inputs: Inputs, client: Client, clock: Arc<dyn Clock>, recorder: Recorder) -> Self {
        let (queue, snapshot) = (Queue::default(), Snapshot::default());
        Self { inputs, client, clock, recorder, queue, snapshot }
    }

    /// From when the caches show the state at `since`, until it is dropped with its term.
    pub(crate) async fn run(mut self, since: Revision) {
        tokio::join!(self.inputs.pods.reach(since), self.inputs.nodes.reach(since));
        self.start_over();
        let mut binds = FuturesUnordered::new();
        let mut flush_at = Instant::now() + FLUSH_EVERY;
        loop {
            self.take_in();
            let now = Instant::now();
            if now >= flush_at {
                flush_at = now + FLUSH_EVERY;
                self.queue.changed(now);
            }
            if binds.len() < BINDS_MAX
                && let Some(turn) = self.queue.take(now)
            {
                if let Some((pod, node)) = self.place(&turn).await {
                    let (client, recorder) = (self.client.clone(), self.recorder.clone());
                    binds.push(async move { (bind(&client, &recorder, &pod, &node).await, pod, turn) });
                }
                // Deciding alone never waits: let the watches and the binds go on.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.queue.next_due().map_or(flush_at, |due| due.min(flush_at));
            let changed = self.inputs.changed.clone();
            tokio::select! {
                biased;
                Some((bound, pod, turn)) = binds.next(), if !binds.is_empty() => {
                    self.bound(&bound, &pod, &turn);
                }
                () = changed.woken.notified() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Everything counts as changed in a new term.
    fn start_over(&self) {
        let mut keys = self.inputs.changed.lock();
        let pods: Vec<_> = self.inputs.pods.list().iter().map(|pod| pod.key()).collect();
        keys.pods.extend(pods.iter().cloned());
        keys.to_try.extend(pods);
        keys.nodes.extend(self.inputs.nodes.list().iter().map(|node| node.key()));
    }

    /// Brings snapshot and queue up to what the caches show.
    fn take_in(&mut self) {
        let keys = std::mem::take(&mut *self.inputs.changed.lock());
        for key in keys.nodes {
            self.snapshot.set_node(&key.name, self.inputs.nodes.get(&key));
        }
        for key in keys.pods {
            let pod = self.inputs.pods.get(&key);
            self.snapshot.set_pod(&key, pod.as_ref());
            match pod.filter(|pod| is_to_be_scheduled(pod)) {
                Some(pod) if keys.to_try.contains(&key) && !self.snapshot.is_assumed(&key) => {
                    self.queue.add(&key, PodInfo::of(&pod).priority());
                }
                Some(_) => {}
                None => self.queue.remove(&key),
            }
        }
        if keys.gives_room {
            self.queue.changed(Instant::now());
        }
        for (length, name) in self.queue.lengths().into_iter().zip(["active", "backoff", "unschedulable"]) {
            let length = f64::from(u32::try_from(length).unwrap_or(u32::MAX));
            metrics::gauge!(SCHEDULER_PENDING_PODS, "queue" => name).set(length);
        }
    }

    /// Decides for one pod. What is to be bound is assumed from here on.
    async fn place(&mut self, turn: &Turn) -> Option<(Arc<Pod>, String)> {
        let pod = self.inputs.pods.get(&turn.key).filter(|pod| is_to_be_scheduled(pod));
        let Some(pod) = pod else {
            self.queue.remove(&turn.key);
            return None;
        };
        let began = Instant::now();
        let info = PodInfo::of(&pod);
        let decision = decide(&info, &self.snapshot);
        let result = if matches!(decision, Decision::Node(_)) { "scheduled" } else { "unschedulable" };
        metrics::counter!(SCHEDULER_SCHEDULE_ATTEMPTS_TOTAL, "result" => result).increment(1);
        metrics::histogram!(SCHEDULER_SCHEDULING_ATTEMPT_DURATION_SECONDS, "result" => result)
            .record(began.elapsed().as_secs_f64());
        match decision {
            Decision::Node(node) => {
                self.snapshot.assume(info, &node);
                Some((pod, node))
            }
            Decision::Nowhere(message) => {
                self.queue.fits_nowhere(turn, Instant::now());
                tell_nowhere(&self.client, &self.recorder, &pod, (&message, self.clock.now())).await;
                None
            }
        }
    }

    fn bound(&mut self, bound: &Bound, pod: &Pod, turn: &Turn) {
        match bound {
            // Stays assumed until the watch shows it.
            Bound::Yes => self.queue.finish(turn),
            Bound::Refused => {
                self.snapshot.forget(pod);
                self.queue.failed(turn, Instant::now());
            }
            Bound::Gone => {
                self.snapshot.forget(pod);
                self.queue.finish(turn);
            }
        }
    }
}
