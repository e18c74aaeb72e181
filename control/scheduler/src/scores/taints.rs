//! PreferNoSchedule taints that the pod does not tolerate count against a node.

use super::less_is_better;
use crate::pod::{PodInfo, tolerates};
use crate::snapshot::NodeInfo;

pub(super) fn score(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let count = |node: &&NodeInfo| {
        let taints = node.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let against =
            taints.filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(&pod.pod, taint));
        i64::try_from(against.count()).unwrap_or(i64::MAX)
    };
    less_is_better(&nodes.iter().map(count).collect::<Vec<_>>())
}
