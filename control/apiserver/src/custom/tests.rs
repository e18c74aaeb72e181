//! Custom kinds from their definition to their end, without the controller that accepts names: these tests do it.

mod rules;

use expect_test::{Expect, expect};
use kinds::tree;
use serde_json::{Value, json};

use crate::tests::bench::{Answer, Bench};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/lab.io/v1/namespaces/default/foos";
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

/// The definition by which the answers of a real server were recorded.
pub(crate) fn foo() -> Value {
    let rule = json!({"rule": "self.replicas <= 50", "message": "too many", "fieldPath": ".replicas"});
    let spec = json!({"type": "object", "description": "What is wanted.", "x-kubernetes-validations": [rule], "properties": {
        "replicas": {"type": "integer", "minimum": 0, "default": 1, "description": "How many."},
        "color": {"type": "string", "enum": ["red", "green", "blue"]},
        "pattern": {"type": "string", "pattern": "^a+$", "maxLength": 3},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "x": {"type": "string"}}}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ios": {"x-kubernetes-int-or-string": true},
        "when": {"type": "string", "format": "date-time"},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let status = json!({"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}});
    json!({
        "metadata": {"name": "foos.lab.io"},
        "spec": {
            "group": "lab.io",
            "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo", "shortNames": ["fo"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "description": "A Foo.", "properties": {"spec": spec, "status": status}}},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
                }},
                "additionalPrinterColumns": [
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.color"}],
            }],
        },
    })
}

/// Creates or changes the definition, accepts its names, and waits until the server goes by it.
pub(crate) async fn define(bench: &Bench, method: &str, definition: &Value) {
    let name = tree::text(definition, "metadata.name");
    let mut changes = bench.server.shared.custom_changes.subscribe();
    let uri = if method == "POST" { DEFINITIONS.to_owned() } else { format!("{DEFINITIONS}/{name}") };
    let answer = bench
        .send_with(
            method,
            &uri,
            &[if method == "POST" { ("accept", "*/*") } else { MERGE }],
            definition.to_string().into_bytes(),
        )
        .await;
    assert!(answer.code < 300, "{}", answer.text);
    let status = json!({"status": {
        "acceptedNames": answer.json()["spec"]["names"],
        "conditions": [{"type": "Established", "status": "True", "lastTransitionTime": null, "reason": "", "message": ""}],
    }});
    let uri = format!("{DEFINITIONS}/{name}/status");
    let answer = bench.send_with("PATCH", &uri, &[MERGE], status.to_string().into_bytes()).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    changed(&mut changes).await;
}

async fn changed(changes: &mut tokio::sync::watch::Receiver<u64>) {
    let soon = std::time::Duration::from_secs(10);
    tokio::time::timeout(soon, changes.changed()).await.expect("in time").expect("the server runs");
}

