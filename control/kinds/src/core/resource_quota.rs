//! ResourceQuota: the most that all objects of a namespace may use together.

use serde_json::Value;

use crate::quantity::validate_resources;
use crate::{Column, Field, FieldError, FieldErrors, Kind, Strategy, Subresource, tree};

pub static RESOURCE_QUOTA: Kind = Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    definition: "io.k8s.api.core.v1.ResourceQuota",
    subresources: &[Subresource::status("", "ResourceQuota")],
    columns: &[
        Column::NAME,
        Column::new("Request", "What is used of requests and counts.", |object, _| {
            used(object, false).into()
        }),
        Column::new("Limit", "What is used of limits.", |object, _| used(object, true).into()),
        Column::AGE,
    ],
    strategy: &Strategy {
        validate_create: validate,
        validate_update,
        validate_status_update: |object, _| {
            let status = Field::of(object, "status");
            let mut errors = validate_resources(&status.get("hard"));
            errors.extend(validate_resources(&status.get("used")));
            errors
        },
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

fn used(object: &Value, limits: bool) -> String {
    let text = |amount: Option<&Value>| amount.and_then(Value::as_str).unwrap_or("0").to_owned();
    let mut hard: Vec<(&String, &Value)> = tree::map(object, "status.hard").into_iter().flatten().collect();
    hard.sort_by_key(|(resource, _)| *resource);
    let of_side = hard.into_iter().filter(|(resource, _)| resource.starts_with("limits.") == limits);
    let parts: Vec<String> = of_side
        .map(|(resource, amount)| {
            let used = tree::map(object, "status.used").and_then(|used| used.get(resource));
            format!("{resource}: {}/{}", text(used), text(Some(amount)))
        })
        .collect();
    parts.join(", ")
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = validate_resources(&spec.get("hard"));
    for scope in spec.get("scopes").items() {
        if !SCOPES.contains(&scope.text()) {
            errors.push(FieldError::invalid(
                &spec.get("scopes").path,
                spec.get("scopes").value.clone(),
                "unsupported scope",
            ));
        }
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    errors.extend(Field::of(object, "spec").get("scopes").immutable(tree::get(old, "spec.scopes")));
    errors
}
