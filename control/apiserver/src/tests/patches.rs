//! PATCH in its three dialects.

use expect_test::{Expect, expect};
use kinds::tree;

use super::bench::{Bench, CONFIG_MAPS};

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// The labels after the patch, or the failure.
async fn check(content_type: &str, patch: &str, expected: Expect) {
    let bench = Bench::start().await;
    bench.config_map("p1").await;
    let headers = [("content-type", content_type)];
    let uri = format!("{CONFIG_MAPS}/p1");
    let answer = bench.send_with("PATCH", &uri, &headers, patch.as_bytes().to_vec()).await;
    let shown = match answer.code {
        200 => tree::get(&answer.json(), "metadata.labels").to_string(),
        _ => answer.line(),
    };
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn merge_patches() {
    check(MERGE, r#"{"metadata":{"labels":{"m":"1"}}}"#, expect![[r#"{"app":"p1","m":"1"}"#]]).await;
    check(MERGE, r#"{"metadata":{"labels":{"app":null}}}"#, expect![[r#"null"#]]).await;
    check(MERGE, "", expect!["400 BadRequest: error decoding patch: unexpected end of JSON input"]).await;
    check(MERGE, "[1]", expect!["400 BadRequest: error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"]).await;
    check(
        MERGE,
        r#"{"metadata":{"name":"q"}}"#,
        expect!["400 BadRequest: the name of the object (q) does not match the name on the URL (p1)"],
    )
    .await;
    check(MERGE, r#"{"metadata":{"resourceVersion":"1","labels":{"x":"y"}}}"#, expect![[r#"409 Conflict: Operation cannot be fulfilled on configmaps "p1": the object has been modified; please apply your changes to the latest version and try again"#]]).await;
}

#[tokio::test]
async fn json_patches() {
    check(
        JSON,
        r#"[{"op":"add","path":"/metadata/labels/j","value":"1"}]"#,
        expect![[r#"{"app":"p1","j":"1"}"#]],
    )
    .await;
    check(
        JSON,
        r#"[{"op":"replace","path":"/nope/a","value":"1"}]"#,
        expect!["422 Invalid: the server rejected our request due to an error in our request"],
    )
    .await;
    check(
        JSON,
        r#"[{"op":"test","path":"/metadata/name","value":"1"}]"#,
        expect!["422 Invalid: the server rejected our request due to an error in our request"],
    )
    .await;
    let absent = r#"[{"op":"test","path":"/metadata/finalizers","value":null},{"op":"add","path":"/metadata/labels/j","value":"2"}]"#;
    check(JSON, absent, expect![[r#"{"app":"p1","j":"2"}"#]]).await;
    check(
        JSON,
        r#"[{"op":"test","path":"/nope/a","value":null}]"#,
        expect!["422 Invalid: the server rejected our request due to an error in our request"],
    )
    .await;
    check(
        JSON,
        r#"[{"op":"test","path":"/metadata/name","value":null}]"#,
        expect!["422 Invalid: the server rejected our request due to an error in our request"],
    )
    .await;
    check(
        JSON,
        r#"[{"op":"zap","path":"/metadata"}]"#,
        expect![[
            r#"400 BadRequest: invalid operation {"op":"zap","path":"/metadata"}: unsupported operation"#
        ]],
    )
    .await;
    check(JSON, r#"{}"#, expect!["400 BadRequest: error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"]).await;
}

#[tokio::test]
async fn strategic_patches() {
    check(STRATEGIC, r#"{"metadata":{"labels":{"s":"1"}}}"#, expect![[r#"{"app":"p1","s":"1"}"#]]).await;
}

#[tokio::test]
async fn unknown_patches_are_refused() {
    check("application/bogus", "{}", expect!["415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"]).await;
}

#[tokio::test]
async fn a_patch_that_changes_nothing_keeps_the_version() {
    let bench = Bench::start().await;
    let before = bench.config_map("p1").await.revision();
    let headers = [("content-type", MERGE)];
    let patch = br#"{"metadata":{"labels":{"app":"p1"}}}"#.to_vec();
    let after = bench.send_with("PATCH", &format!("{CONFIG_MAPS}/p1"), &headers, patch).await;
    assert_eq!((after.code, after.revision()), (200, before));
}

#[tokio::test]
async fn unknown_fields_in_a_patch_are_judged() {
    let bench = Bench::start().await;
    bench.config_map("p1").await;
    let headers = [("content-type", MERGE)];
    let uri = format!("{CONFIG_MAPS}/p1?fieldValidation=");
    let patch = r#"{"bogus":1}"#;
    let warned = bench.line_with("PATCH", &format!("{uri}Warn"), &headers, patch).await;
    expect![[r#"200 ConfigMap p1 WARNING 299 - "unknown field \"bogus\"""#]].assert_eq(&warned);
    let refused = bench.line_with("PATCH", &format!("{uri}Strict"), &headers, patch).await;
    assert!(refused.contains(r#"strict decoding error: unknown field "bogus""#), "{refused}");
}

#[tokio::test]
async fn concurrent_patches_all_land() {
    let bench = Bench::start().await;
    bench.config_map("p1").await;
    let uri = format!("{CONFIG_MAPS}/p1");
    let headers = [("content-type", MERGE)];
    let patches = (0..10).map(|i| {
        let patch = format!(r#"{{"data":{{"k{i}":"v"}}}}"#);
        bench.send_with("PATCH", &uri, &headers, patch.into_bytes())
    });
    for answer in futures::future::join_all(patches).await {
        assert_eq!(answer.code, 200, "{}", answer.text);
    }
    let data = tree::map(&bench.get(&uri).await, "data").map(serde_json::Map::len);
    assert_eq!(data, Some(11));
}
