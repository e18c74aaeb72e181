//! A pod that names its node runs there or nowhere.

use super::Reason;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    match pod.node_name() {
        "" => Vec::new(),
        name if name == node.name() => Vec::new(),
        _ => vec!["node(s) didn't match the requested node name".to_owned()],
    }
}
