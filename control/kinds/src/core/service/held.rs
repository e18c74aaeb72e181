//! What a Service holds that no other may: cluster addresses, and ports of all nodes. It follows from the Service alone,
//! so what a write takes and gives back is the difference of two of these.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::tree;

/// Of one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub addresses: BTreeSet<IpAddr>,
    pub ports: BTreeSet<u16>,
}

impl Held {
    pub fn of(service: &Value) -> Self {
        let mut held = Self::default();
        if is_external_name(service) {
            return held;
        }
        let addresses = tree::items(service, "spec.clusterIPs").iter().filter_map(Value::as_str);
        held.addresses = addresses.filter_map(|address| address.parse().ok()).collect();
        let ports = tree::items(service, "spec.ports").iter().map(|port| tree::get(port, "nodePort"));
        let health = tree::get(service, "spec.healthCheckNodePort");
        let health = needs_health_check_port(service).then_some(health);
        held.ports = ports.chain(health).filter_map(port).collect();
        held
    }
}

/// Zero is none.
fn port(value: &Value) -> Option<u16> {
    u16::try_from(value.as_i64()?).ok().filter(|port| *port > 0)
}

pub(super) fn is_external_name(service: &Value) -> bool {
    tree::text(service, "spec.type") == "ExternalName"
}

/// Whether it wants no address, as its own name stands for all of its pods.
pub fn is_headless(service: &Value) -> bool {
    tree::text(service, "spec.clusterIP") == "None"
}

/// Whether its ports that name no port of the nodes are given one.
pub fn needs_node_ports(service: &Value) -> bool {
    match tree::text(service, "spec.type") {
        "NodePort" => true,
        "LoadBalancer" => tree::get(service, "spec.allocateLoadBalancerNodePorts").as_bool().unwrap_or(true),
        _ => false,
    }
}

/// Whether a load balancer asks the nodes which of them have pods.
pub fn needs_health_check_port(service: &Value) -> bool {
    tree::text(service, "spec.type") == "LoadBalancer"
        && tree::text(service, "spec.externalTrafficPolicy") == "Local"
}