fn object(name: &str, spec: Value) -> String {
    json!({"apiVersion": "lab.io/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec}).to_string()
}

fn check(answer: &Answer, expected: Expect) {
    let object = answer.json();
    let mut shown = answer.line();
    if answer.code < 300 {
        shown.push_str(&format!(
            " generation {} {} {}",
            tree::get(&object, "metadata.generation"),
            object["spec"],
            object["status"]
        ));
    }
    for cause in tree::items(&object, "details.causes") {
        shown.push_str(&format!("\n{cause}"));
    }
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn the_probes_of_a_real_server() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    let create = async |query: &str, spec: Value| {
        bench.send("POST", &format!("{FOOS}?dryRun=All&{query}"), &object("v1", spec)).await
    };
    check(&create("", json!({})).await, expect![[r#"201 Foo v1 generation 1 {"replicas":1} null"#]]);
    check(
        &create("", json!({"replicas": "string"})).await,
        expect![[r#"
            422 Invalid: Foo.lab.io "v1" is invalid: [spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]
            {"reason":"FieldValueTypeInvalid","message":"Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"","field":"spec.replicas"}
            {"reason":"FieldValueInvalid","message":"Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation","field":"<nil>"}"#]],
    );
    check(
        &create("", json!({"replicas": -1})).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "v1" is invalid: [spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0, .spec.replicas: Invalid value: -1: should be a non-negative integer]
        {"reason":"FieldValueInvalid","message":"Invalid value: -1: spec.replicas in body should be greater than or equal to 0","field":"spec.replicas"}
        {"reason":"FieldValueInvalid","message":"Invalid value: -1: should be a non-negative integer","field":".spec.replicas"}"#]],
    );
    check(
        &create("", json!({"color": "pink"})).await,
        expect![[r#"
            422 Invalid: Foo.lab.io "v1" is invalid: [spec.color: Unsupported value: "pink": supported values: "red", "green", "blue", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]
            {"reason":"FieldValueNotSupported","message":"Unsupported value: \"pink\": supported values: \"red\", \"green\", \"blue\"","field":"spec.color"}
            {"reason":"FieldValueInvalid","message":"Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation","field":"<nil>"}"#]],
    );
    check(
        &create("", json!({"pattern": "bbb"})).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "v1" is invalid: spec.pattern: Invalid value: "bbb": spec.pattern in body should match '^a+$'
        {"reason":"FieldValueInvalid","message":"Invalid value: \"bbb\": spec.pattern in body should match '^a+$'","field":"spec.pattern"}"#]],
    );
    check(
        &create("", json!({"list": [{"name": "a"}, {"name": "a"}]})).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "v1" is invalid: spec.list[1]: Duplicate value: {"name":"a"}
        {"reason":"FieldValueDuplicate","message":"Duplicate value: {\"name\":\"a\"}","field":"spec.list[1]"}"#]],
    );
}

#[tokio::test]
async fn unknown_fields_go_or_are_refused() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    let create = async |query: &str, spec: Value| {
        bench.send("POST", &format!("{FOOS}?dryRun=All&{query}"), &object("v1", spec)).await
    };
    let unknown = json!({"list": [{"name": "a", "zz": 1}], "yy": 1});
    check(
        &create("fieldValidation=Strict", unknown.clone()).await,
        expect![[
            r#"400 BadRequest: Foo in version "v1" cannot be handled as a Foo: strict decoding error: unknown field "spec.list[0].zz", unknown field "spec.yy""#
        ]],
    );
    check(
        &create("fieldValidation=Ignore", unknown.clone()).await,
        expect![[r#"201 Foo v1 generation 1 {"list":[{"name":"a"}],"replicas":1} null"#]],
    );
    check(
        &create("", json!({"yy": 1})).await,
        expect![[r#"201 Foo v1 WARNING 299 - "unknown field \"spec.yy\"" generation 1 {"replicas":1} null"#]],
    );
    check(
        &create("", json!({"replicas": null})).await,
        expect![[r#"201 Foo v1 generation 1 {"replicas":1} null"#]],
    );
    check(
        &create("", json!({"any": {"a": [1, {"b": null}]}})).await,
        expect![[r#"201 Foo v1 generation 1 {"any":{"a":[1,{"b":null}]},"replicas":1} null"#]],
    );
    let body = r#"{"apiVersion":"lab.io/v1","kind":"Foo","metadata":{"name":"a"},"spec":{"color":"red","color":"blue"}}"#;
    let twice = bench.send("POST", &format!("{FOOS}?fieldValidation=Strict"), body).await;
    check(
        &twice,
        expect![[
            r#"400 BadRequest: Foo in version "v1" cannot be handled as a Foo: strict decoding error: duplicate field "spec.color""#
        ]],
    );
    check(
        &bench.send("POST", FOOS, r#"{"metadata":{"name":"a"}}"#).await,
        expect![[
            r#"400 BadRequest: the object provided is unrecognized (must be of type Foo): Object 'Kind' is missing in '{"metadata":{"name":"a"}}' ({"metadata":{"name":"a"}})"#
        ]],
    );
    check(
        &bench.send("POST", FOOS, &object("a", json!({})).replace("Foo", "Bar")).await,
        expect![[
            r#"400 BadRequest: Bar in version "lab.io/v1" cannot be handled as a Foo: no kind "Bar" is registered for version "lab.io/v1" in scheme "navarch""#
        ]],
    );
    check(
        &bench.send("GET", &format!("{FOOS}/a"), "").await,
        expect![[r#"404 NotFound: foos.lab.io "a" not found"#]],
    );
}

#[tokio::test]
async fn writes_go_the_way_of_built_in_kinds() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    let uri = format!("{FOOS}/a");
    let status = r#","status":{"replicas":9}}"#;
    let body = object("a", json!({"color": "red"}));
    let created = bench.send("POST", FOOS, &format!("{}{status}", &body[..body.len() - 1])).await;
    check(&created, expect![[r#"201 Foo a generation 1 {"color":"red","replicas":1} null"#]]);
    check(
        &bench.send("PUT", &uri, &body).await,
        expect![[r#"
        422 Invalid: foos.lab.io "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update
        {"reason":"FieldValueInvalid","message":"Invalid value: 0: must be specified for an update","field":"metadata.resourceVersion"}"#]],
    );
    let patch =
        async |at: &str, body: &str| bench.send_with("PATCH", at, &[MERGE], body.as_bytes().to_vec()).await;
    check(
        &patch(
            &format!("{uri}/status"),
            r#"{"spec":{"replicas":3},"status":{"replicas":5,"selector":"a=b"}}"#,
        )
        .await,
        expect![[r#"200 Foo a generation 1 {"color":"red","replicas":1} {"replicas":5,"selector":"a=b"}"#]],
    );
    check(
        &patch(&uri, r#"{"spec":{"replicas":8},"status":{"replicas":1}}"#).await,
        expect![[r#"200 Foo a generation 2 {"color":"red","replicas":8} {"replicas":5,"selector":"a=b"}"#]],
    );
    check(
        &patch(&uri, r#"{"metadata":{"labels":{"a":"b"}}}"#).await,
        expect![[r#"200 Foo a generation 2 {"color":"red","replicas":8} {"replicas":5,"selector":"a=b"}"#]],
    );
    check(
        &patch(&uri, r#"{"spec":{"replicas":"x","yy":1}}"#).await,
        expect![[r#"
            422 Invalid: Foo.lab.io "a" is invalid: [spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]
            {"reason":"FieldValueTypeInvalid","message":"Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"","field":"spec.replicas"}
            {"reason":"FieldValueInvalid","message":"Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation","field":"<nil>"}"#]],
    );
}

#[tokio::test]
async fn views_patches_and_selectors() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    let uri = format!("{FOOS}/a");
    let patch =
        async |at: &str, body: &str| bench.send_with("PATCH", at, &[MERGE], body.as_bytes().to_vec()).await;
    assert_eq!(bench.send("POST", FOOS, &object("a", json!({"color": "red"}))).await.code, 201);
    let status = patch(&format!("{uri}/status"), r#"{"status":{"replicas":5,"selector":"a=b"}}"#).await;
    assert_eq!(status.code, 200);
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    check(
        &bench.send_with("PATCH", &uri, &strategic, b"{}".to_vec()).await,
        expect![
            "415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        ],
    );
    let json_patch = [("content-type", "application/json-patch+json")];
    let ops = br#"[{"op":"replace","path":"/spec/color","value":"blue"}]"#.to_vec();
    check(
        &bench.send_with("PATCH", &uri, &json_patch, ops).await,
        expect![[r#"200 Foo a generation 2 {"color":"blue","replicas":1} {"replicas":5,"selector":"a=b"}"#]],
    );
    check(
        &bench.send("GET", &format!("{uri}/scale"), "").await,
        expect![[r#"200 Scale a generation null {"replicas":1} {"replicas":5,"selector":"a=b"}"#]],
    );
    check(
        &patch(&format!("{uri}/scale"), r#"{"spec":{"replicas":2}}"#).await,
        expect![[r#"200 Scale a generation null {"replicas":2} {"replicas":5,"selector":"a=b"}"#]],
    );
    check(
        &bench.send("GET", &uri, "").await,
        expect![[r#"200 Foo a generation 3 {"color":"blue","replicas":2} {"replicas":5,"selector":"a=b"}"#]],
    );
    let select =
        async |selector: &str| bench.send("GET", &format!("{FOOS}?fieldSelector={selector}"), "").await;
    let named = select("spec.color%3Dblue").await.json();
    assert_eq!(tree::text(&named["items"][0], "metadata.name"), "a");
    assert_eq!(tree::items(&select("spec.color%3Dred").await.json(), "items").len(), 0);
    check(
        &select("spec.replicas%3D1").await,
        expect!["400 BadRequest: field label not supported: spec.replicas"],
    );
    let table = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = bench.send_with("GET", FOOS, &table, Vec::new()).await.json();
    expect![[r#"{"name":"Replicas","type":"integer","format":"","description":"Custom resource definition column (in JSONPath format): .spec.replicas","priority":0} ["a",2,"blue","0s"]"#]].assert_eq(&format!("{} {}", table["columnDefinitions"][1], table["rows"][0]["cells"]));
    check(&bench.send("DELETE", &uri, "").await, expect![[r#"200 Status generation null null "Success""#]]);
}

#[tokio::test]
async fn applies_go_by_the_lists_of_the_schema() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    let apply = async |manager: &str, spec: Value| {
        let uri = format!("{FOOS}/a?fieldManager={manager}");
        bench.send_with("PATCH", &uri, &[APPLY], object("a", spec).into_bytes()).await
    };
    check(
        &apply("m1", json!({"list": [{"name": "a", "x": "1"}], "color": "red"})).await,
        expect![[
            r#"201 Foo a generation 1 {"list":[{"name":"a","x":"1"}],"color":"red","replicas":1} null"#
        ]],
    );
    let second = apply("m2", json!({"list": [{"name": "b"}]})).await;
    check(
        &second,
        expect![[
            r#"200 Foo a generation 2 {"list":[{"name":"a","x":"1"},{"name":"b"}],"color":"red","replicas":1} null"#
        ]],
    );
    let managed = second.json()["metadata"]["managedFields"][1]["fieldsV1"].to_string();
    expect![[r#"{"f:spec":{"f:list":{"k:{\"name\":\"b\"}":{".":{},"f:name":{}}}}}"#]].assert_eq(&managed);
    check(
        &apply("m2", json!({"color": "blue"})).await,
        expect![[r#"
        409 Conflict: Apply failed with 1 conflict: conflict with "m1": .spec.color
        {"reason":"FieldManagerConflict","message":"conflict with \"m1\"","field":".spec.color"}"#]],
    );
    check(
        &apply("m2", json!({"nothing": "blue"})).await,
        expect![
            "500 : failed to create typed patch object (/a; lab.io/v1, Kind=Foo): .spec.nothing: field not declared in schema"
        ],
    );
    check(
        &apply("m1", json!({"color": "red"})).await,
        expect![[r#"200 Foo a generation 3 {"list":[{"name":"b"}],"color":"red","replicas":1} null"#]],
    );
}

#[tokio::test]
async fn versions_are_served_from_one_storage() {
    let bench = Bench::start().await;
    let mut definition = foo();
    define(&bench, "POST", &definition).await;
    assert_eq!(bench.send("POST", FOOS, &object("a", json!({}))).await.code, 201);
    let mut watch = bench.watch(&format!("{FOOS}?watch=1&timeoutSeconds=60")).await;
    assert_eq!(watch.line().await, "ADDED Foo a");

    let mut newer = definition["spec"]["versions"][0].clone();
    newer["name"] = json!("v2");
    newer["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"] =
        json!({"type": "string", "default": "big"});
    definition["spec"]["versions"][0]["storage"] = json!(false);
    definition["spec"]["versions"][0]["deprecated"] = json!(true);
    definition["spec"]["versions"].as_array_mut().expect("versions").push(newer);
    define(&bench, "PATCH", &definition).await;
    assert_eq!(watch.line().await, "end", "who watches is to look again");

    let stored = bench.get(&format!("{DEFINITIONS}/foos.lab.io")).await;
    assert_eq!(stored["status"]["storedVersions"], json!(["v1", "v2"]));
    let old = bench.send("GET", &format!("{FOOS}/a"), "").await;
    check(
        &old,
        expect![[
            r#"200 Foo a WARNING 299 - "lab.io/v1 Foo is deprecated" generation 1 {"replicas":1} null"#
        ]],
    );
    let uri = FOOS.replace("v1", "v2");
    let new = bench.send("GET", &format!("{uri}/a"), "").await;
    check(&new, expect![[r#"200 Foo a generation 1 {"replicas":1,"size":"big"} null"#]]);
    assert_eq!(tree::text(&new.json(), "apiVersion"), "lab.io/v2");
    assert_eq!(bench.send("POST", FOOS, &object("b", json!({}))).await.code, 201);
    let key = store::Range::key("/registry/lab.io/foos/default/b");
    let found = bench.store.range(key).await.expect("the store reads");
    let text = String::from_utf8_lossy(&found.kvs[0].value).into_owned();
    assert!(text.starts_with(r#"{"kind":"Foo","apiVersion":"lab.io/v2","metadata""#), "{text}");
}

#[tokio::test]
async fn discovery_and_documents_follow() {
    let bench = Bench::start().await;
    let tag = async || {
        let answer = bench.send("GET", "/openapi/v2", "").await;
        answer.headers.get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned()
    };
    let before = tag().await;
    assert_eq!(tag().await, before);
    assert_eq!(bench.send("GET", "/apis/lab.io/v1", "").await.code, 404);
    define(&bench, "POST", &foo()).await;
    assert_ne!(tag().await, before);
    let resources = bench.get("/apis/lab.io/v1").await;
    let names: Vec<&str> =
        tree::items(&resources, "resources").iter().map(|it| tree::text(it, "name")).collect();
    assert_eq!(names, ["foos", "foos/scale", "foos/status"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["fo"]));
    let v3 = bench.get("/openapi/v3/apis/lab.io/v1").await;
    let schemas = &v3["components"]["schemas"];
    assert_eq!(
        schemas["io.lab.v1.Foo"]["properties"]["spec"]["properties"]["replicas"]["description"],
        "How many."
    );
    assert_eq!(schemas["io.lab.v1.Foo"]["x-kubernetes-group-version-kind"][0]["kind"], "Foo");
    assert_eq!(schemas["io.lab.v1.FooList"]["x-kubernetes-group-version-kind"][0]["kind"], "FooList");
    let patch =
        &v3["paths"]["/apis/lab.io/v1/namespaces/{namespace}/foos/{name}"]["patch"]["requestBody"]["content"];
    let taken: Vec<&String> = patch.as_object().into_iter().flatten().map(|(media, _)| media).collect();
    let wanted =
        ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
    assert_eq!(taken, wanted, "kubectl sends strategic merge patches to whoever says that it takes them");
    let v2 = bench.get("/openapi/v2").await;
    let spec = &v2["definitions"]["io.lab.v1.Foo"]["properties"]["spec"]["properties"];
    assert_eq!(spec["replicas"], json!({"type": "integer", "minimum": 0, "description": "How many."}));
    assert_eq!(spec["any"], json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
}

#[tokio::test]
async fn a_definition_that_goes_takes_no_more_objects() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    let mut changes = bench.server.shared.custom_changes.subscribe();
    let going = bench.send("DELETE", &format!("{DEFINITIONS}/foos.lab.io"), "").await;
    assert_eq!((going.code, tree::text(&going.json(), "kind")), (200, "CustomResourceDefinition"));
    changed(&mut changes).await;
    check(
        &bench.send("POST", FOOS, &object("a", json!({}))).await,
        expect!["405 MethodNotAllowed: the server does not allow this method on the requested resource"],
    );
    assert_eq!(bench.send("GET", FOOS, "").await.code, 200);
    let uri = format!("{DEFINITIONS}/foos.lab.io");
    let free = br#"{"metadata":{"finalizers":null}}"#.to_vec();
    assert_eq!(bench.send_with("PATCH", &uri, &[MERGE], free).await.code, 200);
    changed(&mut changes).await;
    assert_eq!(bench.send("GET", FOOS, "").await.line(), "404 404 page not found");
}
