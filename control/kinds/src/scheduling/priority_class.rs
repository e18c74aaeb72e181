//! PriorityClass: who goes first, and whom it may push aside.

use serde_json::Value;

use crate::{Column, Field, FieldError, FieldErrors, Kind, Strategy, meta, tree};

pub static PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    definition: "io.k8s.api.scheduling.v1.PriorityClass",
    columns: &[
        Column::NAME,
        Column::new("Value", "The priority.", |object, _| value(object).into()).integer(),
        Column::new("Global-Default", "Whether pods that name no class have this one.", |object, _| {
            tree::flag(object, "globalDefault").into()
        })
        .boolean(),
        Column::AGE,
        Column::new("PreemptionPolicy", "Whom it may push aside.", |object, _| {
            tree::text(object, "preemptionPolicy").into()
        }),
    ],
    strategy: &Strategy {
        defaults: |object| tree::set_default_text(object, "preemptionPolicy", DEFAULT_POLICY),
        validate_create: validate,
        validate_update,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

/// Whom pods may push aside whose class says nothing of it.
pub const DEFAULT_POLICY: &str = "PreemptLowerPriority";
/// The classes that every cluster has.
pub const SYSTEM: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const SYSTEM_PREFIX: &str = "system-";
/// Above it are the system's own.
const USER_VALUE_MAX: i64 = 1_000_000_000;

fn value(object: &Value) -> i64 {
    tree::int(object, "value").unwrap_or_default()
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let name = meta::name(object);
    if name.starts_with(SYSTEM_PREFIX) {
        errors.extend(wrong_system_class(object, name).map(|wrong| {
            let detail = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {wrong}"
            );
            FieldError::forbidden("metadata.name", detail)
        }));
    } else if value(object) > USER_VALUE_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}");
        errors.push(FieldError::forbidden("value", detail));
    }
    let policy = Field::of(object, "preemptionPolicy");
    errors.extend(policy.one_of(&["Never", "PreemptLowerPriority"]));
    errors
}

fn wrong_system_class(object: &Value, name: &str) -> Option<String> {
    match SYSTEM.iter().find(|(known, _)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, wanted)) if value(object) != *wanted => {
            Some(format!("value of {name} PriorityClass must be {wanted}"))
        }
        Some(_) if tree::flag(object, "globalDefault") => {
            Some(format!("globalDefault of {name} PriorityClass must be false"))
        }
        Some(_) => None,
    }
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if value(object) != value(old) {
        errors.push(FieldError::forbidden("value", "may not be changed in an update."));
    }
    let policy = Field::of(object, "preemptionPolicy");
    errors.extend(policy.immutable(tree::get(old, "preemptionPolicy")));
    errors
}
