//! What a service's spec must be.

use serde_json::Value;

use crate::{Field, FieldError, FieldErrors, meta, names, tree};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const BAD_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) fn spec(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    let ports = spec.get("ports");
    let external_name = spec.get("type").text() == "ExternalName";
    let headless = spec.get("clusterIP").text() == "None";
    if ports.list().is_empty() && !headless && !external_name {
        errors.push(ports.required(""));
    }
    if external_name {
        let name = spec.get("externalName");
        match name.text() {
            "" => errors.push(name.required("")),
            text => {
                errors.extend(names::subdomain(text.trim_end_matches('.')).map(|wrong| name.invalid(wrong)))
            }
        }
        for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let field = spec.get(field);
            if field.is_set() && !(field.value.is_array() && field.list().is_empty()) {
                errors.push(field.forbidden("may not be set for ExternalName services"));
            }
        }
    }
    let kind = spec.get("type").text().to_owned();
    if headless && matches!(kind.as_str(), "LoadBalancer" | "NodePort") {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", why));
    }
    errors.extend(validate_ports(&ports));
    errors.extend(meta::validate_labels(&spec.get("selector")));
    errors.extend(spec.get("sessionAffinity").one_of(&["ClientIP", "None"]));
    errors.extend(spec.get("type").one_of(TYPES));
    errors.extend(validate_addresses(&spec));
    errors.extend(validate_families(&spec));
    errors.extend(validate_node_ports(&spec));
    let timeout = spec.get("sessionAffinityConfig").get("clientIP").get("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=86_400).contains(&seconds)) {
        errors.push(timeout.invalid("must be greater than 0 and less than 86400"));
    }
    for (field, needed) in [("externalTrafficPolicy", false), ("internalTrafficPolicy", false)] {
        let policy = spec.get(field);
        if policy.is_set() || needed {
            errors.extend(policy.one_of(&["Cluster", "Local"]));
        }
    }
    errors
}

fn validate_addresses(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let single = spec.get("clusterIP");
    for (index, address) in spec.get("clusterIPs").items().enumerate() {
        let text = address.text();
        if text == "None" {
            continue;
        }
        if text.parse::<std::net::IpAddr>().is_err() {
            errors.push(address.invalid(BAD_ADDRESS));
        }
        if index == 0 && text != single.text() {
            errors.push(FieldError::invalid(
                "spec.clusterIPs",
                spec.get("clusterIPs").value.clone(),
                "first value must match `clusterIP`",
            ));
        }
    }
    for address in spec.get("externalIPs").items() {
        if address.text().parse::<std::net::IpAddr>().is_err() {
            errors.push(address.invalid(BAD_ADDRESS));
        }
    }
    errors
}

fn validate_families(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let families = spec.get("ipFamilies");
    let mut seen = Vec::new();
    for family in families.items() {
        errors.extend(family.one_of(&["IPv4", "IPv6"]));
        if seen.contains(&family.text().to_owned()) {
            errors.push(family.duplicate());
        }
        seen.push(family.text().to_owned());
    }
    let policy = spec.get("ipFamilyPolicy");
    if policy.is_set() {
        errors.extend(policy.one_of(&["PreferDualStack", "RequireDualStack", "SingleStack"]));
    }
    let addresses = spec.get("clusterIPs");
    let parsed: Vec<std::net::IpAddr> =
        addresses.items().filter_map(|address| address.text().parse().ok()).collect();
    if addresses.list().len() > 2 {
        errors.push(addresses.invalid("may only hold up to 2 values"));
    } else if let [first, second] = parsed[..]
        && first.is_ipv4() == second.is_ipv4()
    {
        errors.push(addresses.invalid("may specify no more than one IP for each IP family"));
    }
    for (index, (address, family)) in parsed.iter().zip(&seen).enumerate() {
        if super::family_of(*address) != family {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), address.to_string(), why));
        }
    }
    errors
}

/// Ports of the nodes are for types that have them, each of a protocol once.
fn validate_node_ports(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let is_inside = spec.get("type").text() == "ClusterIP";
    let mut seen: Vec<(i64, String)> = Vec::new();
    for port in spec.get("ports").items() {
        let node_port = port.get("nodePort");
        let number = node_port.int().unwrap_or_default();
        if number == 0 {
            continue;
        }
        if is_inside {
            errors.push(node_port.forbidden("may not be used when `type` is 'ClusterIP'"));
        }
        let key = (number, port.get("protocol").text().to_owned());
        if seen.contains(&key) {
            errors.push(node_port.duplicate());
        }
        seen.push(key);
    }
    let health = spec.get("healthCheckNodePort");
    let has_health =
        spec.get("type").text() == "LoadBalancer" && spec.get("externalTrafficPolicy").text() == "Local";
    if health.int().unwrap_or_default() != 0 && !has_health {
        errors.push(
            health.invalid(
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ),
        );
    }
    errors
}

fn validate_ports(ports: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let named = ports.list().len() > 1;
    let mut names_seen: Vec<&str> = Vec::new();
    let mut numbers_seen: Vec<(Option<i64>, &str)> = Vec::new();
    for port in ports.items() {
        let (name, number, protocol) = (port.get("name"), port.get("port"), port.get("protocol"));
        match name.text() {
            "" if named => errors.push(name.required("")),
            "" => {}
            text => {
                errors.extend(names::label(text).map(|wrong| name.invalid(wrong)));
                if names_seen.contains(&text) {
                    errors.push(name.duplicate());
                }
                names_seen.push(text);
            }
        }
        let value = number.int().unwrap_or_default();
        errors.extend(names::port_number(value).map(|wrong| FieldError::invalid(&number.path, value, wrong)));
        errors.extend(protocol.one_of(&["SCTP", "TCP", "UDP"]));
        errors.extend(target_port(&port.get("targetPort")));
        let key = (number.int(), protocol.text());
        if numbers_seen.contains(&key) {
            let twice = serde_json::json!({"protocol": key.1, "port": key.0});
            errors.push(FieldError::duplicate(&port.path, twice));
        }
        numbers_seen.push(key);
    }
    errors
}

/// A port given by number or by the name of a container's port.
pub(in crate::core) fn target_port(port: &Field<'_>) -> Vec<FieldError> {
    match port.value {
        Value::String(name) => names::port_name(name).into_iter().map(|wrong| port.invalid(wrong)).collect(),
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            names::port_number(number).map(|wrong| port.invalid(wrong)).into_iter().collect()
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Vec::new(),
    }
}

/// The first cluster address stays, unless the service turns from or into an ExternalName.
pub(super) fn update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let is_name = |service: &Value| tree::text(service, "spec.type") == "ExternalName";
    let before = tree::text(old, "spec.clusterIP");
    if !is_name(object)
        && !is_name(old)
        && !before.is_empty()
        && tree::text(object, "spec.clusterIP") != before
    {
        let addresses = tree::get(object, "spec.clusterIPs").clone();
        errors.push(FieldError::invalid("spec.clusterIPs[0]", addresses, "may not change once set"));
    }
    let health = Field::of(object, "spec").get("healthCheckNodePort");
    let before = tree::get(old, "spec.healthCheckNodePort");
    let is_balanced = super::needs_health_check_port(object) && super::needs_health_check_port(old);
    if is_balanced && !before.is_null() && health.value != before {
        errors.push(health.invalid("field is immutable"));
    }
    errors.extend(spec(object));
    errors
}
