//! CSINode: which drivers of volumes a node has.

use serde_json::Value;

use super::GROUP;
use crate::{Column, Field, FieldErrors, Kind, Strategy, names, tree};

pub static CSI_NODE: Kind = Kind {
    group: GROUP,
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    namespaced: false,
    definition: "io.k8s.api.storage.v1.CSINode",
    columns: &[
        Column::NAME,
        Column::new("Drivers", "How many drivers.", |object, _| {
            tree::items(object, "spec.drivers").len().into()
        })
        .integer(),
        Column::AGE,
    ],
    strategy: &Strategy {
        validate_create: validate,
        validate_update: |object, _| validate(object),
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const NODE_ID_BYTES_MAX: usize = 256;

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<&str> = Vec::new();
    for driver in Field::of(object, "spec").get("drivers").items() {
        let (name, node) = (driver.get("name"), driver.get("nodeID"));
        match name.text() {
            "" => errors.push(name.required("")),
            text if seen.contains(&text) => errors.push(name.duplicate()),
            text => errors.extend(names::subdomain(&text.to_lowercase()).map(|wrong| name.invalid(wrong))),
        }
        seen.push(name.text());
        if node.text().is_empty() {
            errors.push(node.required(""));
        } else if node.text().len() > NODE_ID_BYTES_MAX {
            errors.push(node.invalid(format!("must be {NODE_ID_BYTES_MAX} characters or less")));
        }
        errors.extend(driver.get("allocatable").get("count").not_negative());
    }
    errors
}
