//! The answers of the plugin, in the shape of the caller's version.

use serde_json::{Value, json};

use super::config::VERSIONS;
use crate::network::{GATEWAY, PodLink};

pub(super) fn versions(asked: &str) -> String {
    json!({ "cniVersion": asked, "supportedVersions": VERSIONS }).to_string()
}

pub(super) fn added(version: &str, link: &PodLink) -> String {
    json!({
        "cniVersion": version,
        "interfaces": [
            { "name": link.node_name, "mac": PodLink::node_mac().to_string() },
            {
                "name": link.pod_name,
                "mac": link.pod_mac().to_string(),
                "sandbox": link.namespace.to_string_lossy(),
            },
        ],
        "ips": [address(version, &format!("{}/32", link.address), 1, Some(&GATEWAY.to_string()))],
        "routes": [{ "dst": "0.0.0.0/0", "gw": GATEWAY }],
        "dns": {},
    })
    .to_string()
}

pub(super) fn loopback(version: &str, namespace: &str, previous: Option<Value>) -> String {
    let own = || {
        json!({
            "cniVersion": version,
            "interfaces": [{ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": namespace }],
            "ips": [address(version, "127.0.0.1/8", 0, None)],
            "dns": {},
        })
    };
    previous.unwrap_or_else(own).to_string()
}

/// Before 1.0.0 an address says its family.
fn address(version: &str, address: &str, interface: u32, gateway: Option<&str>) -> Value {
    let mut entry = json!({ "interface": interface, "address": address });
    if let Some(gateway) = gateway {
        entry["gateway"] = gateway.into();
    }
    if version.starts_with("0.") {
        entry["version"] = "4".into();
    }
    entry
}
