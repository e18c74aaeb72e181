//! Questions about rights, and the guard against giving more than one has.

use expect_test::expect;
use kinds::tree;
use serde_json::{Value, json};

use super::roles::{BINDINGS, CLUSTER_ROLES, ROLES, bound, furnished, grant, made};
use crate::Identity;
use crate::tests::bench::{Bench, PODS};

const OWN_ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const ACCESS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const LOCAL_ACCESS: &str = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
const OWN_RULES: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
const WHO_AM_I: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const CLUSTER_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

async fn ask(bench: &Bench, who: &Identity, path: &str, question: Value) -> Value {
    let body = question.to_string().into_bytes();
    let response = bench.open(who.clone(), "POST", path, &[], body).await;
    let answer = crate::tests::bench::Answer::of(response).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    tree::get(&answer.json(), "status").clone()
}

fn listing_pods() -> Value {
    json!({"verb": "list", "resource": "pods", "namespace": "default"})
}

#[tokio::test]
async fn everybody_asks_about_themselves() {
    let bench = furnished().await;
    let bob = Identity::known("bob", &["devs"]);
    bench.until(&bob, 200, "GET", "/api").await;
    let own = json!({"spec": {"resourceAttributes": listing_pods()}});
    assert_eq!(ask(&bench, &bob, OWN_ACCESS, own.clone()).await, json!({"allowed": false}));
    grant(&bench, "bob", &["list"], &["pods"]).await;
    bench.until(&bob, 200, "GET", PODS).await;
    expect![[r#"{"allowed":true,"reason":"RBAC: allowed by RoleBinding \"bob/default\" of Role \"bob\" to User \"bob\""}"#]]
        .assert_eq(&ask(&bench, &bob, OWN_ACCESS, own).await.to_string());
    let path = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
    assert_eq!(ask(&bench, &bob, OWN_ACCESS, path).await["allowed"], false);
    expect![[r#"{"userInfo":{"username":"bob","groups":["devs","system:authenticated"]}}"#]]
        .assert_eq(&ask(&bench, &bob, WHO_AM_I, json!({})).await.to_string());
    let rules = ask(&bench, &bob, OWN_RULES, json!({"spec": {"namespace": "default"}})).await;
    let of_bob = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]});
    assert!(tree::items(&rules, "resourceRules").contains(&of_bob), "{rules}");
    assert!(rules["nonResourceRules"].to_string().contains("/openapi/*"), "{rules}");
    let elsewhere = ask(&bench, &bob, OWN_RULES, json!({"spec": {"namespace": "kube-system"}})).await;
    assert!(!tree::items(&elsewhere, "resourceRules").contains(&of_bob), "{elsewhere}");
    expect!["400 BadRequest: no namespace on request"]
        .assert_eq(&bench.line_as(&bob, "POST", OWN_RULES, "{}").await);
}

#[tokio::test]
async fn who_may_asks_about_others_and_nothing_is_stored() {
    let bench = furnished().await;
    let bob = Identity::known("bob", &[]);
    let admin = Identity::known("admin", &["system:masters"]);
    grant(&bench, "ann", &["list"], &["pods"]).await;
    bench.until(&Identity::known("ann", &[]), 200, "GET", PODS).await;
    let about_ann = json!({"spec": {"user": "ann", "resourceAttributes": listing_pods()}});
    expect![[r#"403 Forbidden: subjectaccessreviews.authorization.k8s.io is forbidden: User "bob" cannot create resource "subjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope"#]]
        .assert_eq(&bench.line_as(&bob, "POST", ACCESS, &about_ann.to_string()).await);
    let before = bench.store.revision();
    for path in [ACCESS, LOCAL_ACCESS] {
        assert_eq!(ask(&bench, &admin, path, about_ann.clone()).await["allowed"], true, "{path}");
    }
    assert_eq!(bench.store.revision(), before);
    let elsewhere = json!({"spec": {"user": "ann", "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "other"}}});
    expect![[r#"422 Invalid: LocalSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace"#]].assert_eq(&bench.line("POST", LOCAL_ACCESS, &elsewhere.to_string()).await);
    expect![[r#"422 Invalid: SubjectAccessReview.authorization.k8s.io "" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: "": at least one of user or group must be specified]"#]].assert_eq(&bench.line("POST", ACCESS, r#"{"spec":{}}"#).await);
    expect!["405 MethodNotAllowed: the server does not allow this method on the requested resource"]
        .assert_eq(&bench.line("GET", ACCESS, "").await);
}

#[tokio::test]
async fn nobody_gives_what_they_have_not_got() {
    let bench = furnished().await;
    let cleo = Identity::known("cleo", &[]);
    let rules = json!([
        {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings", "clusterroles"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    // Everything but the special verbs.
    let mut held = rules.clone();
    held[0]["verbs"] = json!(["create", "update", "patch", "get", "list"]);
    made(&bench, CLUSTER_ROLES, json!({"metadata": {"name": "cleo"}, "rules": held})).await;
    made(&bench, CLUSTER_BINDINGS, bound("cleo", "ClusterRole", "cleo")).await;
    bench.until(&cleo, 200, "GET", ROLES).await;
    let role = |name: &str, verbs: &[&str]| {
        let rules = json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]);
        json!({"metadata": {"name": name}, "rules": rules}).to_string()
    };
    let post = async |path: &str, body: &str| bench.line_as(&cleo, "POST", path, body).await;
    assert_eq!(post(ROLES, &role("less", &["get"])).await, "201 Role less");
    expect![[r#"
        403 Forbidden: roles.rbac.authorization.k8s.io "more" is forbidden: user "cleo" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["pods"], Verbs:["watch" "list"]}"#]].assert_eq(&post(ROLES, &role("more", &["get", "watch", "list"])).await);
    let line = bench.line_as(&cleo, "PUT", &format!("{ROLES}/less"), &role("less", &["delete"])).await;
    expect![[r#"
        403 Forbidden: roles.rbac.authorization.k8s.io "less" is forbidden: user "cleo" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#]].assert_eq(&line);
    let gathering = json!({"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    expect![[r#"403 Forbidden: clusterroles.rbac.authorization.k8s.io "all" is forbidden: must have cluster-admin privileges to use an aggregationRule"#]].assert_eq(&post(CLUSTER_ROLES, &gathering.to_string()).await);
    // A binding of what she has, of what she has not, and of nothing.
    made(&bench, ROLES, serde_json::from_str(&role("more", &["get", "list"])).unwrap()).await;
    assert_eq!(post(BINDINGS, &bound("a", "Role", "less").to_string()).await, "201 RoleBinding a");
    expect![[r#"
        403 Forbidden: rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "cleo" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#]].assert_eq(&post(BINDINGS, &bound("b", "Role", "more").to_string()).await);
    expect![[r#"404 NotFound: roles.rbac.authorization.k8s.io "none" not found"#]]
        .assert_eq(&post(BINDINGS, &bound("c", "Role", "none").to_string()).await);
    // With the special verbs she may.
    let special = json!([
        {"verbs": ["escalate", "bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}]);
    made(&bench, CLUSTER_ROLES, json!({"metadata": {"name": "special"}, "rules": special})).await;
    let mut binding = bound("cleo", "ClusterRole", "special");
    binding["metadata"]["name"] = json!("special");
    made(&bench, CLUSTER_BINDINGS, binding).await;
    bench.until(&cleo, 404, "GET", "/api/v1/nodes/n").await;
    assert_eq!(post(ROLES, &role("most", &["*"])).await, "201 Role most");
    assert_eq!(post(BINDINGS, &bound("d", "Role", "more").to_string()).await, "201 RoleBinding d");
}

#[tokio::test]
async fn a_write_that_makes_something_needs_create() {
    let bench = furnished().await;
    let bob = Identity::known("bob", &[]);
    grant(&bench, "bob", &["get", "patch", "update"], &["configmaps", "endpoints"]).await;
    bench.until(&bob, 404, "GET", "/api/v1/namespaces/default/configmaps/c").await;
    let uri = "/api/v1/namespaces/default/configmaps/c?fieldManager=bob";
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}"#;
    let headers = [("content-type", "application/apply-patch+yaml")];
    let apply = async || {
        let response = bench.open(bob.clone(), "PATCH", uri, &headers, body.as_bytes().to_vec()).await;
        crate::tests::bench::Answer::of(response).await.line()
    };
    expect![[r#"403 Forbidden: configmaps "c" is forbidden: User "bob" cannot create resource "configmaps" in API group "" in the namespace "default""#]].assert_eq(&apply().await);
    assert_eq!(bench.config_map("c").await.code, 201);
    assert_eq!(apply().await, "200 ConfigMap c");
    let endpoints = "/api/v1/namespaces/default/endpoints/e";
    expect![[r#"403 Forbidden: endpoints "e" is forbidden: User "bob" cannot create resource "endpoints" in API group "" in the namespace "default""#]].assert_eq(&bench.line_as(&bob, "PUT", endpoints, r#"{"metadata":{"name":"e"}}"#).await);
}
