//! RBAC over the whole server: first roles, fresh rules, impersonation, and that nothing is open to everybody.

use expect_test::expect;
use kinds::{Review, Verb};
use serde_json::{Value, json};

use crate::Identity;
use crate::chain::authn::MASTERS;
use crate::tests::bench::{Bench, PODS};

pub(super) const CLUSTER_ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
pub(super) const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
pub(super) const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";

pub(crate) async fn furnished() -> Bench {
    let bench = Bench::start().await;
    bench.server.bootstrap().await.unwrap();
    bench
}

pub(super) async fn made(bench: &Bench, path: &str, object: Value) {
    let answer = bench.send("POST", path, &object.to_string()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
}

/// `user` may `verbs` `resources` of the core in the namespace `default`.
pub(super) async fn grant(bench: &Bench, user: &str, verbs: &[&str], resources: &[&str]) {
    let rules = json!([{"verbs": verbs, "apiGroups": [""], "resources": resources}]);
    made(bench, ROLES, json!({"metadata": {"name": user}, "rules": rules})).await;
    made(bench, BINDINGS, bound(user, "Role", user)).await;
}

pub(super) fn bound(name: &str, kind: &str, role: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}],
    })
}

#[tokio::test]
async fn rules_hold_as_soon_as_they_are_known() {
    let bench = furnished().await;
    let bob = Identity::known("bob", &[]);
    expect![[r#"403 Forbidden: pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default""#]]
        .assert_eq(&bench.line_as(&bob, "GET", PODS, "").await);
    grant(&bench, "bob", &["list"], &["pods"]).await;
    bench.until(&bob, 200, "GET", PODS).await;
    expect![[r#"403 Forbidden: pods "p" is forbidden: User "bob" cannot get resource "pods" in API group "" in the namespace "default""#]]
        .assert_eq(&bench.line_as(&bob, "GET", &format!("{PODS}/p"), "").await);
    bench.send("DELETE", &format!("{ROLES}/bob"), "").await;
    bench.until(&bob, 403, "GET", PODS).await;
    expect![[r#"403 Forbidden: pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default": RBAC: role.rbac.authorization.k8s.io "bob" not found"#]]
        .assert_eq(&bench.line_as(&bob, "GET", PODS, "").await);
}

#[tokio::test]
async fn everybody_reads_discovery_and_strangers_health() {
    let bench = furnished().await;
    let bob = Identity::known("bob", &[]);
    for path in ["/api", "/apis/apps/v1", "/openapi/v2", "/version", "/readyz"] {
        bench.until(&bob, 200, "GET", path).await;
    }
    assert_eq!(
        bench.line_as(&bob, "GET", "/metrics", "").await,
        r#"403 Forbidden: forbidden: User "bob" cannot get path "/metrics""#
    );
    let nobody = Identity::anonymous();
    bench.until(&nobody, 200, "GET", "/version").await;
    assert_eq!(bench.line_as(&nobody, "GET", "/api", "").await, "401 Unauthorized: Unauthorized");
}

#[tokio::test]
async fn a_second_start_writes_nothing_and_a_third_mends() {
    let bench = furnished().await;
    let before = bench.store.revision();
    bench.server.bootstrap().await.unwrap();
    assert_eq!(bench.store.revision(), before);
    let basic = format!("{CLUSTER_ROLES}/system:basic-user");
    let whole = bench.get(&basic).await;
    bench.send("DELETE", &format!("{CLUSTER_ROLES}/view"), "").await;
    bench
        .send_with(
            "PATCH",
            &basic,
            &[("content-type", "application/merge-patch+json")],
            br#"{"rules":[]}"#.to_vec(),
        )
        .await;
    bench.server.bootstrap().await.unwrap();
    let count = |object: &Value| kinds::tree::items(object, "rules").len();
    assert!(count(&whole) > 0);
    let mended = bench.get(&basic).await;
    assert!(count(&mended) > 0, "{mended}");
    assert_eq!(bench.send("GET", &format!("{CLUSTER_ROLES}/view"), "").await.code, 200);
}

#[tokio::test]
async fn impersonation_is_a_right_like_others() {
    let bench = furnished().await;
    let bob = Identity::known("bob", &[]);
    let answer = async |headers: &[(&str, &str)]| {
        let response = bench.open(bob.clone(), "GET", PODS, headers, Vec::new()).await;
        crate::tests::bench::Answer::of(response).await.line()
    };
    expect![[r#"403 Forbidden: users "ann" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster scope"#]]
        .assert_eq(&answer(&[("impersonate-user", "ann")]).await);
    expect![[r#"403 Forbidden: serviceaccounts "robot" is forbidden: User "bob" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "default""#]]
        .assert_eq(&answer(&[("impersonate-user", "system:serviceaccount:default:robot")]).await);
    expect!["400 BadRequest: requested groups without impersonating a user"]
        .assert_eq(&answer(&[("impersonate-group", "devs")]).await);
    let rules = json!([
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["ann"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"], "resourceNames": ["view"]}]);
    made(&bench, CLUSTER_ROLES, json!({"metadata": {"name": "actor"}, "rules": rules})).await;
    made(
        &bench,
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        bound("bob", "ClusterRole", "actor"),
    )
    .await;
    grant(&bench, "ann", &["list"], &["pods"]).await;
    let ann = Identity::known("ann", &[]);
    bench.until(&ann, 200, "GET", PODS).await;
    assert_eq!(
        answer(&[("impersonate-user", "ann"), ("impersonate-extra-scopes", "view")]).await,
        "200 PodList"
    );
    expect![[r#"403 Forbidden: groups "system:masters" is forbidden: User "bob" cannot impersonate resource "groups" in API group "" at the cluster scope"#]]
        .assert_eq(&answer(&[("impersonate-user", "ann"), ("impersonate-group", MASTERS)]).await);
    expect![[r#"403 Forbidden: userextras.authentication.k8s.io "all" is forbidden: User "bob" cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope"#]]
        .assert_eq(&answer(&[("impersonate-user", "ann"), ("impersonate-extra-scopes", "all")]).await);
    expect![[r#"403 Forbidden: uids.authentication.k8s.io "7" is forbidden: User "bob" cannot impersonate resource "uids" in API group "authentication.k8s.io" at the cluster scope"#]]
        .assert_eq(&answer(&[("impersonate-user", "ann"), ("impersonate-uid", "7")]).await);
}

/// Every kind, verb and subresource refuses who has no role, in the same words.
#[tokio::test]
async fn without_a_role_nothing_is_open() {
    let bench = furnished().await;
    let bob = Identity::known("bob", &[]);
    let mut routes = 0;
    // Everybody may ask about themselves.
    let asks_of_others = |kind: &&kinds::Kind| {
        !matches!(kind.strategy.review, Some(Review::OwnAccess | Review::OwnRules | Review::OwnIdentity))
    };
    for kind in kinds::ALL.iter().chain(kinds::LEGACY).copied().filter(asks_of_others) {
        let group = if kind.group.is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{}", kind.api_version())
        };
        let (within, place) = match kind.namespaced {
            true => ("/namespaces/default", r#"in the namespace "default""#),
            false => ("", "at the cluster scope"),
        };
        let all = format!("{group}{within}/{}", kind.plural);
        let own = kind.verbs.iter().map(|verb| (*verb, kind.plural.to_owned(), String::new()));
        let below = kind.subresources.iter().flat_map(|below| {
            let what = format!("{}/{}", kind.plural, below.name);
            below.verbs.iter().map(move |verb| (*verb, what.clone(), format!("/{}", below.name)))
        });
        for (verb, what, suffix) in own.chain(below) {
            let named =
                !suffix.is_empty() || matches!(verb, Verb::Get | Verb::Update | Verb::Patch | Verb::Delete);
            let name = if named { "/x" } else { "" };
            let watch = if verb == Verb::Watch { "?watch=true" } else { "" };
            let line = bench.line_as(&bob, method(verb), &format!("{all}{name}{suffix}{watch}"), "").await;
            let subject = if named { format!("{} \"x\"", kind.resource()) } else { kind.resource() };
            let place = if named && kind.plural == "namespaces" { r#"in the namespace "x""# } else { place };
            let why = format!(
                r#"User "bob" cannot {} resource "{what}" in API group "{}" {place}"#,
                verb.as_str(),
                kind.group
            );
            assert_eq!(line, format!("403 Forbidden: {subject} is forbidden: {why}"));
            routes += 1;
        }
    }
    assert!(routes > 300, "{routes}");
}

fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Get | Verb::List | Verb::Watch => "GET",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete | Verb::DeleteCollection => "DELETE",
    }
}
