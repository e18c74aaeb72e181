//! Lease: who holds something, since when and for how long. Elections and heartbeats are made of it.

use serde_json::Value;

use crate::{Column, Field, FieldErrors, Kind, NameRule, Strategy, Verb, tree};

pub static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    definition: "io.k8s.api.coordination.v1.Lease",
    verbs: Verb::ALL,
    subresources: &[],
    columns: &[
        Column::NAME,
        Column::new("Holder", "Who holds the lease.", |object, _| {
            tree::text(object, "spec.holderIdentity").into()
        }),
        Column::AGE,
    ],
    selectable: &[],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy {
        validate_create: validate,
        validate_update: |object, _| validate(object),
        create_on_update: true,
        unconditional_update: false,
        ..Strategy::PLAIN
    },
};

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    let seconds = spec.get("leaseDurationSeconds");
    if seconds.int().is_some_and(|seconds| seconds <= 0) {
        errors.push(seconds.invalid("must be greater than 0"));
    }
    errors.extend(spec.get("leaseTransitions").not_negative());
    errors
}
