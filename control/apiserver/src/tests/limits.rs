//! LimitRanges, and what pods and claims get and must not ask for.

use expect_test::expect;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Bench, PODS};

const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

async fn limited(limits: Value) -> Bench {
    let bench = Bench::start().await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": limits}});
    assert_eq!(bench.line("POST", RANGES, &range.to_string()).await, "201 LimitRange l");
    bench
}

/// What became of a pod whose containers ask for these resources.
async fn pod(bench: &Bench, name: &str, containers: &[Value]) -> String {
    let containers: Vec<Value> = (0..)
        .zip(containers)
        .map(
            |(number, resources)| json!({"name": format!("c{number}"), "image": "i", "resources": resources}),
        )
        .collect();
    let pod = json!({"metadata": {"name": name}, "spec": {"containers": containers}});
    let line = bench.line("POST", PODS, &pod.to_string()).await;
    if !line.starts_with("201") {
        return line;
    }
    let pod = bench.get(&format!("{PODS}/{name}")).await;
    let resources: Vec<String> = tree::items(&pod, "spec.containers")
        .iter()
        .map(|container| tree::get(container, "resources").to_string())
        .collect();
    let told = kinds::meta::annotation(&pod, "kubernetes.io/limit-ranger").unwrap_or_default();
    format!("{} | {told}", resources.join(" "))
}

#[tokio::test]
async fn containers_get_what_they_do_not_say() {
    let bench = limited(json!([{"type": "Container", "default": {"cpu": "500m", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}}])).await;
    expect![[r#"{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"cpu":"500m","memory":"64Mi"}} | LimitRanger plugin set: cpu, memory request for container c0; cpu, memory limit for container c0"#]].assert_eq(&pod(&bench, "p1", &[json!({})]).await);
    expect![[r#"{"limits":{"cpu":"1","memory":"1Mi"},"requests":{"cpu":"1","memory":"1Mi"}} | "#]].assert_eq(
        &pod(
            &bench,
            "p2",
            &[json!({"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "1", "memory": "1Mi"}})],
        )
        .await,
    );
}

#[tokio::test]
async fn pods_stay_within_their_limits() {
    let bench = limited(json!([
        {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"},
         "maxLimitRequestRatio": {"cpu": "2"}},
        {"type": "Pod", "max": {"cpu": "1500m"}}])).await;
    expect![[r#"403 Forbidden: pods "p1" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m, minimum cpu usage per Container is 100m, but limit is 80m]"#]].assert_eq(
        &pod(&bench, "p1", &[json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "80m"}})]).await,
    );
    expect![[r#"403 Forbidden: pods "p2" is forbidden: [maximum cpu usage per Container is 1, but limit is 3, maximum cpu usage per Container is 1, but request is 2, maximum cpu usage per Pod is 1500m, but limit is 3, maximum cpu usage per Pod is 1500m, but request is 2]"#]]
        .assert_eq(&pod(&bench, "p2", &[json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3"}})]).await);
    expect![[r#"403 Forbidden: pods "p3" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000"#]]
        .assert_eq(&pod(&bench, "p3", &[json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}})]).await);
    expect![[r#"403 Forbidden: pods "p4" is forbidden: [maximum cpu usage per Pod is 1500m, but limit is 2, maximum cpu usage per Pod is 1500m, but request is 2]"#]].assert_eq(&pod(&bench, "p4", &[json!({}), json!({})]).await);
}

#[tokio::test]
async fn claims_stay_within_their_limits() {
    let bench = limited(
        json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]),
    )
    .await;
    let claim = |size: &str| {
        json!({"metadata": {"name": format!("c{}", size.to_lowercase())},
               "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}})
    };
    expect![[r#"403 Forbidden: persistentvolumeclaims "c500mi" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"#]].assert_eq(&bench.line("POST", CLAIMS, &claim("500Mi").to_string()).await);
    expect![[r#"403 Forbidden: persistentvolumeclaims "c3gi" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"#]].assert_eq(&bench.line("POST", CLAIMS, &claim("3Gi").to_string()).await);
    expect!["201 PersistentVolumeClaim c2gi"]
        .assert_eq(&bench.line("POST", CLAIMS, &claim("2Gi").to_string()).await);
}
