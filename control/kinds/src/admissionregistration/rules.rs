//! What webhooks and policies share: rules that say which requests are meant, and conditions in CEL.
//!
//! Expressions must be there; whether they compile is not looked at.

use serde_json::{Value, json};

use super::MATCH_POLICIES;
use crate::apps::validate_selector;
use crate::{Field, FieldErrors, names, tree};

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const CONDITIONS_MAX: usize = 64;

/// Fills selectors, match policy and scopes of a `MatchResources` at `path`, if it is there.
pub(super) fn default_match(object: &mut Value, path: &str) {
    let Some(of) = tree::get_mut(object, path) else { return };
    tree::set_default(of, "matchPolicy", "Equivalent");
    default_selectors(of);
    for rules in ["resourceRules", "excludeResourceRules"] {
        default_scopes(of, rules);
    }
}

pub(super) fn default_selectors(of: &mut Value) {
    tree::set_default(of, "namespaceSelector", json!({}));
    tree::set_default(of, "objectSelector", json!({}));
}

pub(super) fn default_scopes(of: &mut Value, rules: &str) {
    for rule in tree::items_mut(of, rules) {
        tree::set_default(rule, "scope", "*");
    }
}

/// A `MatchResources`.
pub(super) fn validate_match(of: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(of.get("matchPolicy").one_of(MATCH_POLICIES));
    for selector in ["namespaceSelector", "objectSelector"].map(|name| of.get(name)) {
        match selector.is_set() {
            true => errors.extend(validate_selector(&selector)),
            false => errors.push(selector.required("")),
        }
    }
    for rule in ["resourceRules", "excludeResourceRules"].iter().flat_map(|rules| of.get(rules).items()) {
        let named = rule.get("resourceNames");
        for name in named.items() {
            errors.extend(names::path_segment(name.text()).map(|wrong| name.invalid(wrong)));
        }
        errors.extend(named.duplicates());
        errors.extend(validate_rule(&rule));
    }
    errors
}

/// A `RuleWithOperations`.
pub(super) fn validate_rule(rule: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let operations = rule.get("operations");
    errors.extend(filled(&operations));
    errors.extend(alone(&operations, "operations"));
    errors.extend(operations.items().filter_map(|operation| operation.one_of_if_set(OPERATIONS)));
    let (groups, versions) = (rule.get("apiGroups"), rule.get("apiVersions"));
    errors.extend(filled(&groups));
    errors.extend(alone(&groups, "API groups"));
    errors.extend(filled(&versions));
    errors.extend(alone(&versions, "API versions"));
    let empty = |item: &Field<'_>| item.text().is_empty();
    errors.extend(versions.items().filter(empty).map(|version| version.required("")));
    errors.extend(validate_resources(&rule.get("resources")));
    errors.extend(rule.get("scope").one_of_if_set(SCOPES));
    errors
}

fn filled(list: &Field<'_>) -> Option<crate::FieldError> {
    list.list().is_empty().then(|| list.required(""))
}

/// A star stands for everything, so it stands alone.
fn alone(list: &Field<'_>, what: &str) -> Option<crate::FieldError> {
    let has_star = list.list().iter().any(|item| item == "*");
    let why = || list.invalid(format!("if '*' is present, must not specify other {what}"));
    (list.list().len() > 1 && has_star).then(why)
}

fn validate_resources(resources: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(filled(resources));
    let (mut all_below, mut all_of): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut has_plain = false;
    for item in resources.items() {
        let text = item.text();
        if text.is_empty() {
            errors.push(item.required(""));
            continue;
        }
        let Some((resource, below)) = text.split_once('/') else {
            has_plain = text != "*";
            continue;
        };
        for (is_known, star) in [
            (all_below.contains(&resource), format!("{resource}/*")),
            (all_of.contains(&below), format!("*/{below}")),
        ] {
            if is_known {
                errors.push(item.invalid(format!("if '{star}' is present, must not specify {text}")));
            }
        }
        if below == "*" {
            all_below.push(resource);
        }
        if resource == "*" {
            all_of.push(below);
        }
    }
    let has = |text: &str| resources.list().iter().any(|item| item == text);
    if resources.list().len() > 1 && has("*/*") {
        errors.push(resources.invalid("if '*/*' is present, must not specify other resources"));
    }
    if has("*") && has_plain {
        errors.push(
            resources.invalid("if '*' is present, must not specify other resources without subresources"),
        );
    }
    errors
}

/// Names and expressions of `matchConditions`.
pub(super) fn validate_conditions(conditions: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(conditions.at_most(CONDITIONS_MAX));
    let mut seen: Vec<&str> = Vec::new();
    for condition in conditions.items() {
        let (name, expression) = (condition.get("name"), condition.get("expression"));
        if expression.text().trim().is_empty() {
            errors.push(expression.required(""));
        }
        if name.text().is_empty() {
            errors.push(name.required(""));
            continue;
        }
        errors.extend(names::qualified(name.text()).into_iter().map(|wrong| name.invalid(wrong)));
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
    }
    errors
}
