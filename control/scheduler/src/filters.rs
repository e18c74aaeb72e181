//! May this pod run on this node? Each filter says no with a reason that people read in events.

mod host_ports;
mod node_affinity;
mod node_name;
mod resources;
mod taints;
mod unschedulable;

use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

/// Why a node cannot have a pod; the words are Kubernetes'.
pub(crate) type Reason = String;

type Filter = fn(&PodInfo, &NodeInfo) -> Vec<Reason>;

/// In this order; the first that objects speaks.
const ALL: &[Filter] = &[
    node_name::filter,
    unschedulable::filter,
    taints::filter,
    node_affinity::filter,
    host_ports::filter,
    resources::filter,
];

/// Why `pod` cannot run on `node`; nothing when it can.
pub(crate) fn objections(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    ALL.iter().map(|filter| filter(pod, node)).find(|reasons| !reasons.is_empty()).unwrap_or_default()
}
