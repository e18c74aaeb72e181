//! NetworkPolicy: who may speak with a pod.

use serde_json::{Value, json};

use super::GROUP;
use crate::apps::validate_selector;
use crate::cidr::{Cidr, NOT_A_CIDR};
use crate::kind::selector_cell;
use crate::{Column, Field, FieldErrors, Generation, Kind, Strategy, names, tree};

pub static NETWORK_POLICY: Kind = Kind {
    group: GROUP,
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    definition: "io.k8s.api.networking.v1.NetworkPolicy",
    columns: &[
        Column::NAME,
        Column::new("Pod-Selector", "Of which pods.", |object, _| {
            selector_cell(tree::get(object, "spec.podSelector"))
        }),
        Column::AGE,
    ],
    strategy: &Strategy {
        defaults,
        validate_create: validate,
        validate_update: |object, _| validate(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

fn defaults(object: &mut Value) {
    for direction in ["spec.ingress", "spec.egress"] {
        for rule in tree::items_mut(object, direction) {
            for port in tree::items_mut(rule, "ports") {
                tree::set_default_text(port, "protocol", "TCP");
            }
        }
    }
    if tree::items(object, "spec.policyTypes").is_empty() {
        let types = match tree::items(object, "spec.egress").is_empty() {
            true => json!(["Ingress"]),
            false => json!(["Ingress", "Egress"]),
        };
        tree::set(object, "spec.policyTypes", types);
    }
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = validate_selector(&spec.get("podSelector"));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(direction).items() {
            for port in rule.get("ports").items() {
                errors.extend(validate_port(&port));
            }
            for peer in rule.get(peers).items() {
                errors.extend(validate_peer(&peer));
            }
        }
    }
    let types = spec.get("policyTypes");
    if types.list().len() > 2 {
        errors.push(types.invalid("may not specify more than two policyTypes"));
        return errors;
    }
    for kind in types.items() {
        errors.extend(kind.one_of(&["Egress", "Ingress"]));
    }
    errors
}

fn validate_port(port: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (protocol, number, end) = (port.get("protocol"), port.get("port"), port.get("endPort"));
    if protocol.is_set() {
        errors.extend(protocol.one_of(&["SCTP", "TCP", "UDP"]));
    }
    match number.value {
        Value::Number(_) => {
            let first = number.int().unwrap_or_default();
            errors.extend(names::port_number(first).map(|wrong| number.invalid(wrong)));
            if let Some(last) = end.int() {
                if last < first {
                    errors.push(end.invalid("must be greater than or equal to `port`"));
                }
                errors.extend(names::port_number(last).map(|wrong| end.invalid(wrong)));
            }
        }
        Value::String(name) => {
            if end.is_set() {
                errors.push(end.invalid("may not be specified when `port` is non-numeric"));
            }
            errors.extend(names::port_name(name).into_iter().map(|wrong| number.invalid(wrong)));
        }
        _ if end.is_set() => errors.push(end.invalid("may not be specified when `port` is not specified")),
        _ => {}
    }
    errors
}

fn validate_peer(peer: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (pods, namespaces, block) =
        (peer.get("podSelector"), peer.get("namespaceSelector"), peer.get("ipBlock"));
    if !pods.is_set() && !namespaces.is_set() && !block.is_set() {
        errors.push(peer.required("must specify a peer"));
    }
    if block.is_set() && (pods.is_set() || namespaces.is_set()) {
        errors.push(peer.forbidden("may not specify both ipBlock and another peer"));
    }
    for selector in [&pods, &namespaces] {
        errors.extend(validate_selector(selector));
    }
    if block.is_set() {
        errors.extend(validate_block(&block));
    }
    errors
}

fn validate_block(block: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let cidr = block.get("cidr");
    let Some(whole) = Cidr::parse(cidr.text()) else {
        errors.push(match cidr.text() {
            "" => cidr.required(""),
            _ => cidr.invalid(NOT_A_CIDR),
        });
        return errors;
    };
    for except in block.get("except").items() {
        match Cidr::parse(except.text()) {
            None => errors.push(except.invalid(NOT_A_CIDR)),
            Some(part) if !whole.strictly_holds(part) => {
                errors.push(except.invalid("must be a strict subset of `cidr`"));
            }
            Some(_) => {}
        }
    }
    errors
}
