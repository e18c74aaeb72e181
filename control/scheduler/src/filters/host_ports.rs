//! A port of the node itself goes to one pod only.

use super::Reason;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let is_taken = pod.ports.iter().any(|port| node.ports.iter().any(|taken| taken.collides(port)));
    if is_taken {
        return vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
    }
    Vec::new()
}
