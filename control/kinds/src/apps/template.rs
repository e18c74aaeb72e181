//! The selector and the pod template of everything that makes pods.

use serde_json::Value;

use crate::columns::none_if_empty;
use crate::core::pod;
use crate::selector::LabelSelector;
use crate::{Field, FieldError, FieldErrors, meta, names, tree};

/// Fills what the user left out of the template at `spec.template`.
pub(super) fn defaults(object: &mut Value) {
    pod::template_defaults(object, "spec.template");
}

/// The selector and the template of `spec`, and that the one selects the other. The error of an empty selector names
/// `owner`, that of a deadline `maker`: who really makes the pods.
pub(super) fn validate(spec: &Field<'_>, owner: &str, maker: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    if selector.is_set() {
        errors.extend(validate_selector(&selector));
        if is_empty(selector.value) {
            errors.push(selector.invalid(format!("empty selector is invalid for {owner}")));
        }
    } else {
        errors.push(selector.required(""));
    }
    let labels = template.get("metadata").get("labels");
    let selects = LabelSelector::from_value(selector.value)
        .is_ok_and(|parsed| parsed.is_empty() || parsed.matches_labels(labels.value.as_object()));
    if selector.is_set() && !selects {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    errors.extend(pod::validate_template(&template));
    let pod_spec = template.get("spec");
    let policy = pod_spec.get("restartPolicy");
    if policy.text() != "Always" && !policy.text().is_empty() {
        errors.push(policy.not_supported(&["Always"]));
    }
    let deadline = pod_spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        errors.push(deadline.forbidden(format!("activeDeadlineSeconds in {maker} is not Supported")));
    }
    errors
}

/// The selector stays as it was made.
pub(super) fn validate_update(object: &Value, old: &Value) -> Option<FieldError> {
    Field::of(object, "spec").get("selector").immutable(tree::get(old, "spec.selector"))
}

/// The counts of a status: `within` not above all pods, and none available that is not ready.
pub(super) fn validate_counts(status: &Field<'_>, within: &[&str]) -> FieldErrors {
    let count = |field: &str| status.get(field).int().unwrap_or_default();
    let mut errors = FieldErrors::new();
    for field in within.iter().filter(|field| count(field) > count("replicas")) {
        errors.push(status.get(field).invalid("cannot be greater than status.replicas"));
    }
    if count("availableReplicas") > count("readyReplicas") {
        errors.push(status.get("availableReplicas").invalid("cannot be greater than readyReplicas"));
    }
    errors
}

/// The grammar of a `LabelSelector` object.
pub(crate) fn validate_selector(selector: &Field<'_>) -> FieldErrors {
    let mut errors = meta::validate_labels(&selector.get("matchLabels"));
    for expression in selector.get("matchExpressions").items() {
        let (key, operator, values) =
            (expression.get("key"), expression.get("operator"), expression.get("values"));
        match operator.text() {
            "In" | "NotIn" if values.list().is_empty() => {
                errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.list().is_empty() => {
                errors.push(
                    values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
                );
            }
            "Exists" | "DoesNotExist" => {}
            _ => errors.push(operator.invalid("not a valid selector operator")),
        }
        errors.extend(names::qualified(key.text()).into_iter().map(|wrong| key.invalid(wrong)));
        for value in values.items() {
            errors.extend(names::label_value(value.text()).into_iter().map(|wrong| value.invalid(wrong)));
        }
    }
    errors
}

fn is_empty(selector: &Value) -> bool {
    tree::same(tree::get(selector, "matchLabels"), &Value::Null)
        && tree::items(selector, "matchExpressions").is_empty()
}

/// The column Selector.
pub(super) fn selector_text(object: &Value) -> Value {
    none_if_empty(crate::kind::selector_text(object)).into()
}
