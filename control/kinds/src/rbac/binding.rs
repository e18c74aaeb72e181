//! RoleBinding and ClusterRoleBinding: who has a role.

use serde_json::Value;

use super::GROUP;
use crate::{Column, Field, FieldErrors, Kind, NameRule, Strategy, names, tree};

pub static ROLE_BINDING: Kind = Kind {
    group: GROUP,
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    definition: "io.k8s.api.rbac.v1.RoleBinding",
    columns: COLUMNS,
    name_rule: NameRule::PathSegment,
    strategy: &Strategy {
        defaults,
        validate_create: |object| validate(object, Scope::Namespace),
        validate_update: |object, old| validate_update(object, old, Scope::Namespace),
        create_on_update: true,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

pub static CLUSTER_ROLE_BINDING: Kind = Kind {
    group: GROUP,
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    definition: "io.k8s.api.rbac.v1.ClusterRoleBinding",
    columns: COLUMNS,
    name_rule: NameRule::PathSegment,
    strategy: &Strategy {
        defaults,
        validate_create: |object| validate(object, Scope::Cluster),
        validate_update: |object, old| validate_update(object, old, Scope::Cluster),
        create_on_update: true,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Role", "Kind and name of the role.", |object, _| {
        format!("{}/{}", tree::text(object, "roleRef.kind"), tree::text(object, "roleRef.name")).into()
    }),
    Column::AGE,
    Column::new("Users", "Who has the role, of users.", |object, _| subjects(object, "User").into()).wide(),
    Column::new("Groups", "Who has the role, of groups.", |object, _| subjects(object, "Group").into())
        .wide(),
    Column::new("ServiceAccounts", "Who has the role, of service accounts.", |object, _| {
        subjects(object, "ServiceAccount").into()
    })
    .wide(),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Cluster,
    Namespace,
}

fn subjects(object: &Value, kind: &str) -> String {
    let of_kind =
        tree::items(object, "subjects").iter().filter(|subject| tree::text(subject, "kind") == kind);
    let texts: Vec<String> = of_kind
        .map(|subject| match kind {
            "ServiceAccount" => {
                format!("{}/{}", tree::text(subject, "namespace"), tree::text(subject, "name"))
            }
            _ => tree::text(subject, "name").to_owned(),
        })
        .collect();
    texts.join(", ")
}

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "roleRef.apiGroup", GROUP);
    for subject in tree::items_mut(object, "subjects") {
        if matches!(tree::text(subject, "kind"), "User" | "Group") {
            tree::set_default_text(subject, "apiGroup", GROUP);
        }
    }
}

fn validate(object: &Value, scope: Scope) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let role = Field::of(object, "roleRef");
    if role.get("apiGroup").text() != GROUP {
        errors.push(role.get("apiGroup").not_supported(&[GROUP]));
    }
    let roles: &[&str] = match scope {
        Scope::Cluster => &["ClusterRole"],
        Scope::Namespace => &["ClusterRole", "Role"],
    };
    if !roles.contains(&role.get("kind").text()) {
        errors.push(role.get("kind").not_supported(roles));
    }
    let name = role.get("name");
    match name.text() {
        "" => errors.push(name.required("")),
        text => errors.extend(names::path_segment(text).map(|wrong| name.invalid(wrong))),
    }
    for subject in Field::of(object, "subjects").items() {
        errors.extend(validate_subject(&subject, scope));
    }
    errors
}

fn validate_subject(subject: &Field<'_>, scope: Scope) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (kind, name, group) = (subject.get("kind"), subject.get("name"), subject.get("apiGroup"));
    if name.text().is_empty() {
        errors.push(name.required(""));
    }
    let expected = match kind.text() {
        "ServiceAccount" => "",
        "User" | "Group" => GROUP,
        _ => {
            errors.push(kind.not_supported(&["Group", "ServiceAccount", "User"]));
            return errors;
        }
    };
    if kind.text() == "ServiceAccount" {
        if !name.text().is_empty() {
            errors.extend(names::subdomain(name.text()).map(|wrong| name.invalid(wrong)));
        }
        if scope == Scope::Cluster && subject.get("namespace").text().is_empty() {
            errors.push(subject.get("namespace").required(""));
        }
    }
    if group.text() != expected {
        errors.push(group.not_supported(&[expected]));
    }
    errors
}

fn validate_update(object: &Value, old: &Value, scope: Scope) -> FieldErrors {
    let mut errors = validate(object, scope);
    let role = Field::of(object, "roleRef");
    if !tree::same(role.value, tree::get(old, "roleRef")) {
        errors.push(role.invalid("cannot change roleRef"));
    }
    errors
}
