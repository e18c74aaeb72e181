//! NoSchedule and NoExecute taints keep pods away that do not tolerate them.

use super::Reason;
use crate::pod::{PodInfo, tolerates};
use crate::snapshot::NodeInfo;

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let taints = node.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let hard = taints.filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    let untolerated = hard.into_iter().find(|taint| !tolerates(&pod.pod, taint));
    let reason = untolerated.map(|taint| {
        let value = taint.value.as_deref().unwrap_or_default();
        format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)
    });
    reason.into_iter().collect()
}
