//! CPU and memory should fill up together, so that neither is left over alone.

use super::MAX;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn score(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let share = |has: i64, taken: i64| if has > 0 { (taken.saturating_mul(MAX) / has).min(MAX) } else { MAX };
    let of = |node: &&NodeInfo| {
        let mut taken = node.requested;
        taken += pod.requests;
        let cpu = share(node.allocatable.cpu_milli, taken.cpu_milli);
        let memory = share(node.allocatable.memory_bytes, taken.memory_bytes);
        // Half the distance is the standard deviation of two.
        MAX - (cpu - memory).abs() / 2
    };
    nodes.iter().map(of).collect()
}
