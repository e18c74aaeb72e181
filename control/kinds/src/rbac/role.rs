//! Role and ClusterRole: lists of what may be done.

use serde_json::Value;

use super::GROUP;
use crate::apps::validate_selector;
use crate::{Column, Field, FieldErrors, Kind, NameRule, Strategy, tree};

pub static ROLE: Kind = Kind {
    group: GROUP,
    kind: "Role",
    plural: "roles",
    singular: "role",
    definition: "io.k8s.api.rbac.v1.Role",
    columns: &[Column::NAME, Column::CREATED_AT],
    name_rule: NameRule::PathSegment,
    strategy: &Strategy {
        validate_create: |object| validate_rules(object, true),
        validate_update: |object, _| validate_rules(object, true),
        create_on_update: true,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

pub static CLUSTER_ROLE: Kind = Kind {
    group: GROUP,
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    definition: "io.k8s.api.rbac.v1.ClusterRole",
    columns: &[Column::NAME, Column::CREATED_AT],
    name_rule: NameRule::PathSegment,
    strategy: &Strategy {
        validate_create: validate_cluster_role,
        validate_update: |object, _| validate_cluster_role(object),
        create_on_update: true,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

fn validate_cluster_role(object: &Value) -> FieldErrors {
    let mut errors = validate_rules(object, false);
    let aggregation = Field::of(object, "aggregationRule");
    if aggregation.is_set() {
        let selectors = aggregation.get("clusterRoleSelectors");
        if selectors.list().is_empty() {
            errors.push(
                selectors.required("at least one clusterRoleSelector required if aggregationRule is non-nil"),
            );
        }
        for selector in selectors.items() {
            errors.extend(validate_selector(&selector));
        }
    }
    errors
}

fn validate_rules(object: &Value, namespaced: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for rule in Field::of(object, "rules").items() {
        errors.extend(validate_rule(&rule, namespaced));
    }
    errors
}

fn validate_rule(rule: &Field<'_>, namespaced: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let has = |field: &str| !tree::items(rule.value, field).is_empty();
    if !has("verbs") {
        errors.push(rule.get("verbs").required("verbs must contain at least one value"));
    }
    let urls = rule.get("nonResourceURLs");
    if has("nonResourceURLs") {
        if namespaced {
            errors.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if ["apiGroups", "resources", "resourceNames"].into_iter().any(has) {
            errors.push(urls.invalid("rules cannot apply to both regular resources and non-resource URLs"));
        }
        return errors;
    }
    if !has("apiGroups") {
        errors.push(rule.get("apiGroups").required("resource rules must supply at least one api group"));
    }
    if !has("resources") {
        errors.push(rule.get("resources").required("resource rules must supply at least one resource"));
    }
    errors
}
