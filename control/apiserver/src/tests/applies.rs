//! Server-side apply, and who manages what after other writes.

use expect_test::{Expect, expect};
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Answer, Bench, CONFIG_MAPS};

const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn map(color: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: p1}}\ndata: {{color: {color}}}\n")
}

async fn apply(bench: &Bench, query: &str, body: &str) -> Answer {
    let uri = format!("{CONFIG_MAPS}/p1?{query}");
    bench.send_with("PATCH", &uri, &[APPLY], body.as_bytes().to_vec()).await
}

/// A line for each manager: `m1 Apply v1 {fields}`.
fn managers(object: &Value) -> String {
    let line = |entry: &Value| {
        let mut line = format!(
            "{} {} {} {}",
            tree::text(entry, "manager"),
            tree::text(entry, "operation"),
            tree::text(entry, "apiVersion"),
            entry["fieldsV1"]
        );
        let subresource = tree::text(entry, "subresource");
        if !subresource.is_empty() {
            line.push_str(&format!(" on {subresource}"));
        }
        line
    };
    tree::items(object, "metadata.managedFields").iter().map(line).collect::<Vec<_>>().join("\n")
}

fn check(answer: &Answer, expected: Expect) {
    let mut shown = answer.line();
    let object = answer.json();
    if answer.code < 300 {
        shown.push_str(&format!("\n{}", managers(&object)));
    }
    for cause in tree::items(&object, "details.causes") {
        shown.push_str(&format!("\n{cause}"));
    }
    expected.assert_eq(shown.trim_end());
}

