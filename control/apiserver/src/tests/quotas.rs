//! Quotas: charged in the write, given back in the write, never exceeded.

use expect_test::{Expect, expect};
use futures::future::join_all;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Bench, CONFIG_MAPS, PODS};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const TRANSACTIONS: &str = "/apis/navarch.io/v1/transactions";
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

/// A quota that has been counted: nothing is used.
async fn quota(bench: &Bench, name: &str, spec: Value) {
    let body = json!({"metadata": {"name": name}, "spec": spec});
    let made = bench.send("POST", QUOTAS, &body.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text);
    count(bench, name, 0).await;
}

/// Plays the controller: so much is used of each.
async fn count(bench: &Bench, name: &str, used: i64) {
    let path = format!("{QUOTAS}/{name}");
    let hard = tree::get(&bench.get(&path).await, "spec.hard").clone();
    let used: Value = hard
        .as_object()
        .expect("a map")
        .keys()
        .map(|name| (name.clone(), Value::from(used.to_string())))
        .collect();
    let patch = json!({"status": {"hard": hard, "used": used}}).to_string();
    let done = bench.line_with("PATCH", &format!("{path}/status"), &MERGE, &patch).await;
    assert_eq!(done, format!("200 ResourceQuota {name}"));
}

async fn used(bench: &Bench, name: &str) -> String {
    tree::get(&bench.get(&format!("{QUOTAS}/{name}")).await, "status.used").to_string()
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

async fn create(bench: &Bench, pod: Value, expected: Expect) {
    expected.assert_eq(&bench.line("POST", PODS, &pod.to_string()).await);
}

#[tokio::test]
async fn a_pod_is_charged_and_refused_beyond() {
    let bench = Bench::start().await;
    quota(&bench, "q", json!({"hard": {"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi"}})).await;
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"memory": "256Mi"}});
    create(&bench, pod("a", asks("600m")), expect!["201 Pod a"]).await;
    expect![[r#"{"limits.memory":"256Mi","pods":"1","requests.cpu":"600m"}"#]]
        .assert_eq(&used(&bench, "q").await);
    create(
        &bench,
        pod("b", asks("500m")),
        expect![[r#"403 Forbidden: pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"#]],
    )
    .await;
    create(
        &bench,
        pod("b", json!({})),
        expect![[r#"403 Forbidden: pods "b" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c"#]],
    )
    .await;
    create(&bench, pod("b", asks("400m")), expect!["201 Pod b"]).await;
    create(
        &bench,
        pod("c", asks("1m")),
        expect![[r#"403 Forbidden: pods "c" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=1m, used: pods=2,requests.cpu=1, limited: pods=2,requests.cpu=1"#]],
    )
    .await;
    let dry = bench.line("POST", &format!("{PODS}?dryRun=All"), &pod("c", asks("1m")).to_string()).await;
    assert!(dry.starts_with("403 Forbidden"), "{dry}");
    assert_eq!(bench.send("DELETE", &format!("{PODS}/a"), "").await.code, 200);
    expect![[r#"{"limits.memory":"256Mi","pods":"1","requests.cpu":"400m"}"#]]
        .assert_eq(&used(&bench, "q").await);
    let ended = json!({"status": {"phase": "Succeeded"}}).to_string();
    let done = bench.line_with("PATCH", &format!("{PODS}/b/status"), &MERGE, &ended).await;
    assert_eq!(done, "200 Pod b");
    expect![[r#"{"limits.memory":"0","pods":"0","requests.cpu":"0"}"#]].assert_eq(&used(&bench, "q").await);
    assert_eq!(bench.send("DELETE", &format!("{PODS}/b"), "").await.code, 200);
    expect![[r#"{"limits.memory":"0","pods":"0","requests.cpu":"0"}"#]].assert_eq(&used(&bench, "q").await);
}

#[tokio::test]
async fn a_resize_is_charged() {
    let bench = Bench::start().await;
    quota(&bench, "q", json!({"hard": {"requests.cpu": "1"}})).await;
    create(&bench, pod("a", json!({"requests": {"cpu": "600m"}})), expect!["201 Pod a"]).await;
    let resize = async |cpu: &str| {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let patch = json!({"spec": {"containers": [container]}}).to_string();
        let strategic = [("content-type", "application/strategic-merge-patch+json")];
        bench.line_with("PATCH", &format!("{PODS}/a/resize"), &strategic, &patch).await
    };
    expect![[r#"403 Forbidden: pods "a" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"#]]
        .assert_eq(&resize("1100m").await);
    assert_eq!(resize("200m").await, "200 Pod a");
    assert_eq!(used(&bench, "q").await, r#"{"requests.cpu":"200m"}"#);
}

#[tokio::test]
async fn many_at_once_never_exceed() {
    let bench = Bench::start().await;
    quota(&bench, "few", json!({"hard": {"configmaps": "7", "count/configmaps": "9"}})).await;
    let names: Vec<String> = (0..40).map(|number| format!("m{number}")).collect();
    let made = join_all(names.iter().map(|name| bench.config_map(name))).await;
    let codes: Vec<u16> = made.iter().map(|answer| answer.code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 7, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 201 | 403)), "{codes:?}");
    expect![[r#"{"configmaps":"7","count/configmaps":"7"}"#]].assert_eq(&used(&bench, "few").await);
    let gone = bench.send("DELETE", CONFIG_MAPS, "").await;
    assert_eq!(gone.code, 200);
    expect![[r#"{"configmaps":"0","count/configmaps":"0"}"#]].assert_eq(&used(&bench, "few").await);
}

#[tokio::test]
async fn an_update_that_grows_is_charged_and_one_that_shrinks_gives_back() {
    let bench = Bench::start().await;
    quota(&bench, "q", json!({"hard": {"services": "5", "services.nodeports": "1"}})).await;
    let service = |kind: &str, ports: Value| {
        json!({"metadata": {"name": "a"}, "spec": {"type": kind, "ports": ports}}).to_string()
    };
    let one = json!([{"port": 80}]);
    assert_eq!(bench.line("POST", SERVICES, &service("ClusterIP", one.clone())).await, "201 Service a");
    expect![[r#"{"services":"1","services.nodeports":"0"}"#]].assert_eq(&used(&bench, "q").await);
    let path = format!("{SERVICES}/a");
    let two = json!([{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]);
    expect![[r#"403 Forbidden: services "a" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1"#]]
        .assert_eq(&bench.line("PUT", &path, &service("NodePort", two)).await);
    assert_eq!(bench.line("PUT", &path, &service("NodePort", one.clone())).await, "200 Service a");
    expect![[r#"{"services":"1","services.nodeports":"1"}"#]].assert_eq(&used(&bench, "q").await);
    assert_eq!(bench.line("PUT", &path, &service("ClusterIP", one)).await, "200 Service a");
    expect![[r#"{"services":"1","services.nodeports":"0"}"#]].assert_eq(&used(&bench, "q").await);
}

#[tokio::test]
async fn scopes_choose_what_is_charged() {
    let bench = Bench::start().await;
    quota(&bench, "best", json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]})).await;
    quota(&bench, "rest", json!({"hard": {"pods": "5"}, "scopes": ["NotBestEffort"]})).await;
    create(&bench, pod("a", json!({})), expect!["201 Pod a"]).await;
    create(
        &bench,
        pod("b", json!({})),
        expect![[r#"403 Forbidden: pods "b" is forbidden: exceeded quota: best, requested: pods=1, used: pods=1, limited: pods=1"#]],
    )
    .await;
    create(&bench, pod("b", json!({"requests": {"cpu": "1m"}})), expect!["201 Pod b"]).await;
    assert_eq!(
        (used(&bench, "best").await, used(&bench, "rest").await),
        (r#"{"pods":"1"}"#.into(), r#"{"pods":"1"}"#.into())
    );
    assert_eq!(bench.config_map("free").await.code, 201);
}

#[tokio::test]
async fn a_transaction_is_charged_as_a_whole() {
    let bench = Bench::start().await;
    quota(&bench, "q", json!({"hard": {"configmaps": "2"}})).await;
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
    let list = |names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|name| map(name)).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    };
    expect![[r#"403 Forbidden: operation 2 (create configmaps "c"): configmaps "c" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"#]]
        .assert_eq(&bench.line("POST", TRANSACTIONS, &list(&["a", "b", "c"])).await);
    assert_eq!(used(&bench, "q").await, r#"{"configmaps":"0"}"#);
    assert_eq!(bench.send("POST", TRANSACTIONS, &list(&["a", "b"])).await.code, 201);
    assert_eq!(used(&bench, "q").await, r#"{"configmaps":"2"}"#);
}

#[tokio::test]
async fn a_new_quota_is_waited_for_until_it_is_counted() {
    let bench = Bench::start().await;
    let body = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "9", "pods": "1"}}});
    assert_eq!(bench.send("POST", QUOTAS, &body.to_string()).await.code, 201);
    expect![[
        r#"403 Forbidden: configmaps "a" is forbidden: status unknown for quota: q, resources: configmaps"#
    ]]
    .assert_eq(&bench.config_map("a").await.line());
    let (made, ()) = tokio::join!(bench.config_map("a"), count(&bench, "q", 3));
    assert_eq!(made.line(), "201 ConfigMap a");
    assert_eq!(used(&bench, "q").await, r#"{"configmaps":"4","pods":"3"}"#);
}

#[tokio::test]
async fn whoever_counts_hears_of_what_goes_meanwhile() {
    let bench = Bench::start().await;
    bench.config_map("a").await;
    let body = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "9"}}});
    let made = bench.send("POST", QUOTAS, &body.to_string()).await;
    assert_eq!(bench.send("DELETE", &format!("{CONFIG_MAPS}/a"), "").await.code, 200);
    let counted = json!({"metadata": {"resourceVersion": made.revision().to_string()}, "status": {"used": {"configmaps": "1"}}});
    let late = bench
        .send_with("PATCH", &format!("{QUOTAS}/q/status"), &MERGE, counted.to_string().into_bytes())
        .await;
    assert_eq!(late.code, 409, "{}", late.text);
}

#[tokio::test]
async fn claims_and_volumes_are_kept_while_in_use() {
    let bench = Bench::start().await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let made = bench.send("POST", claims, &claim.to_string()).await.json();
    assert_eq!(tree::get(&made, "metadata.finalizers"), &json!(["kubernetes.io/pvc-protection"]));
    assert_eq!(bench.send("DELETE", &format!("{claims}/c"), "").await.code, 200);
    let going = bench.get(&format!("{claims}/c")).await;
    assert!(!tree::text(&going, "metadata.deletionTimestamp").is_empty());
    let volume = json!({"metadata": {"name": "v", "finalizers": ["lab.io/mine"]}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}});
    let made = bench.send("POST", "/api/v1/persistentvolumes", &volume.to_string()).await.json();
    assert_eq!(
        tree::get(&made, "metadata.finalizers"),
        &json!(["lab.io/mine", "kubernetes.io/pv-protection"])
    );
}
