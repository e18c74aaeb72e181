//! ServiceCIDR: a range of addresses for services.

use serde_json::Value;

use super::GROUP;
use crate::cidr::{Cidr, NOT_A_CIDR};
use crate::{Column, Field, FieldErrors, Kind, Strategy, Subresource, tree};

pub static SERVICE_CIDR: Kind = Kind {
    group: GROUP,
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    namespaced: false,
    definition: "io.k8s.api.networking.v1.ServiceCIDR",
    subresources: &[Subresource::status(GROUP, "ServiceCIDR")],
    columns: &[
        Column::NAME,
        Column::new("CIDRs", "The ranges.", |object, _| {
            let ranges = tree::items(object, "spec.cidrs").iter().filter_map(Value::as_str);
            ranges.collect::<Vec<_>>().join(",").into()
        }),
        Column::AGE,
    ],
    strategy: &Strategy { validate_create: validate, validate_update, ..Strategy::PLAIN },
    ..Kind::PLAIN
};

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let ranges = Field::of(object, "spec").get("cidrs");
    match ranges.list().len() {
        0 => errors.push(ranges.required("at least one CIDR required")),
        1 | 2 => {}
        _ => errors.push(ranges.invalid("may only hold up to 2 values")),
    }
    for range in ranges.items() {
        if Cidr::parse(range.text()).is_none() {
            errors.push(range.invalid(NOT_A_CIDR));
        }
    }
    let families: Vec<bool> =
        ranges.items().filter_map(|range| Cidr::parse(range.text())).map(|cidr| cidr.is_v4()).collect();
    if let [first, second] = families[..]
        && first == second
    {
        errors.push(ranges.invalid(
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(Field::of(object, "spec").get("cidrs").immutable(tree::get(old, "spec.cidrs")));
    errors
}
