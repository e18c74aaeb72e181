//! What a node may, by the words of its request and by what its pods use.

use expect_test::{Expect, expect};
use kinds::tree;
use serde_json::json;

use super::*;
use crate::chain::authz::tests::roles::furnished;
use crate::tests::bench::PODS;

fn check(verb: &str, what: &str, expected: Expect) {
    let (path, node) = what.split_once('@').unwrap_or((what, ""));
    let mut parts = path.split(' ');
    let (group, resource) = parts.next().and_then(|word| word.split_once(':')).expect("group:resource");
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (namespace, name) = parts.next().and_then(|word| word.split_once('/')).unwrap_or_default();
    let of = Resource { group, resource, subresource, namespace, name, node };
    let shown = match judge("n1", &Attributes { verb, asked: Asked::Resource(of) }) {
        Judged::Here(Opinion::Allowed) => "allowed".to_owned(),
        Judged::Here(Opinion::None) => "no opinion".to_owned(),
        Judged::Here(Opinion::NotByThis(why)) => why,
        other => format!("{other:?}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_node_asks_for_single_things() {
    check("get", ":secrets team/s", expect![[r#"ByUse(Secret, "team/s")"#]]);
    check("watch", ":configmaps team/m", expect![[r#"ByUse(ConfigMap, "team/m")"#]]);
    check("list", ":secrets team/", expect!["No Object name found"]);
    check("list", ":secrets /", expect!["can only read namespaced object of this type"]);
    check("delete", ":secrets team/s", expect!["can only read resources of this type"]);
    check("get", ":persistentvolumeclaims team/c", expect![[r#"ByUse(Claim, "team/c")"#]]);
    check("list", ":persistentvolumeclaims team/", expect!["can only get individual resources of this type"]);
    check("patch", ":persistentvolumeclaims/status team/c", expect![[r#"ByUse(Claim, "team/c")"#]]);
    check("get", ":persistentvolumes /v", expect![[r#"ByVolume("v")"#]]);
    check("create", ":serviceaccounts/token team/a", expect![[r#"ByUse(Account, "team/a")"#]]);
    check(
        "get",
        ":serviceaccounts team/a",
        expect!["can only create tokens for individual service accounts"],
    );
    check("get", ":services team/s", expect!["ByRules"]);
}

#[test]
fn a_node_sees_itself_and_its_pods() {
    check("get", ":nodes /n1", expect!["allowed"]);
    check("get", ":nodes /n2", expect!["node 'n1' cannot read 'n2', only its own Node object"]);
    check("list", ":nodes /", expect!["node 'n1' cannot read all nodes, only its own Node object"]);
    check("patch", ":nodes/status /n1", expect!["allowed"]);
    check("delete", ":nodes /n1", expect!["no opinion"]);
    check("list", ":pods /@n1", expect!["allowed"]);
    check("list", ":pods /@n2", expect!["can only list/watch pods with spec.nodeName field selector"]);
    check("get", ":pods team/p", expect![[r#"ByUse(Pod, "team/p")"#]]);
    check("create", ":pods/eviction team/p", expect!["allowed"]);
    check("create", ":pods/binding team/p", expect!["no opinion"]);
    check("update", "coordination.k8s.io:leases kube-node-lease/n1", expect!["allowed"]);
    check(
        "update",
        "coordination.k8s.io:leases kube-node-lease/n2",
        expect!["can only access node lease with the same name as the requesting node"],
    );
    check(
        "get",
        "coordination.k8s.io:leases team/n1",
        expect![[r#"can only access leases in the "kube-node-lease" system namespace"#]],
    );
}

#[tokio::test]
async fn a_node_reads_what_its_pods_use_and_writes_about_itself() {
    let bench = furnished().await;
    let kubelet = Identity::known("system:node:n1", &["system:nodes"]);
    let secrets = "/api/v1/namespaces/default/secrets";
    for name in ["used", "other"] {
        let secret = json!({"metadata": {"name": name}}).to_string();
        assert_eq!(bench.send("POST", secrets, &secret).await.code, 201);
    }
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "secret": {"secretName": "used"}}],
        },
    });
    assert_eq!(bench.send("POST", PODS, &pod.to_string()).await.code, 201);
    bench.until(&kubelet, 200, "GET", &format!("{secrets}/used")).await;
    expect![[r#"403 Forbidden: secrets "other" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace "default": no relationship found between node 'n1' and this object"#]]
        .assert_eq(&bench.line_as(&kubelet, "GET", &format!("{secrets}/other"), "").await);
    let stranger = Identity::known("system:node:n2", &["system:nodes"]);
    assert!(bench.line_as(&stranger, "GET", &format!("{secrets}/used"), "").await.starts_with("403"));
    assert!(bench.line_as(&kubelet, "GET", "/api/v1/pods", "").await.starts_with("403"));
    let own = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1";
    assert_eq!(bench.line_as(&kubelet, "GET", own, "").await, "200 PodList");
    assert_eq!(bench.line_as(&kubelet, "GET", "/api/v1/services", "").await, "200 ServiceList");

    let node = |name: &str| json!({"metadata": {"name": name}}).to_string();
    assert_eq!(bench.line_as(&kubelet, "POST", "/api/v1/nodes", &node("n1")).await, "201 Node n1");
    expect![[r#"403 Forbidden: nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#]]
        .assert_eq(&bench.line_as(&kubelet, "POST", "/api/v1/nodes", &node("n2")).await);
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(bench.line_as(&kubelet, "POST", lease, &node("n1")).await, "201 Lease n1");
    assert!(bench.line_as(&kubelet, "POST", lease, &node("n2")).await.starts_with("403"));
    let status = bench.get(&format!("{PODS}/p")).await;
    let put = format!("{PODS}/p/status");
    assert_eq!(bench.line_as(&kubelet, "PUT", &put, &status.to_string()).await, "200 Pod p");
    expect![[r#"403 Forbidden: pods "p" is forbidden: node "n2" can only update pod status for pods with spec.nodeName set to itself"#]]
        .assert_eq(&bench.line_as(&stranger, "PUT", &put, &status.to_string()).await);
    expect![[r#"403 Forbidden: pods "p" is forbidden: node "n2" can only delete pods with spec.nodeName set to itself"#]]
        .assert_eq(&bench.line_as(&stranger, "DELETE", &format!("{PODS}/p"), "").await);
    expect![[r#"403 Forbidden: pods "q" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#]]
        .assert_eq(&bench.line_as(&kubelet, "POST", PODS, &pod.to_string().replace(r#""p""#, r#""q""#)).await);
    assert!(
        bench
            .line_as(&kubelet, "DELETE", &format!("{PODS}/p?gracePeriodSeconds=0"), "")
            .await
            .starts_with("200")
    );
    bench.until(&kubelet, 403, "GET", &format!("{secrets}/used")).await;
}

#[tokio::test]
async fn reviews_of_nodes_say_that_rules_do_not_tell_all() {
    let bench = furnished().await;
    let kubelet = Identity::known("system:node:n1", &["system:nodes"]);
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let body = json!({"spec": {"namespace": "default"}}).to_string().into_bytes();
    let answer = crate::tests::bench::Answer::of(bench.open(kubelet, "POST", rules, &[], body).await).await;
    let status = answer.json();
    assert!(tree::flag(&status, "status.incomplete"), "{}", answer.text);
}
