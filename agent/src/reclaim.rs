//! What a node does when it runs short: removes images that nothing uses, then stops pods, the ones first that
//! use more than they asked for. Also stops pods that outgrow what they themselves allow.
//!
//! Looks on its own clock and decides from what it sees alone; what it decides is carried out by the workers of
//! the pods. While no server has answered, it stops nothing.

mod images;
mod rank;
mod thresholds;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use images::ImagePolicy;
pub(crate) use thresholds::{Crossed, Signal};
pub use thresholds::{DEFAULT as DEFAULT_THRESHOLDS, ThresholdError, Thresholds};
pub(crate) use usage::bytes_below;

use crate::desired::Desired;
use crate::node::Usage;
use crate::pods::{Ended, Eviction, Host, Node, has_ended};
use crate::runtime::{NamedImage, PodRuntime, RuntimeError, Which};
use rank::Candidate;
use usage::Folders;

const CHECK_EVERY: Duration = Duration::from_secs(10);
const IMAGES_EVERY: Duration = Duration::from_secs(300);
/// What an evicted pod gets between SIGTERM and SIGKILL: the node cannot wait.
const GRACE: Duration = Duration::from_secs(1);

/// When the node acts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReclaimPolicy {
    pub thresholds: Thresholds,
    pub images: ImagePolicy,
}

pub(crate) struct Reclaimer {
    node: Arc<Node>,
    desired: watch::Receiver<Arc<Desired>>,
    evictions: mpsc::Sender<Eviction>,
    policy: ReclaimPolicy,
    data_dir: PathBuf,
    images: images::Seen,
    images_due: Instant,
    /// Told to stop, by uid; kept while they are still wanted.
    evicted: BTreeSet<String>,
    /// The disk could not be brought below its mark; told once.
    is_full: bool,
}

/// What is on the node at one moment.
struct Scene {
    pods: BTreeMap<String, PodRuntime>,
    active: Vec<Arc<Pod>>,
}

