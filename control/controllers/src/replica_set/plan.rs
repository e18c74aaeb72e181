//! What a ReplicaSet needs: pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::{HasMetadata, selects};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

/// More are created, or deleted, in the next round.
const BURST_MAX: usize = 500;
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// All that a decision is made of.
pub(super) struct Seen {
    pub(super) set: Arc<ReplicaSet>,
    /// Controlled by the set.
    pub(super) pods: Vec<Arc<Pod>>,
    /// In its namespace, controlled by nobody.
    pub(super) orphans: Vec<Arc<Pod>>,
    /// Of all sets that share the set's own controller.
    pub(super) related: Vec<Arc<Pod>>,
}

pub(super) enum Action {
    Adopt { set: Arc<ReplicaSet>, pod: Arc<Pod> },
    Release { set: Arc<ReplicaSet>, pod: Arc<Pod> },
    Create { set: Arc<ReplicaSet>, count: usize },
    Delete { set: Arc<ReplicaSet>, pod: Arc<Pod> },
    Status { set: Arc<ReplicaSet>, status: Box<ReplicaSetStatus> },
    Again(Duration),
}

/// Claims first: what is not counted right cannot be scaled right.
pub(super) fn plan(seen: &Seen, now: Timestamp) -> Vec<Action> {
    let set = &seen.set;
    let Some(spec) = &set.spec else { return Vec::new() };
    let is_ours = |pod: &Pod| selects(&spec.selector, pod.metadata.labels.as_ref());
    let mut actions = Vec::new();
    if !set.is_terminating() {
        let strays = seen.pods.iter().filter(|pod| !is_ours(pod) && !pod.is_terminating());
        actions.extend(strays.map(|pod| Action::Release { set: set.clone(), pod: pod.clone() }));
        let found = seen.orphans.iter().filter(|pod| is_ours(pod) && pods::is_active(pod));
        actions.extend(found.map(|pod| Action::Adopt { set: set.clone(), pod: pod.clone() }));
    }
    let is_claimed = actions.is_empty();

    let active: Vec<_> =
        seen.pods.iter().filter(|pod| is_ours(pod) && pods::is_active(pod)).cloned().collect();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if is_claimed && !set.is_terminating() {
        if active.len() < wanted {
            let count = (wanted - active.len()).min(BURST_MAX);
            actions.push(Action::Create { set: set.clone(), count });
        } else {
            let surplus = (active.len() - wanted).min(BURST_MAX);
            for pod in first_to_go(&active, &seen.related).into_iter().take(surplus) {
                actions.push(Action::Delete { set: set.clone(), pod });
            }
        }
    }

    let min_ready = Duration::from_secs(u64::try_from(spec.min_ready_seconds.unwrap_or(0)).unwrap_or(0));
    let status = status(set, &active, min_ready, now);
    if set.status.as_ref() != Some(&status) {
        actions.push(Action::Status { set: set.clone(), status: Box::new(status) });
    }
    let waits = active.iter().filter_map(|pod| pods::until_available(pod, min_ready, now));
    if let Some(soonest) = waits.filter(|wait| !wait.is_zero()).min() {
        actions.push(Action::Again(soonest));
    }
    actions
}

fn status(set: &ReplicaSet, active: &[Arc<Pod>], min_ready: Duration, now: Timestamp) -> ReplicaSetStatus {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let labels = template.and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let fully_labeled =
        |pod: &Arc<Pod>| labels.iter().all(|(key, value)| pod.label(key) == Some(value.as_str()));
    let available =
        |pod: &Arc<Pod>| pods::until_available(pod, min_ready, now).is_some_and(|wait| wait.is_zero());
    let count = |of: &dyn Fn(&Arc<Pod>) -> bool| {
        i32::try_from(active.iter().filter(|pod| of(pod)).count()).unwrap_or(i32::MAX)
    };
    let replicas = count(&|_| true);
    let old = set.status.clone().unwrap_or_default();
    let is_short = set.spec.as_ref().is_some_and(|spec| replicas < spec.replicas.unwrap_or(1));
    let mut conditions = old.conditions;
    if !is_short && let Some(known) = &mut conditions {
        known.retain(|condition| condition.type_ != REPLICA_FAILURE);
    }
    // As the API server keeps it: zero and absent are the same, and absent is shorter.
    let some = |count: i32| (count != 0).then_some(count);
    ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: some(count(&fully_labeled)),
        ready_replicas: some(count(&|pod| pods::ready_since(pod).is_some())),
        available_replicas: some(count(&available)),
        observed_generation: set.metadata.generation,
        conditions: conditions.filter(|known| !known.is_empty()),
        terminating_replicas: old.terminating_replicas,
    }
}

/// Kubernetes' order: unscheduled, then pending, then not ready, then cheap, then crowded on one node, then ready for a
/// short time, then often restarted, then young.
fn first_to_go(active: &[Arc<Pod>], related: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let mut crowd: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *crowd.entry(pods::node_name(pod)).or_default() += 1;
    }
    let phase_rank = |pod: &Pod| match pods::phase(pod) {
        "Pending" => 0,
        "Running" => 2,
        _ => 1,
    };
    let cost = |pod: &Pod| pod.annotation(DELETION_COST).and_then(|c| c.parse::<i32>().ok()).unwrap_or(0);
    let mut ranked = active.to_vec();
    ranked.sort_by_cached_key(|pod| {
        let node = pods::node_name(pod);
        let ready = pods::ready_since(pod);
        (
            !node.is_empty(),
            phase_rank(pod),
            ready.is_some(),
            cost(pod),
            Reverse(crowd.get(node).copied().unwrap_or(0)),
            Reverse(ready),
            Reverse(pods::restarts(pod)),
            Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)),
        )
    });
    ranked
}
