//! What a pod's spec must be.

use serde_json::Value;

use super::{containers, ephemeral, scheduling, volumes};
use crate::{Field, FieldError, FieldErrors, meta, names};

const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
type Rule = fn(&str) -> Option<String>;

const DEADLINE_RANGE: &str = "must be between 1 and 2147483647, inclusive";

pub(super) fn pod(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = validate_spec(&spec);
    errors.extend(no_ephemeral(&spec, "cannot be set on create"));
    errors
}

fn no_ephemeral(spec: &Field<'_>, why: &str) -> Option<FieldError> {
    let ephemeral = spec.get("ephemeralContainers");
    (!ephemeral.list().is_empty()).then(|| ephemeral.forbidden(why))
}

/// A pod template, whoever makes pods of it.
pub(crate) fn validate_template(template: &Field<'_>) -> FieldErrors {
    let metadata = template.get("metadata");
    let mut errors = meta::validate_labels(&metadata.get("labels"));
    errors.extend(meta::validate_annotations(&metadata.get("annotations")));
    let spec = template.get("spec");
    errors.extend(validate_spec(&spec));
    errors.extend(no_ephemeral(&spec, "ephemeral containers not allowed in pod template"));
    errors
}

/// The spec of a pod or of a template.
pub(crate) fn validate_spec(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let volumes = spec.get("volumes");
    errors.extend(volumes::validate(&volumes));
    let names = volumes::names(&volumes);
    errors.extend(containers::validate(spec, &names));
    errors.extend(ephemeral::validate(spec, &names));
    errors.extend(spec.get("restartPolicy").one_of(&["Always", "OnFailure", "Never"]));
    errors.extend(spec.get("dnsPolicy").one_of(DNS_POLICIES));
    errors.extend(meta::validate_labels(&spec.get("nodeSelector")));
    errors.extend(security_context(&spec.get("securityContext"), spec.get("hostNetwork").flag()));
    for secret in spec.get("imagePullSecrets").items() {
        if secret.get("name").text().is_empty() {
            errors.push(secret.get("name").required(""));
        }
    }
    errors.extend(scheduling::validate(spec));
    errors.extend(identifiers(spec));
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.int().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        errors.push(deadline.invalid(DEADLINE_RANGE));
    }
    errors.extend(dns(spec));
    for alias in spec.get("hostAliases").items() {
        let ip = alias.get("ip");
        if ip.text().parse::<std::net::IpAddr>().is_err() {
            errors.push(ip.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
        }
        for host in alias.get("hostnames").items() {
            errors.extend(names::subdomain(host.text()).map(|wrong| host.invalid(wrong)));
        }
    }
    errors
}

/// Names of other things, each by its rule.
fn identifiers(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let rules: [(&str, Rule); 6] = [
        ("serviceAccountName", names::subdomain),
        ("nodeName", names::subdomain),
        ("hostname", names::label),
        ("subdomain", names::label),
        ("priorityClassName", names::subdomain),
        ("runtimeClassName", names::subdomain),
    ];
    for (name, rule) in rules {
        let field = spec.get(name);
        if !field.text().is_empty() {
            errors.extend(rule(field.text()).map(|wrong| field.invalid(wrong)));
        }
    }
    errors
}

fn security_context(context: &Field<'_>, host_network: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        let id = context.get(name);
        if id.int().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
            errors.push(id.invalid("must be between 0 and 2147483647, inclusive"));
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for setting in context.get("sysctls").items() {
        let name = setting.get("name");
        match name.text() {
            "" => errors.push(name.required("")),
            text if seen.contains(&text) => errors.push(name.duplicate()),
            text if host_network && text.starts_with("net.") => {
                errors.push(name.invalid("may not be specified when 'hostNetwork' is set to true"));
            }
            _ => {}
        }
        seen.push(name.text());
    }
    errors
}

fn dns(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let config = spec.get("dnsConfig");
    let servers = config.get("nameservers");
    if spec.get("dnsPolicy").text() == "None" && servers.list().is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        let at = if config.is_set() { servers.clone() } else { config.clone() };
        errors.push(at.required(detail));
    }
    if servers.list().len() > 3 {
        errors.push(servers.invalid("must not have more than 3 nameservers"));
    }
    for server in servers.items() {
        if server.text().parse::<std::net::IpAddr>().is_err() {
            errors.push(server.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
        }
    }
    for option in config.get("options").items() {
        if option.get("name").text().is_empty() {
            errors.push(option.required("must not be empty"));
        }
    }
    errors
}
