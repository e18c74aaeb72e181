//! Which objects a quota's scopes mean.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::core::pod::quality_of_service;
use crate::tree;

/// What scopes ask about an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Traits {
    /// No scope means such objects.
    #[default]
    None,
    Pod {
        is_terminating: bool,
        is_best_effort: bool,
        priority_class: String,
        reaches_out: bool,
    },
    Claim {
        attribute_classes: BTreeSet<String>,
    },
}

pub(super) fn of_pod(pod: &Value) -> Traits {
    Traits::Pod {
        is_terminating: tree::int(pod, "spec.activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0),
        is_best_effort: quality_of_service(pod) == "BestEffort",
        priority_class: tree::text(pod, "spec.priorityClassName").to_owned(),
        reaches_out: reaches_out(pod),
    }
}

pub(super) fn of_claim(claim: &Value) -> Traits {
    let names = [
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    ];
    let names = names.iter().map(|path| tree::text(claim, path)).filter(|name| !name.is_empty());
    Traits::Claim { attribute_classes: names.map(str::to_owned).collect() }
}

/// Whether the pod wants to be near, or far from, pods of other namespaces.
fn reaches_out(pod: &Value) -> bool {
    let is_outside = |term: &Value| {
        !tree::items(term, "namespaces").is_empty() || !tree::get(term, "namespaceSelector").is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|side| {
        let of = |when: &str| tree::items(pod, &format!("spec.affinity.{side}.{when}"));
        of("requiredDuringSchedulingIgnoredDuringExecution").iter().any(is_outside)
            || of("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|preferred| is_outside(tree::get(preferred, "podAffinityTerm")))
    })
}

/// Whether all scopes of the quota hold; without any, all objects are meant.
pub(super) fn all_hold(quota: &Value, traits: &Traits) -> bool {
    let plain = tree::items(quota, "spec.scopes").iter().filter_map(Value::as_str);
    let selected = tree::items(quota, "spec.scopeSelector.matchExpressions").iter();
    plain.map(|scope| (scope, "Exists", &[][..])).all(|scope| holds(scope, traits))
        && selected
            .map(|need| {
                (tree::text(need, "scopeName"), tree::text(need, "operator"), tree::items(need, "values"))
            })
            .all(|scope| holds(scope, traits))
}

/// Scope, operator, values.
fn holds((scope, operator, values): (&str, &str, &[Value]), traits: &Traits) -> bool {
    match traits {
        Traits::None => false,
        Traits::Pod { is_terminating, is_best_effort, priority_class, reaches_out } => match scope {
            "Terminating" => *is_terminating,
            "NotTerminating" => !is_terminating,
            "BestEffort" => *is_best_effort,
            "NotBestEffort" => !is_best_effort,
            "PriorityClass" => {
                let named = (!priority_class.is_empty()).then_some(priority_class.as_str());
                is_one(named.as_slice(), operator, values)
            }
            "CrossNamespacePodAffinity" => *reaches_out,
            _ => false,
        },
        Traits::Claim { attribute_classes } => {
            let named: Vec<&str> = attribute_classes.iter().map(String::as_str).collect();
            scope == "VolumeAttributesClass" && is_one(&named, operator, values)
        }
    }
}

/// Whether one of the names is as the operator says; of no name at all only what speaks of absence is true.
fn is_one(names: &[&str], operator: &str, values: &[Value]) -> bool {
    let is_listed = |name: &&str| values.iter().any(|value| value == *name);
    match operator {
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        "In" => names.iter().any(is_listed),
        "NotIn" => names.is_empty() || !names.iter().all(is_listed),
        _ => false,
    }
}
