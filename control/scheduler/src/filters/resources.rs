//! What the pod asks for must fit into what the node has left.

use super::Reason;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let (asked, has, taken) = (pod.requests, node.allocatable, node.requested);
    let mut reasons = Vec::new();
    if taken.pods + 1 > has.pods {
        reasons.push("Too many pods".to_owned());
    }
    for (name, asked, has, taken) in [
        ("cpu", asked.cpu_milli, has.cpu_milli, taken.cpu_milli),
        ("memory", asked.memory_bytes, has.memory_bytes, taken.memory_bytes),
        ("ephemeral-storage", asked.storage_bytes, has.storage_bytes, taken.storage_bytes),
    ] {
        if asked > 0 && asked > has - taken {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}
