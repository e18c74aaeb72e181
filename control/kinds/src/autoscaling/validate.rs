//! What a HorizontalPodAutoscaler must be, in the words of Kubernetes.

use serde_json::Value;

use super::horizontal_pod_autoscaler::{SOURCES, source};
use crate::apps::validate_selector;
use crate::quantity::Quantity;
use crate::{Field, FieldErrors, names, tree};

const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;
const TARGETS: &[&str] = &["AverageValue", "Utilization", "Value"];

/// `old` is null of a new object.
pub(super) fn validate(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    let least_of_all = if tree::int(old, "spec.minReplicas") == Some(0) { 0 } else { 1 };
    if least.int().is_some_and(|count| count < least_of_all) {
        errors.push(least.invalid(format!("must be greater than or equal to {least_of_all}")));
    }
    let limit = most.int().unwrap_or_default();
    if limit < 1 {
        errors.push(most.invalid("must be greater than 0"));
    }
    if least.int().is_some_and(|count| limit < count) {
        errors.push(most.invalid("must be greater than or equal to `minReplicas`"));
    }
    errors.extend(validate_reference(&spec.get("scaleTargetRef")));
    let metrics = spec.get("metrics");
    errors.extend(metrics.items().flat_map(|metric| validate_metric(&metric)));
    let counts_idle = |metric: &Value| matches!(tree::text(metric, "type"), "Object" | "External");
    if least.int() == Some(0) && !metrics.list().iter().any(counts_idle) {
        errors.push(metrics.forbidden(
            "must specify at least one Object or External metric to support scaling to zero replicas",
        ));
    }
    for rules in ["scaleUp", "scaleDown"] {
        errors.extend(validate_rules(&spec.get("behavior").get(rules)));
    }
    errors
}

pub(super) fn validate_status(object: &Value, _: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(Field::of(object, "status").negatives(&["currentReplicas", "desiredReplicas"]));
    errors
}

fn validate_reference(target: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(target.get("kind").named(names::path_segment));
    errors.extend(target.get("name").named(names::path_segment));
    let version = target.get("apiVersion");
    if version.text().matches('/').count() > 1 {
        errors.push(version.invalid(format!("unexpected GroupVersion string: {}", version.text())));
    }
    errors
}

fn validate_metric(metric: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let of_type = metric.get("type");
    let expected = source(of_type.text());
    if of_type.text().is_empty() {
        errors.push(of_type.required("must specify a metric source type"));
    }
    if expected.is_none() {
        let types: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        errors.push(of_type.not_supported(&types));
    }
    let order = ["object", "external", "pods", "resource", "containerResource"];
    let present: Vec<Field<'_>> =
        order.iter().map(|name| metric.get(name)).filter(|source| source.is_set()).collect();
    if let Some(first) = present.first() {
        errors.extend(validate_source(first));
    }
    if let Some(field) = expected.map(|name| metric.get(name)).filter(|field| !field.is_set()) {
        errors.push(field.required("must populate information for the given metric source"));
    }
    if present.len() != 1 {
        let own = expected.map(|name| metric.get(name).path);
        let others = present.iter().filter(|source| Some(&source.path) != own.as_ref());
        errors.extend(others.map(|source| source.forbidden("must populate the given metric source only")));
    }
    errors
}

