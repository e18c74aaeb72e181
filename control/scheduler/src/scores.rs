//! Which of the nodes that can have a pod should: each score is 0 to 100, and has a weight.

mod balanced;
mod least_allocated;
mod preferred_affinity;
mod spread;
mod taints;

use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

const MAX: i64 = 100;

type Score = fn(&PodInfo, &[&NodeInfo]) -> Vec<i64>;

/// One score per node, in the nodes' order; weights as in Kubernetes.
const ALL: &[(Score, i64)] = &[
    (least_allocated::score, 1),
    (balanced::score, 1),
    (spread::score, 2),
    (taints::score, 3),
    (preferred_affinity::score, 2),
];

/// The weighted sum for each node, in the nodes' order.
pub(crate) fn totals(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    for (score, weight) in ALL {
        for (total, points) in totals.iter_mut().zip(score(pod, nodes)) {
            *total += points * weight;
        }
    }
    totals
}

/// The most becomes [`MAX`], nothing 0.
fn more_is_better(raw: &[i64]) -> Vec<i64> {
    match raw.iter().max() {
        Some(most) if *most > 0 => raw.iter().map(|points| points * MAX / most).collect(),
        _ => vec![0; raw.len()],
    }
}

/// Nothing becomes [`MAX`], the most 0.
fn less_is_better(raw: &[i64]) -> Vec<i64> {
    match raw.iter().max() {
        Some(most) if *most > 0 => raw.iter().map(|points| MAX - points * MAX / most).collect(),
        _ => vec![MAX; raw.len()],
    }
}
