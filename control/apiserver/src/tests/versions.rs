//! Several versions of one kind, over the API: whichever is written, all are read.

use expect_test::expect;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::Bench;

const EVENTS: &str = "/api/v1/namespaces/default/events";
const NEWER_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const HPAS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const OLDER_HPAS: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";

fn hpa(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3}})
}

async fn make(bench: &Bench, uri: &str, object: Value) -> Value {
    let answer = bench.send("POST", uri, &object.to_string()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json()
}

fn spec(object: &Value) -> String {
    format!("{} {}", object["apiVersion"], object["spec"])
}

#[tokio::test]
async fn an_autoscaler_is_one_object_in_two_versions() {
    let bench = Bench::start().await;
    let made = make(&bench, OLDER_HPAS, hpa("a")).await;
    expect![[r#""autoscaling/v1" {"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3,"minReplicas":1,"targetCPUUtilizationPercentage":80}"#]].assert_eq(&spec(&made));
    let stored = bench.get(&format!("{HPAS}/a")).await;
    expect![[r#""autoscaling/v2" {"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3,"minReplicas":1,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]}"#]].assert_eq(&spec(&stored));
    assert_eq!(made["metadata"]["uid"], stored["metadata"]["uid"]);
    assert_eq!(made["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"]);

    let patch = r#"{"spec":{"targetCPUUtilizationPercentage":50}}"#;
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = bench.send_with("PATCH", &format!("{OLDER_HPAS}/a"), &merge, patch.into()).await;
    expect![[r#""autoscaling/v1" {"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3,"minReplicas":1,"targetCPUUtilizationPercentage":50}"#]].assert_eq(&spec(&patched.json()));
    assert_eq!(tree::int(&patched.json(), "metadata.generation"), Some(2));
    let listed = bench.get(HPAS).await;
    expect![[r#""autoscaling/v2" {"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3,"minReplicas":1,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}]}"#]].assert_eq(&spec(&tree::items(&listed, "items")[0]));
    let older = bench.get(OLDER_HPAS).await;
    assert_eq!(older["apiVersion"], "autoscaling/v1");
    expect![[r#""autoscaling/v1" {"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3,"minReplicas":1,"targetCPUUtilizationPercentage":50}"#]].assert_eq(&spec(&tree::items(&older, "items")[0]));

    // The same again writes nothing, whichever the version.
    let again = bench.send_with("PATCH", &format!("{OLDER_HPAS}/a"), &merge, patch.into()).await;
    assert_eq!(again.revision(), patched.revision());
    let bad = r#"{"spec":{"maxReplicas":0}}"#;
    let refused = bench.line_with("PATCH", &format!("{OLDER_HPAS}/a"), &merge, bad).await;
    expect![[r#"422 Invalid: HorizontalPodAutoscaler.autoscaling "a" is invalid: [spec.maxReplicas: Invalid value: 0: must be greater than 0, spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`]"#]].assert_eq(&refused);
    assert_eq!(bench.line("DELETE", &format!("{OLDER_HPAS}/a"), "").await, "200 Status");
    assert_eq!(bench.send("GET", &format!("{HPAS}/a"), "").await.code, 404);
}

#[tokio::test]
async fn tables_and_watches_are_of_the_version_asked_for() {
    let bench = Bench::start().await;
    let from = make(&bench, HPAS, hpa("a")).await["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let of = async |uri: &str| bench.send_with("GET", uri, &accept, Vec::new()).await.json();
    let (older, newer) = (of(OLDER_HPAS).await, of(HPAS).await);
    expect![[r#"["a","Deployment/web","cpu: <unknown>/80%","1",3,0,"0s"]"#]]
        .assert_eq(&older["rows"][0]["cells"].to_string());
    assert_eq!(older["rows"][0]["cells"], newer["rows"][0]["cells"]);
    assert_eq!(older["columnDefinitions"], newer["columnDefinitions"]);

    let version = from.unwrap_or_default();
    let mut watch =
        bench.watch(&format!("{OLDER_HPAS}?watch=true&timeoutSeconds=5&resourceVersion={version}")).await;
    let scaled = [("content-type", "application/merge-patch+json")];
    bench.send_with("PATCH", &format!("{HPAS}/a"), &scaled, br#"{"spec":{"maxReplicas":9}}"#.to_vec()).await;
    let event = watch.next().await;
    assert_eq!(
        (&event["type"], &event["object"]["apiVersion"]),
        (&json!("MODIFIED"), &json!("autoscaling/v1"))
    );
    assert_eq!(tree::int(&event, "object.spec.targetCPUUtilizationPercentage"), Some(80));
}

#[tokio::test]
async fn an_event_has_two_names() {
    let bench = Bench::start().await;
    let newer = json!({"metadata": {"name": "n"}, "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
        "reason": "Started", "note": "it runs", "type": "Normal", "eventTime": "2026-11-21T00:00:00.000000Z",
        "action": "Start", "reportingController": "example.com/agent", "reportingInstance": "node-1"});
    make(&bench, NEWER_EVENTS, newer).await;
    make(&bench, EVENTS, json!({"metadata": {"name": "o"}, "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
        "reason": "Killing", "message": "it goes", "type": "Normal", "source": {"component": "agent"}, "count": 2})).await;
    let old = bench.get(&format!("{EVENTS}?fieldSelector=involvedObject.name%3Dweb")).await;
    let texts: Vec<&str> =
        tree::items(&old, "items").iter().map(|event| tree::text(event, "message")).collect();
    assert_eq!(texts, ["it runs", "it goes"]);
    let new = bench.get(&format!("{NEWER_EVENTS}?fieldSelector=regarding.name%3Dweb,reason%3DKilling")).await;
    let texts: Vec<&str> = tree::items(&new, "items").iter().map(|event| tree::text(event, "note")).collect();
    assert_eq!(texts, ["it goes"]);
    let refused =
        bench.line("GET", &format!("{NEWER_EVENTS}?fieldSelector=involvedObject.name%3Dweb"), "").await;
    expect!["400 BadRequest: field label not supported: involvedObject.name"].assert_eq(&refused);
    let strict = json!({"metadata": {"name": "s"}, "regarding": {"namespace": "default"}, "type": "Normal"});
    expect![[r#"422 Invalid: Event.events.k8s.io "s" is invalid: eventTime: Required value"#]]
        .assert_eq(&bench.line("POST", NEWER_EVENTS, &strict.to_string()).await);
}

#[tokio::test]
async fn who_manages_a_field_is_known_by_every_name_of_it() {
    let bench = Bench::start().await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let config = |version: &str, spec: Value| {
        let mut object = hpa("a");
        object["apiVersion"] = json!(format!("autoscaling/{version}"));
        object["kind"] = json!("HorizontalPodAutoscaler");
        for (name, value) in spec.as_object().into_iter().flatten() {
            object["spec"][name] = value.clone();
        }
        object.to_string()
    };
    let cpu = |percent: i64| {
        json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent}}}]})
    };
    let uri = format!("{HPAS}/a?fieldManager=newer");
    let made = bench.send_with("PATCH", &uri, &apply, config("v2", cpu(50)).into()).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let older = format!("{OLDER_HPAS}/a?fieldManager=older");
    let want = config("v1", json!({"targetCPUUtilizationPercentage": 60}));
    let refused = bench.line_with("PATCH", &older, &apply, &want).await;
    expect![[r#"409 Conflict: Apply failed with 1 conflict: conflict with "newer": .spec.metrics"#]]
        .assert_eq(&refused);
    let forced = bench.send_with("PATCH", &format!("{older}&force=true"), &apply, want.into()).await;
    assert_eq!(forced.code, 200, "{}", forced.text);
    let managers = tree::items(&forced.json(), "metadata.managedFields")
        .iter()
        .map(|entry| {
            format!(
                "{} {} {}\n",
                tree::text(entry, "manager"),
                tree::text(entry, "apiVersion"),
                entry["fieldsV1"]
            )
        })
        .collect::<String>();
    expect![[r#"
        newer autoscaling/v2 {"f:spec":{"f:maxReplicas":{},"f:scaleTargetRef":{"f:apiVersion":{},"f:kind":{},"f:name":{}}}}
        older autoscaling/v1 {"f:spec":{"f:maxReplicas":{},"f:scaleTargetRef":{},"f:targetCPUUtilizationPercentage":{}}}
    "#]].assert_eq(&managers);
}

#[tokio::test]
async fn given_up_versions_are_served_where_that_is_asked_for() {
    let uri = "/apis/batch/v1beta1/namespaces/default/cronjobs";
    assert_eq!(Bench::start().await.line("GET", uri, "").await, "404 404 page not found");
    let bench = Bench::serving(true).await;
    let job = json!({"metadata": {"name": "a"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}});
    make(&bench, uri, job).await;
    assert_eq!(bench.get("/apis/batch/v1/namespaces/default/cronjobs/a").await["apiVersion"], "batch/v1");
    let groups = bench.get("/apis").await;
    let mut groups = tree::items(&groups, "groups").iter();
    let batch = groups.find(|group| group["name"] == "batch").expect("batch is served");
    expect![[r#"[[{"groupVersion":"batch/v1","version":"v1"},{"groupVersion":"batch/v1beta1","version":"v1beta1"}],{"groupVersion":"batch/v1","version":"v1"}]"#]].assert_eq(&json!([batch["versions"], batch["preferredVersion"]]).to_string());
    let ingress =
        json!({"metadata": {"name": "a"}, "spec": {"backend": {"serviceName": "web", "servicePort": 80}}});
    make(&bench, "/apis/networking.k8s.io/v1beta1/namespaces/default/ingresses", ingress).await;
    let stored = bench.get("/apis/networking.k8s.io/v1/namespaces/default/ingresses/a").await;
    assert_eq!(tree::int(&stored, "spec.defaultBackend.service.port.number"), Some(80));
    let document = bench.get("/openapi/v3/apis/autoscaling/v2beta2").await;
    let of = &document["components"]["schemas"]["io.k8s.api.autoscaling.v2beta2.HorizontalPodAutoscaler"];
    expect![[r#"[{"group":"autoscaling","kind":"HorizontalPodAutoscaler","version":"v2beta2"}]"#]]
        .assert_eq(&of["x-kubernetes-group-version-kind"].to_string());
}
