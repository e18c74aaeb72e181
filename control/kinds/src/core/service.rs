//! Service: one address for many pods. The apiserver gives it its addresses.

use serde_json::{Value, json};

use crate::columns::{labels_text, none_if_empty};
use crate::kind::selectable;
use crate::{Allocation, Column, Kind, NameRule, Proxied, Strategy, Subresource, Verb, tree};

mod families;
mod held;
mod update;
mod validate;

pub use families::{IPV4, IPV6, family_of, settle_families};
pub use held::{Held, is_headless, needs_health_check_port, needs_node_ports};
pub(super) use validate::target_port;

pub static SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    namespaced: true,
    definition: "io.k8s.api.core.v1.Service",
    verbs: Verb::ALL,
    subresources: &[
        Subresource::proxy("ServiceProxyOptions", Proxied::Service),
        Subresource::status("", "Service"),
    ],
    columns: &[
        Column::NAME,
        Column::new("Type", "How it is exposed.", |object, _| tree::text(object, "spec.type").into()),
        Column::new("Cluster-IP", "Address inside the cluster.", |object, _| cluster_ip(object).into()),
        Column::new("External-IP", "Addresses outside the cluster.", |object, _| external_ip(object).into()),
        Column::new("Port(s)", "Ports, node ports and protocols.", |object, _| ports(object).into()),
        Column::AGE,
        Column::new("Selector", "Which pods.", |object, _| {
            labels_text(tree::map(object, "spec.selector")).into()
        })
        .wide(),
    ],
    selectable: selectable!["spec.clusterIP", "spec.type"],
    name_rule: NameRule::Label1035,
    custom: None,
    conversion: None,
    strategy: &Strategy {
        defaults,
        prepare_create: |object| tree::set(object, "status", json!({"loadBalancer": {}})),
        prepare_update: update::prepare,
        validate_create: validate::spec,
        validate_update: validate::update,
        allocation: Some(Allocation::ServiceAddresses),
        create_on_update: true,
        ..Strategy::PLAIN
    },
};

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "spec.sessionAffinity", "None");
    if tree::text(object, "spec.sessionAffinity") == "ClientIP" {
        tree::set_default(object, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 10_800);
    } else {
        tree::remove(object, "spec.sessionAffinityConfig");
    }
    tree::set_default_text(object, "spec.type", "ClusterIP");
    let kind = tree::text(object, "spec.type").to_owned();
    for port in tree::items_mut(object, "spec.ports") {
        tree::set_default_text(port, "protocol", "TCP");
        let target = tree::get(port, "targetPort");
        if target.is_null() || target == 0 || target == "" {
            let number = tree::get(port, "port").clone();
            tree::set(port, "targetPort", number);
        }
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        tree::set_default_text(object, "spec.externalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        tree::set_default_text(object, "spec.internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        tree::set_default(object, "spec.allocateLoadBalancerNodePorts", true);
    }
    align_cluster_ips(object);
}

/// `clusterIP` and `clusterIPs[0]` are one value; either may be given.
fn align_cluster_ips(object: &mut Value) {
    let single = tree::text(object, "spec.clusterIP").to_owned();
    let first =
        tree::items(object, "spec.clusterIPs").first().and_then(Value::as_str).unwrap_or_default().to_owned();
    if single.is_empty() && !first.is_empty() {
        tree::set(object, "spec.clusterIP", first);
    } else if !single.is_empty() && first.is_empty() {
        tree::set(object, "spec.clusterIPs", json!([single]));
    }
}

fn cluster_ip(object: &Value) -> String {
    none_if_empty(tree::text(object, "spec.clusterIP").to_owned())
}

fn external_ip(object: &Value) -> String {
    let listed: Vec<&str> =
        tree::items(object, "spec.externalIPs").iter().filter_map(Value::as_str).collect();
    match tree::text(object, "spec.type") {
        "ExternalName" => tree::text(object, "spec.externalName").to_owned(),
        "LoadBalancer" => {
            let mut given: Vec<&str> = tree::items(object, "status.loadBalancer.ingress")
                .iter()
                .map(|ingress| match tree::text(ingress, "ip") {
                    "" => tree::text(ingress, "hostname"),
                    ip => ip,
                })
                .collect();
            given.extend(listed);
            if given.is_empty() { "<pending>".to_owned() } else { given.join(",") }
        }
        _ => none_if_empty(listed.join(",")),
    }
}

fn ports(object: &Value) -> String {
    let text = |port: &Value| {
        let number = tree::int(port, "port").unwrap_or_default();
        let protocol = tree::text(port, "protocol");
        match tree::int(port, "nodePort").unwrap_or_default() {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    none_if_empty(tree::items(object, "spec.ports").iter().map(text).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests;
