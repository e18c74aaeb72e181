//! Endpoints: the old form of EndpointSlice, one object per service.

use serde_json::Value;

use crate::{Column, Field, FieldErrors, Generation, Kind, NameRule, Strategy, Verb, names, tree};

pub static ENDPOINTS: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    namespaced: true,
    definition: "io.k8s.api.core.v1.Endpoints",
    verbs: Verb::ALL,
    subresources: &[],
    columns: &[
        Column::NAME,
        Column::new("Endpoints", "Addresses with ports.", |object, _| addresses(object).into()),
        Column::AGE,
    ],
    selectable: &[],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy {
        defaults,
        validate_create: validate,
        validate_update: |object, _| validate(object),
        create_on_update: true,
        generation: Generation::None,
        ..Strategy::PLAIN
    },
};

const SHOWN_MAX: usize = 3;

fn addresses(object: &Value) -> String {
    let mut texts: Vec<String> = Vec::new();
    for subset in tree::items(object, "subsets") {
        let ports = tree::items(subset, "ports");
        for address in tree::items(subset, "addresses") {
            let ip = tree::text(address, "ip");
            match ports {
                [] => texts.push(ip.to_owned()),
                ports => texts.extend(
                    ports.iter().map(|port| format!("{ip}:{}", tree::int(port, "port").unwrap_or_default())),
                ),
            }
        }
    }
    let shown = texts.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(",");
    match texts.len() {
        0 => "<none>".to_owned(),
        count if count > SHOWN_MAX => format!("{shown} + {} more...", count - SHOWN_MAX),
        _ => shown,
    }
}

fn defaults(object: &mut Value) {
    for subset in tree::items_mut(object, "subsets") {
        for port in tree::items_mut(subset, "ports") {
            tree::set_default(port, "protocol", "TCP");
        }
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for subset in Field::of(object, "subsets").items() {
        if subset.get("addresses").list().is_empty() && subset.get("notReadyAddresses").list().is_empty() {
            errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for address in
            ["addresses", "notReadyAddresses"].into_iter().flat_map(|list| subset.get(list).items())
        {
            let ip = address.get("ip");
            if ip.text().parse::<std::net::IpAddr>().is_err() {
                errors.push(ip.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
            }
        }
        for port in subset.get("ports").items() {
            let number = port.get("port");
            errors.extend(
                names::port_number(number.int().unwrap_or_default()).map(|wrong| number.invalid(wrong)),
            );
        }
    }
    errors
}
