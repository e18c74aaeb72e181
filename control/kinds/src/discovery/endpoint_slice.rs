//! EndpointSlice: addresses and ports behind a service.

use serde_json::Value;

use crate::columns::none_if_empty;
use crate::{Column, Field, FieldErrors, Generation, Kind, NameRule, Strategy, Verb, names, tree};

pub static ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    namespaced: true,
    definition: "io.k8s.api.discovery.v1.EndpointSlice",
    verbs: Verb::ALL,
    subresources: &[],
    columns: &[
        Column::NAME,
        Column::new("AddressType", "IPv4, IPv6 or FQDN.", |object, _| {
            tree::text(object, "addressType").into()
        }),
        Column::new("Ports", "Port numbers.", |object, _| ports(object).into()),
        Column::new("Endpoints", "Addresses.", |object, _| endpoints(object).into()),
        Column::AGE,
    ],
    selectable: &[],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy {
        defaults,
        validate_create: validate,
        validate_update,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
};

const SHOWN_MAX: usize = 3;
const ADDRESSES_MAX: usize = 100;

fn ports(object: &Value) -> String {
    let ports = tree::items(object, "ports");
    if ports.is_empty() {
        return "<unset>".to_owned();
    }
    let text = |port: &Value| match tree::int(port, "port") {
        Some(number) => number.to_string(),
        None => "*".to_owned(),
    };
    shortened(&ports.iter().map(text).collect::<Vec<_>>())
}

fn endpoints(object: &Value) -> String {
    let addresses: Vec<String> = tree::items(object, "endpoints")
        .iter()
        .flat_map(|endpoint| tree::items(endpoint, "addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if addresses.is_empty() { "<unset>".to_owned() } else { shortened(&addresses) }
}

fn shortened(texts: &[String]) -> String {
    let shown = texts.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(",");
    match texts.len().saturating_sub(SHOWN_MAX) {
        0 => none_if_empty(shown),
        more => format!("{shown} + {more} more..."),
    }
}

fn defaults(object: &mut Value) {
    for port in tree::items_mut(object, "ports") {
        tree::set_default(port, "name", "");
        tree::set_default(port, "protocol", "TCP");
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(Field::of(object, "addressType").one_of(&["FQDN", "IPv4", "IPv6"]));
    for endpoint in Field::of(object, "endpoints").items() {
        let addresses = endpoint.get("addresses");
        match addresses.list().len() {
            0 => errors.push(addresses.required("must contain at least 1 address")),
            1..=ADDRESSES_MAX => {}
            _ => errors.push(addresses.invalid(format!("must have at most {ADDRESSES_MAX} items"))),
        }
        let host = endpoint.get("hostname");
        if host.is_set() {
            errors.extend(names::label(host.text()).map(|wrong| host.invalid(wrong)));
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for port in Field::of(object, "ports").items() {
        let name = port.get("name");
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
        if !name.text().is_empty() {
            errors.extend(names::label(name.text()).map(|wrong| name.invalid(wrong)));
        }
        errors.extend(port.get("protocol").one_of(&["SCTP", "TCP", "UDP"]));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    errors.extend(Field::of(object, "addressType").immutable(tree::get(old, "addressType")));
    errors
}
