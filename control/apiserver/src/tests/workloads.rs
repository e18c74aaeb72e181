//! Pods and deployments: admission, status, scale, binding, eviction, logs, grace.

use expect_test::expect;
use kinds::tree;

use super::bench::{Bench, PODS};

const POD: &str = r#"{"metadata":{"name":"web"},"spec":{"containers":[{"name":"c","image":"web"}]}}"#;
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const DEPLOYMENT: &str = r#"{"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"web"}]}}}}"#;

#[tokio::test]
async fn a_pod_is_admitted_with_what_it_left_out() {
    let bench = Bench::start().await;
    let pod = bench.send("POST", PODS, POD).await.json();
    assert_eq!(tree::text(&pod, "spec.serviceAccountName"), "default");
    assert_eq!(tree::int(&pod, "spec.priority"), Some(0));
    let tolerations = tree::items(&pod, "spec.tolerations");
    assert_eq!(tolerations.len(), 2);
    assert_eq!(tree::int(&tolerations[0], "tolerationSeconds"), Some(300));
    assert_eq!(tree::text(&pod, "status.phase"), "Pending");
    assert_eq!(tree::int(&pod, "spec.terminationGracePeriodSeconds"), Some(30));
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let bench = Bench::start().await;
    let uid = tree::text(&bench.send("POST", PODS, POD).await.json(), "metadata.uid").to_owned();
    let uri = format!("{PODS}/web/binding");
    let wrong = r#"{"metadata":{"name":"web","uid":"other"},"target":{"kind":"Node","name":"n1"}}"#;
    assert_eq!(bench.send("POST", &uri, wrong).await.code, 409);
    let binding =
        format!(r#"{{"metadata":{{"name":"web","uid":"{uid}"}},"target":{{"kind":"Node","name":"n1"}}}}"#);
    assert_eq!(bench.send("POST", &uri, &binding).await.code, 201);
    let pod = bench.get(&format!("{PODS}/web")).await;
    assert_eq!(tree::text(&pod, "spec.nodeName"), "n1");
    assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
    let line = bench.line("POST", &uri, &binding).await;
    expect![[r#"409 Conflict: Operation cannot be fulfilled on pods/binding "web": pod web is already assigned to node "n1""#]].assert_eq(&line);
}

#[tokio::test]
async fn a_bound_pod_goes_in_its_grace() {
    let bench = Bench::start().await;
    bench.send("POST", PODS, POD).await;
    let web = format!("{PODS}/web");
    let binding = r#"{"metadata":{"name":"web"},"target":{"kind":"Node","name":"n1"}}"#;
    bench.send("POST", &format!("{web}/binding"), binding).await;
    let going = bench.send("DELETE", &web, "").await.json();
    assert_eq!(tree::text(&going, "metadata.deletionTimestamp"), "2026-11-21T00:00:30Z");
    assert_eq!(tree::int(&going, "metadata.deletionGracePeriodSeconds"), Some(30));
    // Asking again changes nothing; asking for less does.
    let again = bench.send("DELETE", &web, "").await.json();
    assert_eq!(again["metadata"], going["metadata"]);
    let sooner = bench.send("DELETE", &web, r#"{"gracePeriodSeconds":5}"#).await.json();
    assert_eq!(tree::text(&sooner, "metadata.deletionTimestamp"), "2026-11-21T00:00:05Z");
    let later = bench.send("DELETE", &web, r#"{"gracePeriodSeconds":60}"#).await.json();
    assert_eq!(later["metadata"], sooner["metadata"]);
    bench.send("DELETE", &web, r#"{"gracePeriodSeconds":0}"#).await;
    assert_eq!(bench.send("GET", &web, "").await.code, 404);
}

#[tokio::test]
async fn an_unbound_pod_goes_at_once_and_eviction_is_a_delete() {
    let bench = Bench::start().await;
    bench.send("POST", PODS, POD).await;
    let eviction = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"web"}}"#;
    let answer = bench.send("POST", &format!("{PODS}/web/eviction"), eviction).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(bench.send("GET", &format!("{PODS}/web"), "").await.code, 404);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let bench = Bench::start().await;
    bench.send("POST", DEPLOYMENTS, DEPLOYMENT).await;
    let d = format!("{DEPLOYMENTS}/d");
    let mut object = bench.get(&d).await;
    tree::set(&mut object, "status.replicas", 2);
    tree::set(&mut object, "spec.replicas", 9);
    let answer = bench.send("PUT", &format!("{d}/status"), &object.to_string()).await.json();
    assert_eq!(
        (tree::int(&answer, "status.replicas"), tree::int(&answer, "spec.replicas")),
        (Some(2), Some(2))
    );
    assert_eq!(tree::int(&answer, "metadata.generation"), Some(1));
    tree::set(&mut object, "metadata.resourceVersion", "");
    tree::remove(&mut object, "status");
    let answer = bench.send("PUT", &d, &object.to_string()).await.json();
    assert_eq!(
        (tree::int(&answer, "status.replicas"), tree::int(&answer, "spec.replicas")),
        (Some(2), Some(9))
    );
    assert_eq!(tree::int(&answer, "metadata.generation"), Some(2));
}

#[tokio::test]
async fn a_deployment_is_scaled() {
    let bench = Bench::start().await;
    bench.send("POST", DEPLOYMENTS, DEPLOYMENT).await;
    let uri = format!("{DEPLOYMENTS}/d/scale");
    let mut scale = bench.get(&uri).await;
    assert_eq!(tree::text(&scale, "kind"), "Scale");
    assert_eq!(tree::text(&scale, "status.selector"), "a=b");
    tree::set(&mut scale, "spec.replicas", 5);
    let scaled = bench.send("PUT", &uri, &scale.to_string()).await;
    assert_eq!(tree::int(&scaled.json(), "spec.replicas"), Some(5));
    let stale = bench.send("PUT", &uri, &scale.to_string().replace(":5", ":6")).await;
    assert_eq!(stale.code, 409);
    let merge = [("content-type", "application/merge-patch+json")];
    let patch = br#"{"spec":{"replicas":1}}"#.to_vec();
    let patched = bench.send_with("PATCH", &uri, &merge, patch).await;
    assert_eq!(tree::int(&patched.json(), "spec.replicas"), Some(1));
    let negative = br#"{"spec":{"replicas":-1}}"#.to_vec();
    assert_eq!(bench.send_with("PATCH", &uri, &merge, negative).await.code, 422);
}

#[tokio::test]
async fn logs_name_what_is_missing() {
    let bench = Bench::start().await;
    let two = POD.replace("\"image\":\"web\"}", "\"image\":\"web\"},{\"name\":\"d\",\"image\":\"web\"}");
    bench.send("POST", PODS, &two).await;
    let log = |query: &'static str| {
        let bench = &bench;
        async move { bench.line("GET", &format!("{PODS}/web/log{query}"), "").await }
    };
    expect!["400 BadRequest: a container name must be specified for pod web, choose one of: [c d]"]
        .assert_eq(&log("").await);
    expect!["400 BadRequest: container x is not valid for pod web"].assert_eq(&log("?container=x").await);
    expect!["200"].assert_eq(&log("?container=c").await);
    let binding = r#"{"metadata":{"name":"web"},"target":{"kind":"Node","name":"n1"}}"#;
    bench.send("POST", &format!("{PODS}/web/binding"), binding).await;
    expect!["500 InternalError: Internal error occurred: node n1 cannot be reached: node n1 has no agent connected"]
        .assert_eq(&log("?container=c").await);
    let mut pod = bench.get(&format!("{PODS}/web")).await;
    let waiting = serde_json::json!([{
        "name": "c", "image": "web", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}},
    }]);
    tree::set(&mut pod, "status.containerStatuses", waiting);
    let answer = bench.send("PUT", &format!("{PODS}/web/status"), &pod.to_string()).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    expect![[r#"400 BadRequest: container "c" in pod "web" is waiting to start: ContainerCreating"#]]
        .assert_eq(&log("?container=c").await);
}
