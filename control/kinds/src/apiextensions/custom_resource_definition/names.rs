//! The names of a definition: what its group and its kind may be called.

use serde_json::Value;

use crate::{Field, FieldError, FieldErrors, meta, names};

/// Groups that are the community's, and what shows that it agreed.
const PROTECTED: &[&str] = &["k8s.io", "kubernetes.io"];
const APPROVAL: &str = "api-approved.kubernetes.io";

pub(super) fn validate_group(group: &Field<'_>, object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    match group.text() {
        "" => errors.push(group.required("")),
        text => match names::subdomain(text) {
            Some(problem) => errors.push(group.invalid(problem)),
            None if !text.contains('.') => {
                errors.push(group.invalid("should be a domain with at least one dot"));
            }
            None => {}
        },
    }
    let within = |domain: &&str| {
        group.text().strip_suffix(*domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    let approval = meta::annotation(object, APPROVAL).unwrap_or_default();
    if !PROTECTED.iter().any(within) {
        return errors;
    }
    let field = format!("metadata.annotations[{APPROVAL}]");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    if approval.is_empty() {
        let detail = format!("protected groups must have approval annotation \"{APPROVAL}\", {see}");
        errors.push(FieldError::required(field, &detail));
    } else if !approval.starts_with("unapproved") && !approval.starts_with("https://") {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting with \"unapproved\", {see}"
        );
        errors.push(FieldError::invalid(field, approval, detail));
    }
    errors
}

pub(super) fn validate(field: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for name in ["plural", "singular", "kind", "listKind"] {
        let name = field.get(name);
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
    }
    let mut lower = vec![field.get("plural"), field.get("singular")];
    lower.extend(field.get("shortNames").items());
    lower.extend(field.get("categories").items());
    for name in lower.iter().filter(|name| !name.text().is_empty()) {
        errors.extend(names::label_1035(name.text()).map(|problem| name.invalid(problem)));
    }
    for name in ["kind", "listKind"] {
        let name = field.get(name);
        if let Some(problem) = Some(name.text())
            .filter(|text| !text.is_empty())
            .and_then(|text| names::label_1035(&text.to_lowercase()))
        {
            errors.push(name.invalid(format!("may have mixed case, but should otherwise match: {problem}")));
        }
    }
    let list_kind = field.get("listKind");
    if !list_kind.text().is_empty() && list_kind.text() == field.get("kind").text() {
        errors.push(list_kind.invalid("kind and listKind may not be the same"));
    }
    errors
}
