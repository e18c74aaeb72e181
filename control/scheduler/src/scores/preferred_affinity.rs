//! Node affinity that is preferred, not required: the sum of the weights that match.

use client::node_affinity::matches_term;

use super::more_is_better;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn score(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let affinity = pod.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let preferred = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    let preferred = preferred.unwrap_or_default();
    let of = |node: &&NodeInfo| {
        let matching = preferred.iter().filter(|term| matches_term(&term.preference, &node.node));
        matching.map(|term| i64::from(term.weight)).sum()
    };
    more_is_better(&nodes.iter().map(of).collect::<Vec<i64>>())
}
