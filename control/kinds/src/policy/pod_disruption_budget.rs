//! PodDisruptionBudget: how many pods of an application may be taken away at once.

use serde_json::Value;

use crate::apps::validate_selector;
use crate::{Column, Field, FieldErrors, Generation, Kind, Strategy, Subresource, int_or_percent, tree};

pub static POD_DISRUPTION_BUDGET: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    definition: "io.k8s.api.policy.v1.PodDisruptionBudget",
    subresources: &[Subresource::status("policy", "PodDisruptionBudget")],
    columns: &[
        Column::NAME,
        Column::new("Min Available", "How many pods have to stay.", |object, _| {
            limit(object, "spec.minAvailable").into()
        }),
        Column::new("Max Unavailable", "How many pods may be gone.", |object, _| {
            limit(object, "spec.maxUnavailable").into()
        }),
        Column::new("Allowed Disruptions", "How many pods may go now.", |object, _| {
            tree::int(object, "status.disruptionsAllowed").unwrap_or_default().into()
        })
        .integer(),
        Column::AGE,
    ],
    strategy: &Strategy {
        validate_create: validate,
        validate_update: |object, _| validate(object),
        validate_status_update: validate_status,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

fn limit(object: &Value, path: &str) -> String {
    match tree::get(object, path) {
        Value::Null => "N/A".to_owned(),
        Value::String(text) => text.clone(),
        number => number.to_string(),
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let (stay, gone) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if stay.is_set() && gone.is_set() {
        errors.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    for limit in [&stay, &gone] {
        errors.extend(int_or_percent::validate(limit));
        errors.extend(int_or_percent::not_above_all(limit));
    }
    errors.extend(validate_selector(&spec.get("selector")));
    let policy = spec.get("unhealthyPodEvictionPolicy");
    if policy.is_set() {
        errors.extend(policy.one_of(&["AlwaysAllow", "IfHealthyBudget"]));
    }
    errors
}

fn validate_status(object: &Value, _: &Value) -> FieldErrors {
    let status = Field::of(object, "status");
    let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    let mut errors = FieldErrors::new();
    errors.extend(status.negatives(&counts));
    errors
}
