//! IPAddress: that an address is taken, and by what.

use serde_json::Value;

use super::GROUP;
use crate::{Column, Field, FieldErrors, Kind, Strategy, meta, tree};

pub static IP_ADDRESS: Kind = Kind {
    group: GROUP,
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    namespaced: false,
    definition: "io.k8s.api.networking.v1.IPAddress",
    columns: &[
        Column::NAME,
        Column::new("ParentRef", "Whose it is.", |object, _| parent(object).into()),
        Column::AGE,
    ],
    strategy: &Strategy { validate_create: validate, validate_update, ..Strategy::PLAIN },
    ..Kind::PLAIN
};

fn parent(object: &Value) -> String {
    let parent = tree::get(object, "spec.parentRef");
    let of = |name| tree::text(parent, name);
    let resource = match of("group") {
        "" => of("resource").to_owned(),
        group => format!("{}.{group}", of("resource")),
    };
    match of("namespace") {
        "" => format!("{resource}/{}", of("name")),
        namespace => format!("{resource}/{namespace}/{}", of("name")),
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let name = Field { value: tree::get(object, "metadata.name"), path: "metadata.name".to_owned() };
    let canonical =
        meta::name(object).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_string() == name.text());
    if !canonical {
        errors.push(
            name.invalid("must be a valid IP address in canonical form, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        );
    }
    let parent = Field::of(object, "spec").get("parentRef");
    if !parent.is_set() {
        errors.push(parent.required(""));
        return errors;
    }
    for part in ["resource", "name"] {
        if parent.get(part).text().is_empty() {
            errors.push(parent.get(part).required(""));
        }
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let parent = Field::of(object, "spec").get("parentRef");
    errors.extend(parent.immutable(tree::get(old, "spec.parentRef")));
    errors
}