#[tokio::test]
async fn the_probes_of_a_real_server() {
    let bench = Bench::start().await;
    check(
        &apply(&bench, "", &map("red")).await,
        expect![[r#"
        422 Invalid: PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch
        {"reason":"FieldValueRequired","message":"Required value: is required for apply patch","field":"fieldManager"}"#]],
    );
    let dry = apply(&bench, "fieldManager=m1&dryRun=All", &map("red")).await;
    assert_eq!((dry.code, bench.send("GET", &format!("{CONFIG_MAPS}/p1"), "").await.code), (201, 404));
    let created = apply(&bench, "fieldManager=m1", &map("red")).await;
    check(
        &created,
        expect![[r#"
        201 ConfigMap p1
        m1 Apply v1 {"f:data":{"f:color":{}}}"#]],
    );
    let again = apply(&bench, "fieldManager=m1", &map("red")).await;
    assert_eq!((again.code, &again.text), (200, &created.text));
    check(
        &apply(&bench, "fieldManager=m2", &map("blue")).await,
        expect![[r#"
        409 Conflict: Apply failed with 1 conflict: conflict with "m1": .data.color
        {"reason":"FieldManagerConflict","message":"conflict with \"m1\"","field":".data.color"}"#]],
    );
    check(
        &apply(&bench, "fieldManager=m2&force=true", &map("blue")).await,
        expect![[r#"
        200 ConfigMap p1
        m2 Apply v1 {"f:data":{"f:color":{}}}"#]],
    );
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p1","managedFields":[]}}"#;
    check(
        &apply(&bench, "fieldManager=m1", body).await,
        expect!["400 BadRequest: metadata.managedFields must be nil"],
    );
    check(
        &apply(&bench, "fieldManager=m1", "data: {}").await,
        expect!["400 BadRequest: invalid object type: /, Kind="],
    );
    let body = map("red").replace("p1", "q");
    check(
        &apply(&bench, "fieldManager=m1", &body).await,
        expect![[r#"
        409 Conflict: Apply failed with 1 conflict: conflict with "m2": .data.color
        {"reason":"FieldManagerConflict","message":"conflict with \"m2\"","field":".data.color"}"#]],
    );
    check(
        &apply(&bench, "fieldManager=m1&force=true", &body).await,
        expect!["400 BadRequest: the name of the object (q) does not match the name on the URL (p1)"],
    );
    let uri = format!("{CONFIG_MAPS}/p1?force=false");
    let forced = bench.send_with("PATCH", &uri, &[MERGE], b"{}".to_vec()).await;
    check(
        &forced,
        expect![[r#"
        422 Invalid: PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch
        {"reason":"FieldValueForbidden","message":"Forbidden: may not be specified for non-apply patch","field":"force"}"#]],
    );
    let reset = br#"{"metadata":{"managedFields":[{}]}}"#.to_vec();
    let reset = bench.send_with("PATCH", &format!("{CONFIG_MAPS}/p1"), &[MERGE], reset).await;
    check(&reset, expect!["200 ConfigMap p1"]);
    assert_eq!(tree::get(&reset.json(), "metadata.managedFields"), &Value::Null);
}

#[tokio::test]
async fn what_cannot_be_applied() {
    let bench = Bench::start().await;
    check(
        &apply(&bench, "fieldManager=m1", "{").await,
        expect![
            "400 BadRequest: error decoding YAML: error converting YAML to JSON: yaml: unclosed bracket '{' at char 0 line 1 column 1"
        ],
    );
    check(
        &apply(&bench, "fieldManager=m1", "[1]").await,
        expect![
            "400 BadRequest: error decoding YAML: json: cannot unmarshal array into Go value of type map[string]interface {}"
        ],
    );
    check(
        &apply(&bench, "fieldManager=m1", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p1}\nfoo: 1\n")
            .await,
        expect![
            "500 : failed to create typed patch object (/p1; /v1, Kind=ConfigMap): .foo: field not declared in schema"
        ],
    );
    check(
        &apply(&bench, "fieldManager=m1", "apiVersion: v1\nkind: ConfigMap\ndata: {}\n").await,
        expect![
            "400 BadRequest: the name of the object (p1 based on URL) was undeterminable: name must be provided"
        ],
    );
    check(
        &apply(&bench, "fieldManager=m1", &map("red").replace("name: p1", "name: p1, uid: u")).await,
        expect![[
            r#"409 Conflict: Operation cannot be fulfilled on configmaps "p1": uid mismatch: the provided object specified uid u, and no existing object was found"#
        ]],
    );
    let twice = format!("{}data: {{}}\n", map("red"));
    check(
        &apply(&bench, "fieldManager=m1&fieldValidation=Strict", &twice).await,
        expect![[
            r#"400 BadRequest: error decoding YAML: error converting YAML to JSON: key "data" already set in map"#
        ]],
    );
    apply(&bench, "fieldManager=m1", &map("red")).await;
    let stale = map("blue").replace("name: p1", "name: p1, resourceVersion: \"1\"");
    check(
        &apply(&bench, "fieldManager=m1", &stale).await,
        expect![[
            r#"409 Conflict: Operation cannot be fulfilled on configmaps "p1": the object has been modified; please apply your changes to the latest version and try again"#
        ]],
    );
    let long = "x".repeat(129);
    check(
        &apply(&bench, &format!("fieldManager={long}"), &map("red")).await,
        expect![[r#"
        422 Invalid: PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes
        {"reason":"FieldValueTooLong","message":"Too long: may not be more than 128 bytes","field":"fieldManager"}"#]],
    );
    let cbor = [("content-type", "application/apply-patch+cbor")];
    let refused =
        bench.send_with("PATCH", &format!("{CONFIG_MAPS}/p1?fieldManager=m"), &cbor, b"{}".to_vec()).await;
    check(
        &refused,
        expect![
            "415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
        ],
    );
}

#[tokio::test]
async fn every_write_has_a_manager() {
    let bench = Bench::start().await;
    let agent = ("user-agent", "kubectl/v1.36.0 (linux/amd64)");
    let body = r#"{"metadata":{"name":"p1","labels":{"a":"1"}},"data":{"color":"red"}}"#;
    let created = bench.send_with("POST", CONFIG_MAPS, &[agent], body.as_bytes().to_vec()).await;
    check(
        &created,
        expect![[r#"
        201 ConfigMap p1
        kubectl Update v1 {"f:data":{".":{},"f:color":{}},"f:metadata":{"f:labels":{".":{},"f:a":{}}}}"#]],
    );
    let uri = format!("{CONFIG_MAPS}/p1");
    let patch = br#"{"data":{"color":"blue","size":"1"}}"#.to_vec();
    let patched = bench.send_with("PATCH", &format!("{uri}?fieldManager=edit"), &[MERGE], patch).await;
    check(
        &patched,
        expect![[r#"
            200 ConfigMap p1
            edit Update v1 {"f:data":{"f:color":{},"f:size":{}}}
            kubectl Update v1 {"f:data":{},"f:metadata":{"f:labels":{".":{},"f:a":{}}}}"#]],
    );
    let mut object = patched.json();
    let unchanged = bench.send("PUT", &uri, &object.to_string()).await;
    assert_eq!((unchanged.code, unchanged.revision()), (200, patched.revision()));
    tree::remove(&mut object, "metadata.managedFields");
    tree::set(&mut object, "metadata.labels", json!({"a": "2"}));
    check(
        &bench.send("PUT", &uri, &object.to_string()).await,
        expect![[r#"
            200 ConfigMap p1
            edit Update v1 {"f:data":{"f:color":{},"f:size":{}}}
            kubectl Update v1 {"f:data":{},"f:metadata":{"f:labels":{}}}
            unknown Update v1 {"f:metadata":{"f:labels":{"f:a":{}}}}"#]],
    );
}

fn deployment(extra: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web","labels":{{"app":"web"}}}},
        "spec":{{{extra}"selector":{{"matchLabels":{{"app":"web"}}}},"template":{{"metadata":{{"labels":{{"app":"web"}}}},
        "spec":{{"containers":[{{"name":"c","image":"nginx:1","ports":[{{"containerPort":80}}]}}]}}}}}}}}"#
    )
}

#[tokio::test]
async fn status_and_scale_are_applied_apart() {
    let bench = Bench::start().await;
    let uri = format!("{DEPLOYMENTS}/web");
    let send = |path: String, body: String| {
        let bench = &bench;
        async move { bench.send_with("PATCH", &path, &[APPLY], body.into_bytes()).await }
    };
    let created =
        send(format!("{uri}?fieldManager=kubectl&force=false"), deployment(r#""replicas":2,"#)).await;
    check(
        &created,
        expect![[r#"
        201 Deployment web
        kubectl Apply apps/v1 {"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}"#]],
    );
    let again = send(format!("{uri}?fieldManager=kubectl&force=false"), deployment(r#""replicas":2,"#)).await;
    assert_eq!((again.code, again.revision()), (200, created.revision()));
    let scale =
        r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"web"},"spec":{"replicas":5}}"#;
    check(
        &send(format!("{uri}/scale?fieldManager=hpa"), scale.to_owned()).await,
        expect![[r#"
        409 Conflict: Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas
        {"reason":"FieldManagerConflict","message":"conflict with \"kubectl\"","field":".spec.replicas"}"#]],
    );
    let scaled = send(format!("{uri}/scale?fieldManager=hpa&force=true"), scale.to_owned()).await;
    expect!["200 Scale web"].assert_eq(&scaled.line());
    let status = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":9},"status":{"replicas":3}}"#;
    check(
        &send(format!("{uri}/status?fieldManager=ctl"), status.to_owned()).await,
        expect![[r#"
        200 Deployment web
        ctl Apply apps/v1 {"f:status":{"f:replicas":{}}} on status
        hpa Apply apps/v1 {"f:spec":{"f:replicas":{}}} on scale
        kubectl Apply apps/v1 {"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}"#]],
    );
    let found = bench.get(&uri).await;
    let numbers = [
        tree::int(&found, "spec.replicas"),
        tree::int(&found, "status.replicas"),
        tree::int(&found, "metadata.generation"),
    ];
    assert_eq!(numbers, [Some(5), Some(3), Some(2)]);
    check(
        &send(format!("{uri}?fieldManager=kubectl&force=false"), deployment(r#""replicas":2,"#)).await,
        expect![[r#"
        409 Conflict: Apply failed with 1 conflict: conflict with "hpa" with subresource "scale": .spec.replicas
        {"reason":"FieldManagerConflict","message":"conflict with \"hpa\" with subresource \"scale\"","field":".spec.replicas"}"#]],
    );
    // Who stops asking for a number leaves it to the other.
    check(
        &send(format!("{uri}?fieldManager=kubectl&force=false"), deployment("")).await,
        expect![[r#"
        200 Deployment web
        ctl Apply apps/v1 {"f:status":{"f:replicas":{}}} on status
        hpa Apply apps/v1 {"f:spec":{"f:replicas":{}}} on scale
        kubectl Apply apps/v1 {"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}"#]],
    );
    check(
        &send(format!("{DEPLOYMENTS}/none/status?fieldManager=ctl"), status.replace("web", "none")).await,
        expect![[r#"404 NotFound: deployments.apps "none" not found"#]],
    );
}

#[tokio::test]
async fn a_deployment_that_is_created_has_the_fields_of_a_real_one() {
    let bench = Bench::start().await;
    let uri = format!("{DEPLOYMENTS}?fieldManager=kubectl-create");
    check(
        &bench.send("POST", &uri, &deployment("")).await,
        expect![[r#"
        201 Deployment web
        kubectl-create Update apps/v1 {"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:progressDeadlineSeconds":{},"f:replicas":{},"f:revisionHistoryLimit":{},"f:selector":{},"f:strategy":{"f:rollingUpdate":{".":{},"f:maxSurge":{},"f:maxUnavailable":{}},"f:type":{}},"f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}}}"#]],
    );
}

#[tokio::test]
async fn appliers_that_meet_all_land() {
    let bench = Bench::start().await;
    let applied = (0..8).map(|number| {
        let body =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: p1}}\ndata: {{k{number}: v}}\n");
        let query = format!("fieldManager=m{number}");
        let bench = &bench;
        async move { apply(bench, &query, &body).await }
    });
    let answers = futures::future::join_all(applied).await;
    assert!(answers.iter().all(|answer| answer.code < 300));
    assert_eq!(answers.iter().filter(|answer| answer.code == 201).count(), 1);
    let found = bench.get(&format!("{CONFIG_MAPS}/p1")).await;
    assert_eq!(tree::map(&found, "data").map(serde_json::Map::len), Some(8));
    assert_eq!(tree::items(&found, "metadata.managedFields").len(), 8);
}
