//! Of which families a Service's addresses are, and how many it has.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::held::{is_external_name, is_headless};
use crate::{FieldError, FieldErrors, tree};

pub const IPV4: &str = "IPv4";
pub const IPV6: &str = "IPv6";
const SINGLE: &str = "SingleStack";
const PREFERS_DUAL: &str = "PreferDualStack";
const REQUIRES_DUAL: &str = "RequireDualStack";

/// The family of an address.
pub fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

fn other(family: &str) -> &'static str {
    if family == IPV4 { IPV6 } else { IPV4 }
}

/// Fills in families and their policy, as far as the Service does not say them. `cluster` are the families that the
/// cluster has addresses of, the one that Services are given by default first.
pub fn settle_families(service: &mut Value, old: Option<&Value>, cluster: &[&str]) -> FieldErrors {
    if is_external_name(service) || old.is_some_and(|old| keeps_dual(service, old)) {
        return FieldErrors::new();
    }
    let bare = is_headless(service) && tree::map(service, "spec.selector").is_none_or(|map| map.is_empty());
    if policy(service).is_empty() {
        let before = old.map(policy).unwrap_or_default();
        let policy = match (before, bare) {
            ("", true) => REQUIRES_DUAL,
            ("", false) => SINGLE,
            (before, _) => before,
        };
        tree::set(service, "spec.ipFamilyPolicy", policy);
    }
    let mut errors = old.map(|old| shrink(service, old)).unwrap_or_default();
    errors.extend(check_single(service));
    errors.extend(infer(service, cluster));
    if !errors.is_empty() {
        return errors;
    }
    let wants_dual = policy(service) != SINGLE;
    if !bare {
        errors.extend(check_cluster(service, cluster));
        if !errors.is_empty() {
            return errors;
        }
    }
    let mut families = families(service);
    if families.is_empty() {
        families.extend(cluster.first().map(|first| (*first).to_owned()));
    }
    // Without a selector and an address, nothing of the cluster's own is needed for the other family.
    if wants_dual && families.len() == 1 && (bare || cluster.len() == 2) {
        families.push(other(&families[0]).to_owned());
    }
    tree::set(service, "spec.ipFamilies", json!(families));
    errors
}

fn policy(service: &Value) -> &str {
    tree::text(service, "spec.ipFamilyPolicy")
}

fn families(service: &Value) -> Vec<String> {
    let families = tree::items(service, "spec.ipFamilies").iter().filter_map(Value::as_str);
    families.map(str::to_owned).collect()
}

fn addresses(service: &Value) -> &[Value] {
    tree::items(service, "spec.clusterIPs")
}

/// A Service that prefers two families stays as it is when the cluster's families change.
fn keeps_dual(service: &Value, old: &Value) -> bool {
    let same = |path: &str| tree::same(tree::get(service, path), tree::get(old, path));
    policy(service) == PREFERS_DUAL
        && matches!(policy(old), "" | PREFERS_DUAL)
        && ["spec.type", "spec.clusterIPs", "spec.ipFamilies"].iter().all(|path| same(path))
}

/// One family is enough from now on, or must not be.
fn shrink(service: &mut Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (path, what) in [("spec.clusterIPs", "IP"), ("spec.ipFamilies", "IP family")] {
        let (now, before) = (tree::items(service, path).to_vec(), tree::items(old, path));
        if policy(service) == SINGLE {
            if now == before && now.len() > 1 {
                tree::set(service, path, json!([now[0]]));
            }
        } else if !now.is_empty() && now.len() < before.len() {
            let what = if what == "IP" { "cluster IP" } else { what };
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy(service), why));
        }
    }
    errors
}

fn check_single(service: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (path, what) in [("spec.clusterIPs", "cluster IPs"), ("spec.ipFamilies", "IP families")] {
        if policy(service) == SINGLE && tree::items(service, path).len() == 2 {
            let why =
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy(service), why));
        }
    }
    errors
}

/// Addresses that are given say their families.
fn infer(service: &mut Value, cluster: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut families = families(service);
    for (index, address) in addresses(service).iter().enumerate().skip(families.len()) {
        let Some(address) = address.as_str().and_then(|text| text.parse::<IpAddr>().ok()) else { break };
        let family = family_of(address);
        if cluster.contains(&family) {
            families.push(family.to_owned());
        } else {
            let why = format!("{family} is not configured on this cluster");
            let field = format!("spec.clusterIPs[{index}]");
            errors.push(FieldError::invalid(field, addresses(service).to_vec(), why));
        }
    }
    if !families.is_empty() {
        tree::set(service, "spec.ipFamilies", json!(families));
    }
    errors
}

fn check_cluster(service: &Value, cluster: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if policy(service) == REQUIRES_DUAL && cluster.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy(service), why));
    }
    for (index, family) in families(service).iter().enumerate() {
        if !cluster.contains(&family.as_str()) {
            let field = format!("spec.ipFamilies[{index}]");
            errors.push(FieldError::invalid(field, family.as_str(), "not configured on this cluster"));
        }
    }
    errors
}
