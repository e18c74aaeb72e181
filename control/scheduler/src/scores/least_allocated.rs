//! The emptier, the better: CPU and memory count alike.

use super::MAX;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn score(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let free =
        |has: i64, taken: i64| if has > 0 { (has - taken).max(0).saturating_mul(MAX) / has } else { 0 };
    let of = |node: &&NodeInfo| {
        let mut taken = node.scored;
        taken += pod.scored;
        let cpu = free(node.allocatable.cpu_milli, taken.cpu_milli);
        let memory = free(node.allocatable.memory_bytes, taken.memory_bytes);
        i64::midpoint(cpu, memory)
    };
    nodes.iter().map(of).collect()
}
