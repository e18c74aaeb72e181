//! What services count for.

use serde_json::Value;

use super::Amounts;
use crate::core::service::needs_node_ports;
use crate::quantity::Quantity;
use crate::tree;

const ALL: &str = "services";
const BALANCED: &str = "services.loadbalancers";
const NODE_PORTS: &str = "services.nodeports";

pub(super) const NAMES: [&str; 3] = [ALL, BALANCED, NODE_PORTS];

pub(super) fn usage(service: &Value) -> Amounts {
    let is_balanced = tree::text(service, "spec.type") == "LoadBalancer";
    let ports = tree::items(service, "spec.ports").iter();
    // What is not given yet will be; of a balancer that wants none, only what it asked for.
    let node_ports = match needs_node_ports(service) {
        true => ports.count(),
        false if is_balanced => {
            ports.filter(|port| tree::int(port, "nodePort").unwrap_or_default() != 0).count()
        }
        false => 0,
    };
    let whole = |count: usize| Quantity::whole(i64::try_from(count).unwrap_or(i64::MAX));
    Amounts::from([
        (ALL.to_owned(), Quantity::whole(1)),
        (BALANCED.to_owned(), whole(usize::from(is_balanced))),
        (NODE_PORTS.to_owned(), whole(node_ports)),
    ])
}