impl Reclaimer {
    pub(crate) fn new(
        node: Arc<Node>,
        desired: watch::Receiver<Arc<Desired>>,
        evictions: mpsc::Sender<Eviction>,
        policy: ReclaimPolicy,
        data_dir: PathBuf,
    ) -> Self {
        Self {
            node,
            desired,
            evictions,
            policy,
            data_dir,
            images: images::Seen::default(),
            images_due: Instant::now(),
            evicted: BTreeSet::new(),
            is_full: false,
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => if let Err(error) = self.check().await {
                    // The runtime's health is told by those who watch it.
                    warn!(%error, "cannot look for what the node is short of");
                }
            }
        }
    }

    async fn check(&mut self) -> Result<(), RuntimeError> {
        let desired = self.desired.borrow().clone();
        if !desired.synced {
            return Ok(());
        }
        let pods = self.node.runtime.observe(Which::All).await?;
        let mut crossed = self.policy.thresholds.crossed(&Usage::read(&self.data_dir));
        let is_disk_short =
            crossed.iter().any(|crossed| matches!(crossed.signal, Signal::Storage | Signal::Inodes));
        if is_disk_short || self.images_due <= Instant::now() {
            self.images_due = Instant::now() + IMAGES_EVERY;
            if self.remove_images(&pods, is_disk_short).await? {
                crossed = self.policy.thresholds.crossed(&Usage::read(&self.data_dir));
            }
        }
        let scene = self.scene(&desired, pods);
        self.stop_pods(&scene, &crossed).await
    }

    /// The pods that run and may be stopped.
    fn scene(&mut self, desired: &Desired, pods: BTreeMap<String, PodRuntime>) -> Scene {
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        let wanted: BTreeSet<String> = desired.pods.values().map(|pod| uid(pod)).collect();
        self.evicted.retain(|uid| wanted.contains(uid));
        let is_active = |pod: &Arc<Pod>| {
            let id = uid(pod);
            let runs = pods.get(&id).is_some_and(PodRuntime::is_running);
            runs && !has_ended(pod) && !self.evicted.contains(&id)
        };
        let active = desired.pods.values().filter(|pod| is_active(pod)).cloned().collect();
        Scene { pods, active }
    }

    async fn stop_pods(&mut self, scene: &Scene, crossed: &[Crossed]) -> Result<(), RuntimeError> {
        let Some(host) = &self.node.host else { return Ok(()) };
        let pressed: Vec<&Crossed> =
            crossed.iter().filter(|crossed| crossed.signal != Signal::Pids).collect();
        let measured = |pod: &&Arc<Pod>| !pressed.is_empty() || rank::limits_storage(pod);
        let to_measure: Vec<Arc<Pod>> = scene.active.iter().filter(measured).cloned().collect();
        if to_measure.is_empty() {
            return Ok(());
        }
        let candidates = self.measure(host, scene, to_measure).await?;
        let mut grown = Vec::new();
        for candidate in &candidates {
            if let Some(message) = candidate.over_its_limits() {
                grown.push((candidate.pod.clone(), message));
            }
        }
        let leaving = self.evicted.iter().any(|uid| scene.pods.get(uid).is_some_and(PodRuntime::is_running));
        if !grown.is_empty() {
            for (pod, message) in grown {
                self.evict(&pod, message, None).await;
            }
        } else if let Some(crossed) = pressed.first().filter(|_| !leaving) {
            let resource = crossed.signal.resource();
            let message = format!("Attempting to reclaim {resource}");
            self.node.warn_of_node("EvictionThresholdMet", message).await;
            match rank::first(&candidates, crossed.signal) {
                Some(first) => {
                    let message = first.message(crossed);
                    self.evict(&first.pod.clone(), message, Some(crossed.signal)).await;
                }
                None => warn!(%resource, "the node is short of something and no pod may be stopped for it"),
            }
        }
        Ok(())
    }

    async fn measure(
        &self,
        host: &Host,
        scene: &Scene,
        pods: Vec<Arc<Pod>>,
    ) -> Result<Vec<Candidate>, RuntimeError> {
        let stats = self.node.runtime.usage().await?;
        let subjects: Vec<_> = pods
            .into_iter()
            .map(|pod| {
                let runtime = scene.pods.get(pod.metadata.uid.as_deref().unwrap_or_default()).cloned();
                (Folders::of(&host.paths, &pod), pod, runtime)
            })
            .collect();
        let measured = tokio::task::spawn_blocking(move || {
            let one = |(folders, pod, runtime): (Folders, Arc<Pod>, Option<PodRuntime>)| {
                let usage = usage::measure(&pod, runtime.as_ref(), &stats, &folders);
                Candidate { pod, usage }
            };
            subjects.into_iter().map(one).collect()
        });
        measured.await.map_err(|error| RuntimeError::Refused { message: error.to_string() })
    }

    /// `short` is what the node needs; `None` when the pod has only itself to blame.
    async fn evict(&mut self, pod: &Pod, message: String, short: Option<Signal>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let signal = short.map_or("localstorage", Signal::resource);
        info!(pod = ?pod.metadata.name, %uid, %signal, "evicting a pod");
        metrics::counter!(crate::metrics::EVICTIONS, "eviction_signal" => signal).increment(1);
        let ended = Ended::evicted(message, GRACE, short.is_some());
        // The manager is gone only when the agent stops.
        let _stopping = self.evictions.send(Eviction { uid: uid.clone(), ended }).await;
        self.evicted.insert(uid);
    }

    /// True when something was removed.
    async fn remove_images(
        &mut self,
        pods: &BTreeMap<String, PodRuntime>,
        is_disk_short: bool,
    ) -> Result<bool, RuntimeError> {
        let images = self.node.runtime.images().await?;
        let used = images::used_by(pods);
        let now = self.node.clock.now();
        self.images.observe(&images, &used, now);
        let excess = self.policy.images.excess(&Usage::read(&self.data_dir));
        let wanted = if is_disk_short { u64::MAX } else { excess.unwrap_or(0) };
        if wanted == 0 && excess.is_none() {
            self.is_full = false;
            return Ok(false);
        }
        let unused = self.images.unused(&images, &used, (self.policy.images.age_min, now));
        let freed = self.remove_until(wanted, &images, unused).await;
        if freed < wanted && !is_disk_short && !std::mem::replace(&mut self.is_full, true) {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            );
            self.node.warn_of_node("FreeDiskSpaceFailed", message).await;
        }
        Ok(freed > 0)
    }

    async fn remove_until(&self, wanted: u64, images: &[NamedImage], unused: Vec<(String, u64)>) -> u64 {
        let mut freed = 0;
        for (id, size) in unused {
            if freed >= wanted {
                break;
            }
            let names = images.iter().find(|image| image.id == id).map(|image| &image.names);
            match self.node.runtime.remove_image(&id).await {
                Ok(()) => {
                    info!(%id, ?names, bytes = size, "removed an image that nothing used");
                    metrics::counter!(crate::metrics::IMAGES_COLLECTED).increment(1);
                    freed += size;
                }
                Err(error) => warn!(%error, %id, ?names, "cannot remove an image"),
            }
        }
        freed
    }
}
