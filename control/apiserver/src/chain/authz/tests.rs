//! Deciding: here by the index alone, without a store; below over the whole server.

mod reviews;
pub(crate) mod roles;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::book::Book;
use super::*;

fn role(rules: Value) -> Value {
    json!({"rules": rules})
}

fn binding(namespace: &str, kind: &str, role: &str, subjects: Value) -> Value {
    json!({"metadata": {"name": format!("{role}s"), "namespace": namespace}, "roleRef": {"kind": kind, "name": role}, "subjects": subjects})
}

/// ann reads pods everywhere, devs write them in `team`, the account `team/robot` and bob miss a role.
fn book() -> Book {
    let mut book = Book::default();
    let rule = |verbs: &[&str]| json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]);
    book.set(0, "reader", Some(&role(rule(&["get", "list"]))));
    book.set(1, "team/writer", Some(&role(rule(&["create", "delete"]))));
    book.set(
        0,
        "looker",
        Some(&role(json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]}]))),
    );
    let ann = json!([{"kind": "User", "name": "ann"}]);
    book.set(2, "b", Some(&binding("", "ClusterRole", "reader", ann.clone())));
    book.set(2, "c", Some(&binding("", "ClusterRole", "looker", ann)));
    let devs = json!([{"kind": "Group", "name": "devs"}, {"kind": "ServiceAccount", "name": "robot"}]);
    book.set(3, "team/b", Some(&binding("team", "Role", "writer", devs)));
    let bob = json!([{"kind": "User", "name": "bob"}]);
    book.set(3, "team/lost", Some(&binding("team", "Role", "gone", bob.clone())));
    book.set(2, "lost", Some(&binding("", "ClusterRole", "gone", bob)));
    book
}

fn check(who: &Identity, method: &str, uri: &str, expected: Expect) {
    let roles = book().roles();
    let method: http::Method = method.parse().unwrap();
    let info = RequestInfo::parse(&method, &uri.parse().unwrap());
    let (verb, name) = (method_verb(&method), name_of(&info));
    let asked = Attributes::of(&info, &verb, &name);
    let answer = match allowing(&roles, who, &asked) {
        Some(grant) => format!("allowed by {}", grant.describe()),
        None => refusal(who, &asked, &complaints(&roles, who, &asked)).message().to_owned(),
    };
    expected.assert_eq(&answer);
}

#[test]
fn bindings_give_roles_to_subjects() {
    let ann = Identity::known("ann", &[]);
    let dev = Identity::known("dan", &["devs"]);
    let robot = Identity::known("system:serviceaccount:team:robot", &[]);
    let stranger = Identity::known("system:serviceaccount:other:robot", &[]);
    check(
        &ann,
        "GET",
        "/api/v1/pods",
        expect![[r#"allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to User "ann""#]],
    );
    check(
        &ann,
        "GET",
        "/api/v1/namespaces/team/pods/p",
        expect![[r#"allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to User "ann""#]],
    );
    check(
        &ann,
        "POST",
        "/api/v1/namespaces/team/pods",
        expect![[
            r#"pods is forbidden: User "ann" cannot create resource "pods" in API group "" in the namespace "team""#
        ]],
    );
    check(
        &dev,
        "POST",
        "/api/v1/namespaces/team/pods",
        expect![[r#"allowed by RoleBinding "writers/team" of Role "writer" to Group "devs""#]],
    );
    check(
        &dev,
        "POST",
        "/api/v1/namespaces/other/pods",
        expect![[
            r#"pods is forbidden: User "dan" cannot create resource "pods" in API group "" in the namespace "other""#
        ]],
    );
    check(
        &dev,
        "DELETE",
        "/api/v1/namespaces/team/pods",
        expect![[
            r#"pods is forbidden: User "dan" cannot deletecollection resource "pods" in API group "" in the namespace "team""#
        ]],
    );
    check(
        &robot,
        "DELETE",
        "/api/v1/namespaces/team/pods/p",
        expect![[r#"allowed by RoleBinding "writers/team" of Role "writer" to ServiceAccount "robot/team""#]],
    );
    check(
        &stranger,
        "DELETE",
        "/api/v1/namespaces/team/pods/p",
        expect![[
            r#"pods "p" is forbidden: User "system:serviceaccount:other:robot" cannot delete resource "pods" in API group "" in the namespace "team""#
        ]],
    );
}

#[test]
fn refusals_say_what_and_where() {
    let ann = Identity::known("ann", &[]);
    let bob = Identity::known("bob", &[]);
    check(
        &ann,
        "GET",
        "/metrics",
        expect![[r#"allowed by ClusterRoleBinding "lookers" of ClusterRole "looker" to User "ann""#]],
    );
    check(
        &ann,
        "HEAD",
        "/logs/a",
        expect![[r#"allowed by ClusterRoleBinding "lookers" of ClusterRole "looker" to User "ann""#]],
    );
    check(&ann, "POST", "/metrics", expect![[r#"forbidden: User "ann" cannot post path "/metrics""#]]);
    check(
        &ann,
        "GET",
        "/apis/apps/v1/namespaces/a/deployments/d/scale",
        expect![[
            r#"deployments.apps "d" is forbidden: User "ann" cannot get resource "deployments/scale" in API group "apps" in the namespace "a""#
        ]],
    );
    check(
        &ann,
        "GET",
        "/api/v1/namespaces/a",
        expect![[
            r#"namespaces "a" is forbidden: User "ann" cannot get resource "namespaces" in API group "" in the namespace "a""#
        ]],
    );
    check(
        &ann,
        "GET",
        "/api/v1/nodes",
        expect![[
            r#"nodes is forbidden: User "ann" cannot list resource "nodes" in API group "" at the cluster scope"#
        ]],
    );
    check(
        &ann,
        "GET",
        "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dx",
        expect![[
            r#"secrets "x" is forbidden: User "ann" cannot list resource "secrets" in API group "" in the namespace "a""#
        ]],
    );
    check(
        &bob,
        "GET",
        "/api/v1/pods",
        expect![[
            r#"pods is forbidden: User "bob" cannot list resource "pods" in API group "" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#
        ]],
    );
    check(
        &bob,
        "GET",
        "/api/v1/namespaces/team/pods",
        expect![[
            r#"pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "team": RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, role.rbac.authorization.k8s.io "gone" not found]"#
        ]],
    );
}

#[test]
fn health_is_for_everybody() {
    let about = |verb, path| Attributes { verb, asked: Asked::Path(path) }.is_about_health();
    assert!(about("get", "/readyz") && about("get", "/livez/ping"));
    assert!(!about("post", "/readyz") && !about("get", "/readyzzz") && !about("get", "/metrics"));
}
