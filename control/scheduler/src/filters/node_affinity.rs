//! nodeSelector, and what node affinity requires.

use client::node_affinity;

use super::Reason;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    if pod.pod.spec.as_ref().is_none_or(|spec| node_affinity::allows(spec, &node.node)) {
        return Vec::new();
    }
    vec!["node(s) didn't match Pod's node affinity/selector".to_owned()]
}
