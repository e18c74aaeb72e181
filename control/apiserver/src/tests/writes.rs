//! Create and replace: what is accepted, and what bad input is told.

use expect_test::{Expect, expect};
use kinds::tree;

use super::bench::{Bench, CONFIG_MAPS};

/// Sends `(method, path below configmaps, body)` one after the other.
async fn check(steps: &[(&str, &str, &str)], expected: Expect) {
    let bench = Bench::start().await;
    let mut lines = String::new();
    for (method, below, body) in steps {
        let line = bench.line(method, &format!("{CONFIG_MAPS}{below}"), body).await;
        lines.push_str(&format!("{line}\n"));
    }
    expected.assert_eq(&lines);
}

#[tokio::test]
async fn a_create_says_what_is_wrong() {
    check(
        &[
            ("POST", "", r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p1"}}"#),
            ("POST", "", r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p1"}}"#),
            ("POST", "", r#"{"metadata":{"name":"p2","resourceVersion":"5"}}"#),
            ("POST", "", r#"{"metadata":{}}"#),
            ("POST", "", r#"{"metadata":{"name":"p3","namespace":"other"}}"#),
            ("POST", "", r#"{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"p4"}}"#),
            ("POST", "", r#"{not json"#),
            ("POST", "", r#"{"metadata":{"name":"p5"},"data":{"a":1}}"#),
            ("POST", "?dryRun=foo", r#"{"metadata":{"name":"p6"}}"#),
            ("POST", "?fieldValidation=Strict", r#"{"metadata":{"name":"p7"},"bogus":1}"#),
            ("POST", "?fieldValidation=Warn", r#"{"metadata":{"name":"p7"},"bogus":1}"#),
            ("POST", "?fieldValidation=Ignore", r#"{"metadata":{"name":"p8"},"bogus":1}"#),
            ("POST", "?fieldValidation=Bogus", r#"{"metadata":{"name":"p9"}}"#),
            ("POST", "?fieldValidation=Strict", r#"{"kind":"ConfigMap","kind":"ConfigMap","metadata":{"name":"p9"}}"#),
            ("POST", "?dryRun=All", r#"{"metadata":{"name":"p9"}}"#),
            ("GET", "/p9", ""),
            ("POST", "/p9", "{}"),
            ("PUT", "", "{}"),
            ("DELETE", "/p9", ""),
        ],
        expect![[r#"
            201 ConfigMap p1
            409 AlreadyExists: configmaps "p1" already exists
            500 : resourceVersion should not be set on objects to be created
            422 Invalid: ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required
            400 BadRequest: the namespace of the provided object does not match the namespace sent on the request
            400 BadRequest: the API version in the data (v2) does not match the expected API version (v1)
            400 BadRequest: the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'n' looking for beginning of object key string ({not json)
            400 BadRequest: ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string
            422 Invalid: CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["foo"]: supported values: "All"
            400 BadRequest: ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "bogus"
            201 ConfigMap p7 WARNING 299 - "unknown field \"bogus\""
            201 ConfigMap p8
            422 Invalid: CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Bogus": supported values: "", "Ignore", "Strict", "Warn"
            400 BadRequest: ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "kind"
            201 ConfigMap p9
            404 NotFound: configmaps "p9" not found
            405 MethodNotAllowed: the server does not allow this method on the requested resource
            405 MethodNotAllowed: the server does not allow this method on the requested resource
            404 NotFound: configmaps "p9" not found
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_bad_name_is_explained() {
    check(
        &[("POST", "", r#"{"metadata":{"name":"Bad_Name"}}"#)],
        expect![[r#"
            422 Invalid: ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_replace_says_what_is_wrong() {
    check(
        &[
            ("POST", "", r#"{"metadata":{"name":"p1"},"data":{"a":"1"}}"#),
            ("PUT", "/p1", r#"{"metadata":{"name":"p1"},"data":{"a":"2"}}"#),
            ("PUT", "/p1", r#"{"metadata":{"name":"p1","resourceVersion":"1"}}"#),
            ("PUT", "/p1", r#"{"metadata":{"name":"zzz"}}"#),
            ("PUT", "/nope", r#"{"metadata":{"name":"nope"}}"#),
            ("PUT", "/p1", r#"{"metadata":{}}"#),
        ],
        expect![[r#"
            201 ConfigMap p1
            200 ConfigMap p1
            409 Conflict: Operation cannot be fulfilled on configmaps "p1": the object has been modified; please apply your changes to the latest version and try again
            400 BadRequest: the name of the object (zzz) does not match the name on the URL (p1)
            404 NotFound: configmaps "nope" not found
            400 BadRequest: name must be provided
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_replace_that_changes_nothing_keeps_the_version() {
    let bench = Bench::start().await;
    let created = bench.config_map("p1").await;
    let again = bench.send("PUT", &format!("{CONFIG_MAPS}/p1"), &created.text).await;
    assert_eq!((again.code, again.revision()), (200, created.revision()));
}

#[tokio::test]
async fn a_wrong_uid_is_a_conflict() {
    let bench = Bench::start().await;
    let uid = bench.config_map("p1").await.json()["metadata"]["uid"].as_str().unwrap().to_owned();
    let body = r#"{"metadata":{"name":"p1","uid":"xxx"}}"#;
    let line = bench.line("PUT", &format!("{CONFIG_MAPS}/p1"), body).await.replace(&uid, "UID");
    expect![[r#"409 Conflict: Operation cannot be fulfilled on configmaps "p1": StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/p1, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: xxx, UID in object meta: UID"#]].assert_eq(&line);
}

#[tokio::test]
async fn names_are_generated() {
    let bench = Bench::start().await;
    let created = bench.send("POST", CONFIG_MAPS, r#"{"metadata":{"generateName":"gen-"}}"#).await;
    let name = created.json()["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(created.code == 201 && name.starts_with("gen-") && name.len() == 9, "{name}");
}

#[tokio::test]
async fn bodies_come_in_json_yaml_and_protobuf() {
    let bench = Bench::start().await;
    let yaml = [("content-type", "application/yaml")];
    let line = bench.line_with("POST", CONFIG_MAPS, &yaml, "metadata:\n  name: y1\n").await;
    expect!["201 ConfigMap y1"].assert_eq(&line);
    // runtime.Unknown{typeMeta{v1, ConfigMap}, raw: ConfigMap{metadata{name: "b1"}, data{"a": "b"}}}
    let object = [&[0x0a, 4, 0x0a, 2][..], b"b1", &[0x12, 6, 0x0a, 1, b'a', 0x12, 1, b'b']].concat();
    let meta = [&[0x0a, 2][..], b"v1", &[0x12, 9], b"ConfigMap"].concat();
    let body = [
        &b"k8s\0"[..],
        &[0x0a, u8::try_from(meta.len()).unwrap()],
        &meta,
        &[0x12, u8::try_from(object.len()).unwrap()],
        &object,
    ]
    .concat();
    let protobuf = [
        ("content-type", "application/vnd.kubernetes.protobuf"),
        ("accept", "application/vnd.kubernetes.protobuf,application/json"),
    ];
    let answer = bench.send_with("POST", CONFIG_MAPS, &protobuf, body).await;
    expect!["201 ConfigMap b1"].assert_eq(&answer.line());
    assert_eq!(tree::text(&answer.json(), "data.a"), "b");
    let text = [("content-type", "text/plain")];
    let line = bench.line_with("POST", CONFIG_MAPS, &text, "x").await;
    expect!["415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"].assert_eq(&line);
}

#[tokio::test]
async fn a_huge_body_is_refused() {
    let bench = Bench::start().await;
    let body = " ".repeat(3 * 1024 * 1024 + 1);
    let line = bench.line("POST", CONFIG_MAPS, &body).await;
    expect!["413 RequestEntityTooLarge: Request entity too large: limit is 3145728"].assert_eq(&line);
}

#[tokio::test]
async fn nothing_is_created_outside_a_namespace() {
    let bench = Bench::start().await;
    let body = r#"{"metadata":{"name":"a"}}"#;
    let line = bench.line("POST", "/api/v1/namespaces/nope/configmaps", body).await;
    expect![[r#"404 NotFound: namespaces "nope" not found"#]].assert_eq(&line);
    let line = bench.line("POST", "/api/v1/configmaps", body).await;
    expect!["404 NotFound: the server could not find the requested resource"].assert_eq(&line);
}
