//! What a node's silence, or its own conditions, call for: pure.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, PodCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::GRACE;
use crate::pods;

pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that forbid new pods while they are true.
const PRESSURES: &[(&str, &str)] = &[
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// All that a decision is made of.
pub(super) struct Seen {
    pub(super) node: Arc<Node>,
    /// How long no gateway named the node.
    pub(super) silent_for: Duration,
    /// Bound to the node.
    pub(super) pods: Vec<Arc<Pod>>,
}

pub(super) enum Action {
    /// The node's, in place of those it has.
    Conditions(Vec<NodeCondition>),
    Taints(Vec<Taint>),
    PodNotReady(Arc<Pod>, Vec<PodCondition>),
    /// When the silence would have lasted too long.
    Again(Duration),
}

/// One write to the node per round: the next round sees it.
pub(super) fn plan(seen: &Seen, now: Timestamp) -> Vec<Action> {
    let is_silent = seen.silent_for >= GRACE;
    let mut actions = Vec::new();
    if is_silent && status_of(&seen.node, "Ready") != "Unknown" {
        actions.push(Action::Conditions(unknown(&seen.node, now)));
        return actions;
    }
    let known = seen.node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let taints = taints(&seen.node, &known, now);
    if taints != known {
        actions.push(Action::Taints(taints));
    }
    if !is_ready(&seen.node) {
        let not_ready = seen.pods.iter().filter_map(|pod| {
            let conditions = not_ready(pod, now)?;
            Some(Action::PodNotReady(pod.clone(), conditions))
        });
        actions.extend(not_ready);
    }
    if !is_silent {
        actions.push(Action::Again(GRACE - seen.silent_for));
    }
    actions
}

pub(super) fn is_ready(node: &Node) -> bool {
    status_of(node, "Ready") == "True"
}

fn status_of<'a>(node: &'a Node, kind: &str) -> &'a str {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let found = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == kind));
    found.map_or("", |condition| condition.status.as_str())
}

/// Nothing that the node once said holds any more.
fn unknown(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut conditions =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    if !conditions.iter().any(|condition| condition.type_ == "Ready") {
        conditions.push(NodeCondition { type_: "Ready".to_owned(), ..NodeCondition::default() });
    }
    for condition in conditions.iter_mut().filter(|condition| condition.type_ != "NetworkUnavailable") {
        if condition.status != "Unknown" {
            condition.last_transition_time = Some(Time(now));
        }
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.message = Some("Kubelet stopped posting node status.".to_owned());
    }
    conditions
}

/// The taints that follow from conditions and cordon; all others stay as they are.
fn taints(node: &Node, known: &[Taint], now: Timestamp) -> Vec<Taint> {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match status_of(node, "Ready") {
        "True" => {}
        "Unknown" => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        _ => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
    }
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let pressing = PRESSURES.iter().filter(|(condition, _)| status_of(node, condition) == "True");
    wanted.extend(pressing.map(|(_, taint)| (*taint, "NoSchedule")));

    let is_ours = |taint: &Taint| {
        [UNREACHABLE, NOT_READY, UNSCHEDULABLE].contains(&taint.key.as_str())
            || PRESSURES.iter().any(|(_, key)| *key == taint.key)
    };
    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut taints: Vec<Taint> = known
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.iter().any(|wanted| is(taint, *wanted)))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| is(taint, (key, effect))) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    taints
}

/// The pod's conditions with Ready off, unless it is off already.
fn not_ready(pod: &Pod, now: Timestamp) -> Option<Vec<PodCondition>> {
    pods::ready_since(pod)?;
    let mut conditions = pod.status.as_ref()?.conditions.clone()?;
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
        condition.status = "False".to_owned();
        condition.last_transition_time = Some(Time(now));
    }
    Some(conditions)
}
