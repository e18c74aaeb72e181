//! Filter, score, select: pure.

use std::collections::BTreeMap;

use crate::filters;
use crate::pod::PodInfo;
use crate::scores;
use crate::snapshot::{NodeInfo, Snapshot};

/// Where a pod goes, or why nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Node(String),
    /// In Kubernetes' words, as shown in the event and the pod's condition.
    Nowhere(String),
}

pub(crate) fn decide(pod: &PodInfo, snapshot: &Snapshot) -> Decision {
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    let (mut reasons, mut count): (BTreeMap<String, usize>, usize) = (BTreeMap::new(), 0);
    for node in snapshot.nodes() {
        count += 1;
        let objections = filters::objections(pod, node);
        if objections.is_empty() {
            fitting.push(node);
        }
        for reason in objections {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if fitting.is_empty() {
        return Decision::Nowhere(nowhere(count, &reasons));
    }
    let totals = scores::totals(pod, &fitting);
    // Among equals the one with fewer pods, then the first by name.
    let ranked = fitting
        .iter()
        .zip(totals)
        .max_by_key(|(node, total)| (*total, std::cmp::Reverse((node.requested.pods, node.name()))));
    match ranked {
        Some((node, _)) => Decision::Node(node.name().to_owned()),
        None => Decision::Nowhere(nowhere(count, &reasons)),
    }
}

/// `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.`
fn nowhere(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut counted: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    counted.sort();
    format!("0/{nodes} nodes are available: {}.", counted.join(", "))
}

#[cfg(test)]
mod tests;
