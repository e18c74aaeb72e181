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
        let address = spec.get("clusterIPs");
        if !address.list().is_empty() {
            errors.push(address.forbidden("may not be set for ExternalName services"));
        }
    }
    errors.extend(validate_ports(&ports));
    errors.extend(meta::validate_labels(&spec.get("selector")));
    errors.extend(spec.get("sessionAffinity").one_of(&["ClientIP", "None"]));
    errors.extend(spec.get("type").one_of(TYPES));
    errors.extend(validate_addresses(&spec));
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
    errors.extend(spec(object));
    errors
}
