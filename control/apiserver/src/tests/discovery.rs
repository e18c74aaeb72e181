//! Discovery, documents, health, and who may see them.

use expect_test::expect;
use kinds::tree;

use super::bench::{Bench, PODS};
use crate::Identity;

#[tokio::test]
async fn groups_and_resources_are_listed() {
    let bench = Bench::start().await;
    let core = bench.get("/api/v1").await;
    let names: Vec<&str> =
        tree::items(&core, "resources").iter().map(|row| tree::text(row, "name")).collect();
    for name in ["configmaps", "pods", "pods/status", "pods/log", "pods/binding", "namespaces/finalize"] {
        assert!(names.contains(&name), "{name} is missing from {names:?}");
    }
    let apps = bench.get("/apis/apps/v1").await;
    let scale = tree::items(&apps, "resources")
        .iter()
        .find(|row| tree::text(row, "name") == "deployments/scale")
        .expect("deployments/scale is listed");
    assert_eq!((tree::text(scale, "group"), tree::text(scale, "kind")), ("autoscaling", "Scale"));
    assert_eq!(tree::text(&bench.get("/apis").await, "kind"), "APIGroupList");
    assert_eq!(tree::text(&bench.get("/apis/apps").await, "preferredVersion.version"), "v1");
    assert_eq!(tree::text(&bench.get("/version").await, "minor"), "36");
}

#[tokio::test]
async fn aggregated_discovery_has_a_tag() {
    let bench = Bench::start().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let headers = [("accept", accept)];
    let answer = bench.send_with("GET", "/apis", &headers, Vec::new()).await;
    assert_eq!(tree::text(&answer.json(), "apiVersion"), "apidiscovery.k8s.io/v2");
    assert_eq!(
        answer.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let tag = answer.headers["etag"].to_str().unwrap();
    let headers = [("accept", accept), ("if-none-match", tag)];
    assert_eq!(bench.send_with("GET", "/apis", &headers, Vec::new()).await.code, 304);
}

#[tokio::test]
async fn openapi_documents_are_served() {
    let bench = Bench::start().await;
    let index = bench.get("/openapi/v3").await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = bench.get(&url).await;
    assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    let v2 = bench.get("/openapi/v2").await;
    assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let protobuf = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let answer = bench.send_with("GET", "/openapi/v2", &protobuf, Vec::new()).await;
    assert!(answer.code == 200 && !answer.text.is_empty() && !answer.text.starts_with('{'));
}

#[tokio::test]
async fn health_is_reported() {
    let bench = Bench::start().await;
    expect!["200 ok"].assert_eq(&bench.line("GET", "/livez", "").await);
    expect![[r#"
        200 [+]ping ok
        [+]store ok
        [+]shutdown ok
        readyz check passed"#]]
    .assert_eq(&bench.line("GET", "/readyz?verbose", "").await);
    expect!["200 ok"].assert_eq(&bench.line("GET", "/readyz/store", "").await);
    expect!["404 404 page not found"].assert_eq(&bench.line("GET", "/readyz/bogus", "").await);
    expect!["200 up 1"].assert_eq(&bench.line("GET", "/metrics", "").await);
}

#[tokio::test]
async fn strangers_see_health_only() {
    let bench = Bench::start().await;
    bench.server.bootstrap().await.unwrap();
    for (uri, code) in [("/readyz", 200), ("/version", 200), ("/api", 401), (PODS, 401), ("/metrics", 401)] {
        let response = bench.open(Identity::anonymous(), "GET", uri, &[], Vec::new()).await;
        assert_eq!(response.status(), code, "{uri}");
    }
}

#[tokio::test]
async fn bootstrap_is_idempotent() {
    let bench = Bench::start().await;
    for _ in 0..2 {
        bench.server.bootstrap().await.expect("the first objects are made");
    }
    let service = bench.get("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!(tree::text(&service, "spec.clusterIP"), "10.96.0.1");
}

#[tokio::test]
async fn administrators_impersonate() {
    let bench = Bench::start().await;
    bench.server.bootstrap().await.unwrap();
    let as_bob = [("impersonate-user", "bob")];
    let line = bench.line_with("GET", PODS, &as_bob, "").await;
    expect![[r#"403 Forbidden: pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default""#]].assert_eq(&line);
}
