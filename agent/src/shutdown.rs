//! Taking a node down gently: its pods end within a given time, those that matter most last.
//!
//! What the kubelet does before the machine goes off (KEP-2000), begun by the signal that stops the agent. Off
//! unless it is given time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::assembly::RunningPods;
use crate::desired::Desired;
use crate::pods::{Ended, Eviction, grace_of, has_ended, is_critical};
use crate::runtime::{PodRuntime, Runtime, Which};

/// How often it is seen who still runs.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// For the last reports to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long pods get when the agent is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownPolicy {
    /// In all. Nothing: pods stay when the agent goes.
    pub grace: Duration,
    /// Of that, what is kept for critical pods.
    pub critical: Duration,
}

impl ShutdownPolicy {
    pub fn is_on(&self) -> bool {
        !self.grace.is_zero()
    }
}

/// Ends every pod of the node. Returns when none runs, or when the time is over.
pub async fn shut_down(pods: &RunningPods, desired: &watch::Receiver<Arc<Desired>>, policy: ShutdownPolicy) {
    info!(grace_seconds = policy.grace.as_secs(), "ending the pods of this node");
    pods.circumstances.send_modify(|circumstances| circumstances.shuts_down = true);
    let ordinary = policy.grace.saturating_sub(policy.critical);
    let mut told = BTreeSet::new();
    for (is_last, budget) in [(false, ordinary), (true, policy.critical)] {
        let until = Instant::now() + budget;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let current = desired.borrow().clone();
            let mut leaving = Leaving { evictions: &pods.evictions, told: &mut told, left };
            leaving.tell(&current, is_last).await;
            if left.is_zero() || !still_runs(pods.runtime.as_ref(), &told).await {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    if still_runs(pods.runtime.as_ref(), &told).await {
        warn!("the time for ending the pods of this node is over, and some still run");
    }
    tokio::time::sleep(FAREWELL).await;
}

struct Leaving<'a> {
    evictions: &'a mpsc::Sender<Eviction>,
    /// By uid.
    told: &'a mut BTreeSet<String>,
    left: Duration,
}

impl Leaving<'_> {
    /// Also those that came only now.
    async fn tell(&mut self, desired: &Desired, also_critical: bool) {
        let goes = |pod: &&Arc<Pod>| !has_ended(pod) && (also_critical || !is_critical(pod));
        for pod in desired.pods.values().filter(goes) {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            if self.told.insert(uid.clone()) {
                let ended = Ended::shut_down(self.left.min(grace_of(pod)));
                // The manager is gone only when the agent stops at once.
                let _stopping = self.evictions.send(Eviction { uid, ended }).await;
            }
        }
    }
}

async fn still_runs(runtime: &dyn Runtime, told: &BTreeSet<String>) -> bool {
    match runtime.observe(Which::All).await {
        Ok(pods) => pods.iter().any(|(uid, pod)| told.contains(uid) && PodRuntime::is_running(pod)),
        // What cannot be seen may run.
        Err(_) => true,
    }
}
