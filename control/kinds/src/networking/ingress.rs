//! Ingress: which service answers for a host and a path.

use serde_json::Value;

use super::GROUP;
use crate::columns::none_if_empty;
use crate::{Column, Field, FieldErrors, Generation, Kind, Strategy, Subresource, names, tree};

pub static INGRESS: Kind = Kind {
    group: GROUP,
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    definition: "io.k8s.api.networking.v1.Ingress",
    subresources: &[Subresource::status(GROUP, "Ingress")],
    columns: &[
        Column::NAME,
        Column::new("Class", "Who serves it.", |object, _| none_if_empty(class(object).to_owned()).into()),
        Column::new("Hosts", "Hosts of its rules.", |object, _| hosts(object).into()),
        Column::new("Address", "Where it is served.", |object, _| addresses(object).into()),
        Column::new("Ports", "Ports that it listens on.", |object, _| {
            if tree::items(object, "spec.tls").is_empty() { "80".into() } else { "80, 443".into() }
        }),
        Column::AGE,
    ],
    strategy: &Strategy {
        validate_create: validate,
        validate_update: |object, _| validate(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const SHOWN_HOSTS_MAX: usize = 3;

fn class(object: &Value) -> &str {
    match tree::text(object, "spec.ingressClassName") {
        "" => crate::meta::annotation(object, CLASS_ANNOTATION).unwrap_or_default(),
        name => name,
    }
}

fn hosts(object: &Value) -> String {
    let mut hosts = Vec::new();
    for rule in tree::items(object, "spec.rules") {
        if hosts.len() == SHOWN_HOSTS_MAX {
            let more = tree::items(object, "spec.rules").len() - SHOWN_HOSTS_MAX;
            return format!("{} + {more} more...", hosts.join(","));
        }
        hosts.extend(Some(tree::text(rule, "host")).filter(|host| !host.is_empty()));
    }
    if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") }
}

fn addresses(object: &Value) -> String {
    let address = |ingress: &'_ Value| match tree::text(ingress, "ip") {
        "" => tree::text(ingress, "hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let all: Vec<String> = tree::items(object, "status.loadBalancer.ingress").iter().map(address).collect();
    all.join(",")
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let (backend, rules) = (spec.get("defaultBackend"), spec.get("rules"));
    if !backend.is_set() && rules.list().is_empty() {
        errors.push(spec.invalid("either `defaultBackend` or `rules` must be specified"));
    }
    if backend.is_set() {
        errors.extend(validate_backend(&backend));
    }
    for rule in rules.items() {
        errors.extend(validate_host(&rule.get("host")));
        errors.extend(validate_paths(&rule.get("http")));
    }
    for tls in spec.get("tls").items() {
        for host in tls.get("hosts").items() {
            errors.extend(validate_host(&host));
        }
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        errors.extend(names::subdomain(class.text()).map(|wrong| class.invalid(wrong)));
    }
    errors
}

fn validate_host(host: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if host.text().is_empty() {
        return errors;
    }
    if host.text().parse::<std::net::IpAddr>().is_ok() {
        errors.push(host.invalid("must be a DNS name, not an IP address"));
        return errors;
    }
    let wrong = match host.text().starts_with('*') {
        true => names::wildcard_subdomain(host.text()),
        false => names::subdomain(host.text()),
    };
    errors.extend(wrong.map(|wrong| host.invalid(wrong)));
    errors
}

fn validate_paths(http: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if !http.is_set() {
        return errors;
    }
    let paths = http.get("paths");
    if paths.list().is_empty() {
        errors.push(paths.required(""));
    }
    for entry in paths.items() {
        errors.extend(validate_path(&entry));
        errors.extend(validate_backend(&entry.get("backend")));
    }
    errors
}

fn validate_path(entry: &Field<'_>) -> FieldErrors {
    const TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
    let mut errors = FieldErrors::new();
    let (path, kind) = (entry.get("path"), entry.get("pathType"));
    match kind.text() {
        "" => errors.push(kind.required("pathType must be specified")),
        "Exact" | "Prefix" => {
            if !path.text().starts_with('/') {
                errors.push(path.invalid("must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| path.text().contains(*part))
            {
                errors.push(path.invalid(format!("must not contain '{part}'")));
            }
            for end in ["/..", "/."].iter().filter(|end| path.text().ends_with(*end)) {
                errors.push(path.invalid(format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            if !path.text().is_empty() && !path.text().starts_with('/') {
                errors.push(path.invalid("must be an absolute path"));
            }
        }
        _ => errors.push(kind.not_supported(TYPES)),
    }
    errors
}

fn validate_backend(backend: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (service, resource) = (backend.get("service"), backend.get("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => errors.push(backend.invalid("cannot set both resource and service backends")),
        (false, false) => errors.push(backend.required("resource or service backend is required")),
        (false, true) => {}
        (true, false) => errors.extend(validate_service(&service)),
    }
    errors
}

fn validate_service(service: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (name, port) = (service.get("name"), service.get("port"));
    match name.text() {
        "" => errors.push(name.required("")),
        text => errors.extend(names::label_1035(text).map(|wrong| name.invalid(wrong))),
    }
    let (port_name, number) = (port.get("name"), port.get("number"));
    match (port_name.text().is_empty(), number.int().unwrap_or_default()) {
        (false, 0) => {
            errors
                .extend(names::port_name(port_name.text()).into_iter().map(|wrong| port_name.invalid(wrong)));
        }
        (false, _) => errors.push(port.invalid("cannot set both port name & port number")),
        (true, 0) => errors.push(port.required("port name or number is required")),
        (true, port) => errors.extend(names::port_number(port).map(|wrong| number.invalid(wrong))),
    }
    errors
}
