//! What a Service keeps of what it was: addresses and ports that a client leaves out, and nothing that its new type has no
//! use for, unless the client said so.

use serde_json::Value;

use super::held::{is_external_name, needs_health_check_port, needs_node_ports};
use crate::tree;

const NODE_PORT: &str = "nodePort";
const HEALTH_PORT: &str = "spec.healthCheckNodePort";

pub(super) fn prepare(object: &mut Value, old: &Value) {
    drop_useless(object, old);
    if !is_external_name(object) && !is_external_name(old) {
        keep_addresses(object, old);
    }
    if needs_node_ports(object) && needs_node_ports(old) {
        keep_node_ports(object, old);
    }
    let health = tree::int(object, HEALTH_PORT).unwrap_or_default();
    if health == 0 && needs_health_check_port(object) && needs_health_check_port(old) {
        tree::copy(object, HEALTH_PORT, old);
    }
}

/// What nobody changed and the new type cannot have goes.
fn drop_useless(object: &mut Value, old: &Value) {
    let drop_same = |object: &mut Value, path: &str| {
        if tree::same(tree::get(object, path), tree::get(old, path)) {
            tree::remove(object, path);
        }
    };
    let is_balanced = |service: &Value| tree::text(service, "spec.type") == "LoadBalancer";
    let is_outside =
        |service: &Value| matches!(tree::text(service, "spec.type"), "LoadBalancer" | "NodePort");
    if is_external_name(object) && !is_external_name(old) {
        for path in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            drop_same(object, &format!("spec.{path}"));
        }
    }
    if is_outside(old) && !is_outside(object) {
        if node_ports(object) == node_ports(old) {
            for port in tree::items_mut(object, "spec.ports") {
                tree::remove(port, NODE_PORT);
            }
        }
        drop_same(object, "spec.externalTrafficPolicy");
    }
    if needs_health_check_port(old) && !needs_health_check_port(object) {
        drop_same(object, HEALTH_PORT);
    }
    if is_balanced(old) && !is_balanced(object) {
        drop_same(object, "spec.allocateLoadBalancerNodePorts");
        drop_same(object, "spec.loadBalancerClass");
    }
}

fn keep_addresses(object: &mut Value, old: &Value) {
    if tree::text(object, "spec.clusterIP").is_empty() {
        for path in ["spec.clusterIP", "spec.clusterIPs"] {
            tree::copy(object, path, old);
        }
    }
    // Who names the first address alone means the others, too, unless one family is enough from now on.
    let is_single = tree::text(object, "spec.ipFamilyPolicy") == "SingleStack";
    let first = |service: &Value| tree::items(service, "spec.clusterIPs").first().cloned();
    let is_first_alone = tree::items(object, "spec.clusterIPs").len() == 1
        && tree::items(object, "spec.ipFamilies").len() != 1
        && first(object) == first(old);
    if is_first_alone && !is_single {
        tree::copy(object, "spec.clusterIPs", old);
    }
    for path in ["spec.ipFamilies", "spec.ipFamilyPolicy"] {
        if tree::get(object, path).is_null() {
            tree::copy(object, path, old);
        }
    }
}

/// Ports are the same that have the same name.
fn keep_node_ports(object: &mut Value, old: &Value) {
    let (before, now) = (node_ports(old), node_ports(object));
    let mut used: Vec<i64> = before.into_iter().filter(|port| now.contains(port)).collect();
    for port in tree::items_mut(object, "spec.ports") {
        if tree::int(port, NODE_PORT).unwrap_or_default() != 0 {
            continue;
        }
        let mut olds = tree::items(old, "spec.ports").iter();
        let same = olds.find(|known| tree::text(known, "name") == tree::text(port, "name"));
        let number = same.and_then(|known| tree::int(known, NODE_PORT)).unwrap_or_default();
        if number != 0 && !used.contains(&number) {
            tree::set(port, NODE_PORT, number);
            used.push(number);
        }
    }
}

fn node_ports(service: &Value) -> Vec<i64> {
    let ports = tree::items(service, "spec.ports").iter();
    ports.filter_map(|port| tree::int(port, NODE_PORT)).filter(|port| *port != 0).collect()
}
