//! What a Job's spec must be, its own or that of a CronJob's template.

use serde_json::Value;

use crate::apps::validate_selector;
use crate::core::pod;
use crate::selector::LabelSelector;
use crate::{Field, FieldErrors, tree};

/// The most pods of an indexed Job that run at once.
const PARALLELISM_MAX: i64 = 100_000;
const COUNTS: &[&str] = &[
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
];

pub(super) fn is_indexed(spec: &Value) -> bool {
    tree::text(spec, "completionMode") == "Indexed"
}

/// All but the selector.
pub(super) fn validate(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(spec.negatives(COUNTS));
    errors.extend(validate_indexes(spec));
    let policy = spec.get("podReplacementPolicy");
    if policy.is_set() {
        errors.extend(policy.one_of(&["Failed", "TerminatingOrFailed"]));
    }
    let template = spec.get("template");
    errors.extend(pod::validate_template(&template));
    let restart = template.get("spec").get("restartPolicy");
    if !matches!(restart.text(), "OnFailure" | "Never") {
        errors.push(restart.required("valid values: \"OnFailure\", \"Never\""));
    }
    errors
}

fn validate_indexes(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (mode, completions, parallelism) =
        (spec.get("completionMode"), spec.get("completions"), spec.get("parallelism"));
    if mode.is_set() {
        errors.extend(mode.one_of(&["Indexed", "NonIndexed"]));
    }
    if is_indexed(spec.value) {
        if !completions.is_set() {
            errors.push(completions.required("when completion mode is Indexed"));
        }
        if parallelism.int().is_some_and(|count| count > PARALLELISM_MAX) {
            errors.push(parallelism.invalid(format!(
                "must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed"
            )));
        }
        return errors;
    }
    for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if spec.get(field).is_set() {
            errors.push(spec.get(field).invalid("requires indexed completion mode"));
        }
    }
    errors
}

/// The selector of a Job that is to be stored.
pub(super) fn validate_selected(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (selector, labels) = (spec.get("selector"), spec.get("template").get("metadata").get("labels"));
    if !selector.is_set() {
        errors.push(selector.required(""));
        return errors;
    }
    errors.extend(validate_selector(&selector));
    let selects = LabelSelector::from_value(selector.value)
        .is_ok_and(|parsed| parsed.matches_labels(labels.value.as_object()));
    if !selects {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    errors
}
