//! Roles and bindings: defaults, validation, updates, columns.

use expect_test::expect;
use serde_json::json;

use super::binding::{CLUSTER_ROLE_BINDING, ROLE_BINDING};
use super::role::{CLUSTER_ROLE, ROLE};
use crate::check::{create_errors, created, row, update};
use crate::tree;

#[test]
fn rules_name_what_they_allow() {
    let rules = json!({"rules": [
        {"verbs": []},
        {"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]},
        {"verbs": ["get"], "nonResourceURLs": ["/x"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
    expect![[r#"
        rules[0].verbs: Required value: verbs must contain at least one value
        rules[0].apiGroups: Required value: resource rules must supply at least one api group
        rules[0].resources: Required value: resource rules must supply at least one resource
        rules[1].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs
        rules[1].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs
        rules[2].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs
    "#]].assert_eq(&create_errors(&ROLE, rules.clone()));
    expect![[r#"
        rules[0].verbs: Required value: verbs must contain at least one value
        rules[0].apiGroups: Required value: resource rules must supply at least one api group
        rules[0].resources: Required value: resource rules must supply at least one resource
        rules[1].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs
    "#]].assert_eq(&create_errors(&CLUSTER_ROLE, rules));
    expect![[r#"
        aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil
    "#]]
        .assert_eq(&create_errors(&CLUSTER_ROLE, json!({"aggregationRule": {"clusterRoleSelectors": []}})));
    expect![[r#"
        metadata.name: Invalid value: "system:a%b": may not contain '%'
    "#]]
    .assert_eq(&create_errors(&ROLE, json!({"metadata": {"name": "system:a%b"}})));
    expect![""].assert_eq(&create_errors(&ROLE, json!({"metadata": {"name": "system:Node-Bootstrapper"}})));
}

#[test]
fn a_binding_names_a_role_and_its_subjects() {
    let binding = json!({
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [
            {"kind": "User", "name": "ann"},
            {"kind": "Group", "name": ""},
            {"kind": "ServiceAccount", "name": "sa", "apiGroup": "rbac.authorization.k8s.io"},
            {"kind": "Robot", "name": "x"}]});
    expect![[r#"
        subjects[1].name: Required value
        subjects[2].apiGroup: Unsupported value: "rbac.authorization.k8s.io": supported values: ""
        subjects[3].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"
    "#]]
    .assert_eq(&create_errors(&ROLE_BINDING, binding.clone()));
    expect![[r#"
        roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"
        subjects[1].name: Required value
        subjects[2].namespace: Required value
        subjects[2].apiGroup: Unsupported value: "rbac.authorization.k8s.io": supported values: ""
        subjects[3].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"
    "#]]
    .assert_eq(&create_errors(&CLUSTER_ROLE_BINDING, binding));
    let whole = created(
        &ROLE_BINDING,
        json!({
        "roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "User", "name": "ann"}]}),
    );
    assert_eq!(tree::text(&whole, "roleRef.apiGroup"), super::GROUP);
    assert_eq!(tree::text(&tree::items(&whole, "subjects")[0], "apiGroup"), super::GROUP);
}

#[test]
fn the_role_of_a_binding_stays() {
    let of = |name: &str| json!({"roleRef": {"kind": "ClusterRole", "name": name}});
    expect![[r#"
        roleRef: Invalid value: {"kind":"ClusterRole","name":"edit","apiGroup":"rbac.authorization.k8s.io"}: cannot change roleRef
    "#]].assert_eq(&update(&ROLE_BINDING, of("view"), of("edit")));
}

#[test]
fn columns() {
    let binding = json!({
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [
            {"kind": "User", "name": "ann"}, {"kind": "Group", "name": "admins"}, {"kind": "User", "name": "bob"},
            {"kind": "ServiceAccount", "name": "sa", "namespace": "ns"}]});
    expect![[r#"
        Name: x
        Role: ClusterRole/view
        Age: 4m30s
        Users: ann, bob
        Groups: admins
        ServiceAccounts: ns/sa
    "#]]
    .assert_eq(&row(&ROLE_BINDING, binding));
    expect![[r#"
        Name: x
        Created At: 2026-11-21T11:55:30Z
    "#]]
    .assert_eq(&row(&ROLE, json!({})));
}