/// One way to measure: its name and its target.
fn validate_source(source: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let target = source.get("target");
    let kind = source.path.rsplit('.').next().unwrap_or_default();
    match kind {
        "resource" | "containerResource" => {
            let name = source.get("name");
            if name.text().is_empty() {
                errors.push(name.required("must specify a resource name"));
            }
        }
        _ => errors.extend(validate_identifier(&source.get("metric"))),
    }
    match kind {
        "object" => errors.extend(validate_reference(&source.get("describedObject"))),
        "containerResource" => {
            let container = source.get("container");
            match container.text() {
                "" => errors.push(container.required("must specify a container")),
                text => errors.extend(names::label(text).map(|wrong| container.invalid(wrong))),
            }
        }
        _ => {}
    }
    errors.extend(validate_target(&target));
    let [value, average, percent] =
        ["value", "averageValue", "averageUtilization"].map(|name| target.get(name));
    match kind {
        "object" if !value.is_set() && !average.is_set() => {
            errors.push(average.required("must set either a target value or averageValue"));
        }
        "external" if !value.is_set() && !average.is_set() => {
            errors.push(average.required("must set either a target value for metric or a per-pod target"));
        }
        "external" if value.is_set() && average.is_set() => {
            errors.push(value.forbidden("may not set both a target value for metric and a per-pod target"));
        }
        "pods" if !average.is_set() => {
            errors.push(average.required("must specify a positive target averageValue"));
        }
        "resource" | "containerResource" => {
            match (percent.is_set(), average.is_set()) {
                (false, false) => errors
                    .push(percent.required("must set either a target raw value or a target utilization")),
                (true, true) => errors
                    .push(average.forbidden("may not set both a target raw value and a target utilization")),
                _ => {}
            }
        }
        _ => {}
    }
    errors
}

fn validate_identifier(metric: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let name = metric.get("name");
    match name.text() {
        "" => errors.push(name.required("must specify a metric name")),
        text => errors.extend(names::path_segment(text).map(|wrong| name.invalid(wrong))),
    }
    errors.extend(validate_selector(&metric.get("selector")));
    errors
}

fn validate_target(target: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let of_type = target.get("type");
    if of_type.text().is_empty() {
        errors.push(of_type.required("must specify a metric target type"));
    }
    if !TARGETS.contains(&of_type.text()) {
        errors.push(of_type.invalid("must be either Utilization, Value, or AverageValue"));
    }
    for amount in ["value", "averageValue"].map(|name| target.get(name)) {
        let is_positive =
            Quantity::of(amount.value).is_some_and(|amount| !amount.is_zero() && !amount.is_negative());
        if amount.is_set() && !is_positive {
            errors.push(amount.invalid("must be positive"));
        }
    }
    let percent = target.get("averageUtilization");
    if percent.int().is_some_and(|percent| percent < 1) {
        errors.push(percent.invalid("must be greater than 0"));
    }
    errors
}

fn validate_rules(rules: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if !rules.is_set() {
        return errors;
    }
    let window = rules.get("stabilizationWindowSeconds");
    if window.int().is_some_and(|seconds| seconds < 0) {
        errors.push(window.invalid("must be greater than or equal to zero"));
    }
    if window.int().is_some_and(|seconds| seconds > WINDOW_SECONDS_MAX) {
        errors.push(window.invalid(format!("must be less than or equal to {WINDOW_SECONDS_MAX}")));
    }
    errors.extend(rules.get("selectPolicy").one_of_if_set(&["Disabled", "Max", "Min"]));
    let policies = rules.get("policies");
    if policies.list().is_empty() {
        errors.push(policies.required("must specify at least one Policy"));
    }
    for policy in policies.items() {
        if !["Percent", "Pods"].contains(&policy.get("type").text()) {
            errors.push(policy.get("type").not_supported(&["Percent", "Pods"]));
        }
        for amount in ["value", "periodSeconds"].map(|name| policy.get(name)) {
            if amount.int().unwrap_or_default() <= 0 {
                errors.push(amount.invalid("must be greater than zero"));
            }
        }
        let period = policy.get("periodSeconds");
        if period.int().is_some_and(|seconds| seconds > PERIOD_SECONDS_MAX) {
            errors.push(period.invalid(format!("must be less than or equal to {PERIOD_SECONDS_MAX}")));
        }
    }
    let tolerance = rules.get("tolerance");
    if Quantity::of(tolerance.value).is_some_and(Quantity::is_negative) {
        errors.push(tolerance.invalid("must be greater than or equal to 0"));
    }
    errors
}
