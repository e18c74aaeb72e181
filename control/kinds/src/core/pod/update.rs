//! What of a pod may change once it exists: little.

use serde_json::Value;

use super::validate::validate_spec;
use crate::{Field, FieldError, FieldErrors, tree};

const MUTABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                       `spec.tolerations` (only additions to existing tolerations),\
                       `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for list in ["containers", "initContainers"] {
        let path = format!("spec.{list}");
        if tree::items(object, &path).len() != tree::items(old, &path).len() {
            errors.push(FieldError::forbidden(path, "pod updates may not add or remove containers"));
            return errors;
        }
    }
    let spec = Field::of(object, "spec");
    errors.extend(deadline(&spec.get("activeDeadlineSeconds"), old));
    errors.extend(tolerations(&spec.get("tolerations"), old));
    errors.extend(gates(&spec.get("schedulingGates"), old));
    let before = tree::get(old, "spec");
    let allowed = with_mutable_fields(before, spec.value);
    if !tree::same(&allowed, spec.value) {
        let changes = difference(&allowed, spec.value);
        let detail = format!("pod updates may not change fields other than {MUTABLE}\n{changes}");
        errors.push(spec.forbidden(detail));
    }
    if errors.is_empty() {
        errors.extend(validate_spec(&spec));
    }
    errors
}

/// `old` with what may change taken from `new`.
fn with_mutable_fields(old: &Value, new: &Value) -> Value {
    let mut allowed = old.clone();
    for list in ["containers", "initContainers"] {
        for (container, changed) in tree::items_mut(&mut allowed, list).zip(tree::items(new, list)) {
            tree::copy(container, "image", changed);
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        tree::copy(&mut allowed, field, new);
    }
    let grace = |spec: &Value| tree::int(spec, "terminationGracePeriodSeconds");
    if grace(old).is_some_and(|seconds| seconds < 0) && grace(new) == Some(1) {
        tree::set(&mut allowed, "terminationGracePeriodSeconds", 1);
    }
    allowed
}

/// It may be set, and lowered; never raised or taken away.
fn deadline(deadline: &Field<'_>, old: &Value) -> Option<FieldError> {
    let before = tree::int(old, "spec.activeDeadlineSeconds")?;
    match deadline.int() {
        None => Some(deadline.invalid("must not update from a positive integer to nil value")),
        Some(after) if after > before => {
            Some(deadline.invalid(format!("must be less than or equal to previous value {before}")))
        }
        Some(_) => None,
    }
}

/// Tolerations may be added; of an existing one only the seconds may change.
fn tolerations(tolerations: &Field<'_>, old: &Value) -> Option<FieldError> {
    let plain = |toleration: &Value| {
        let mut plain = toleration.clone();
        tree::remove(&mut plain, "tolerationSeconds");
        plain
    };
    let kept = tree::items(old, "spec.tolerations")
        .iter()
        .all(|before| tolerations.list().iter().any(|after| tree::same(&plain(before), &plain(after))));
    (!kept).then(|| {
        tolerations.forbidden("existing toleration can not be modified except its tolerationSeconds")
    })
}

/// Gates may be taken away.
fn gates(gates: &Field<'_>, old: &Value) -> Option<FieldError> {
    let before = tree::items(old, "spec.schedulingGates");
    let added = gates.items().find(|gate| !before.contains(gate.value))?;
    Some(added.forbidden("only deletion is allowed, but found new scheduling gate"))
}

/// The changed fields, old with `-` and new with `+`, for people.
pub(super) fn difference(old: &Value, new: &Value) -> String {
    let mut lines = String::new();
    let keys = [old, new].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
    let mut seen: Vec<&String> = Vec::new();
    for key in keys {
        let (before, after) = (tree::get(old, key), tree::get(new, key));
        if seen.contains(&key) || tree::same(before, after) {
            continue;
        }
        seen.push(key);
        for (sign, value) in [('-', before), ('+', after)] {
            if !value.is_null() {
                lines.push_str(&format!("{sign} {key}: {value}\n"));
            }
        }
    }
    lines
}
