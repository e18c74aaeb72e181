//! GET and LIST: versions, pages, selectors, representations.

use expect_test::{Expect, expect};
use kinds::tree;
use serde_json::Value;

use super::bench::{Bench, CONFIG_MAPS};

async fn three() -> Bench {
    let bench = Bench::start().await;
    for name in ["a", "b", "c"] {
        assert_eq!(bench.config_map(name).await.code, 201);
    }
    bench
}

fn names(list: &Value) -> Vec<&str> {
    tree::items(list, "items").iter().map(|item| tree::text(item, "metadata.name")).collect()
}

/// The names that a list with `query` gives, or the failure.
async fn check(query: &str, expected: Expect) {
    let bench = three().await;
    let answer = bench.send("GET", &format!("{CONFIG_MAPS}?{query}"), "").await;
    let shown = match answer.code {
        200 => names(&answer.json()).join(" "),
        _ => answer.line(),
    };
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn selectors_choose() {
    check("labelSelector=app%3Da", expect!["a"]).await;
    check("labelSelector=app+in+(a,c)", expect!["a c"]).await;
    check("labelSelector=app!%3Da", expect!["b c"]).await;
    check("fieldSelector=metadata.name%3Db", expect!["b"]).await;
    check("fieldSelector=metadata.name!%3Db", expect!["a c"]).await;
    check("fieldSelector=spec.bogus%3Db", expect![[r#"400 BadRequest: "spec.bogus" is not a known field selector: only "metadata.name", "metadata.namespace""#]]).await;
    check(
        "labelSelector=a+b",
        expect![
            "400 BadRequest: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
        ],
    )
    .await;
}

#[tokio::test]
async fn versions_are_checked() {
    check("resourceVersion=0", expect!["a b c"]).await;
    check("resourceVersion=abc", expect![[r#"400 BadRequest: invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#]]).await;
    check("resourceVersionMatch=Exact", expect![[r#"422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"#]]).await;
    check("resourceVersion=1&resourceVersionMatch=Bogus", expect![[r#"422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Bogus": supported values: "Exact", "NotOlderThan", """#]]).await;
    check("resourceVersion=0&resourceVersionMatch=Exact", expect![[r#"422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0""#]]).await;
    check("limit=-1", expect!["a b c"]).await;
    check("limit=abc", expect![[r#"400 BadRequest: strconv.ParseInt: parsing "abc": invalid syntax"#]]).await;
    check("limit=1&continue=bad", expect!["400 BadRequest: invalid continue token: continue key is not valid: Invalid last symbol 100, offset 2."]).await;
}

#[tokio::test]
async fn a_version_from_the_future_times_out() {
    check(
        "resourceVersion=99999999",
        expect!["504 Timeout: Timeout: Too large resource version: 99999999, current: 6"],
    )
    .await;
}

#[tokio::test]
async fn an_old_version_shows_the_old_state() {
    let bench = three().await;
    let before = tree::text(&bench.get(CONFIG_MAPS).await, "metadata.resourceVersion").to_owned();
    bench.send("DELETE", &format!("{CONFIG_MAPS}/a"), "").await;
    let old = bench.get(&format!("{CONFIG_MAPS}?resourceVersion={before}&resourceVersionMatch=Exact")).await;
    assert_eq!(names(&old), ["a", "b", "c"]);
    assert_eq!(tree::text(&old, "metadata.resourceVersion"), before);
}

#[tokio::test]
async fn pages_continue_at_one_revision() {
    let bench = three().await;
    let first = bench.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(tree::int(&first, "metadata.remainingItemCount"), Some(1));
    bench.config_map("d").await;
    let token = tree::text(&first, "metadata.continue");
    let second = bench.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(tree::get(&second, "metadata.continue"), &Value::Null);
    assert_eq!(
        tree::text(&first, "metadata.resourceVersion"),
        tree::text(&second, "metadata.resourceVersion")
    );
    let first = bench.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    bench.config_map("e").await;
    let token = tree::text(&first, "metadata.continue");
    let second = bench.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    let left = |page| tree::int(page, "metadata.remainingItemCount");
    assert_eq!((left(&first), left(&second)), (Some(3), Some(1)), "of the first page's revision");
    let filtered = bench.get(&format!("{CONFIG_MAPS}?limit=1&labelSelector=app+in+(b,c)")).await;
    assert_eq!(names(&filtered), ["b"]);
    assert_eq!(tree::int(&filtered, "metadata.remainingItemCount"), None);
}

#[tokio::test]
async fn an_expired_page_offers_an_inconsistent_one() {
    let bench = three().await;
    let first = bench.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    bench.config_map("d").await;
    bench.store.compact(bench.store.revision()).await.expect("compacts");
    let token = tree::text(&first, "metadata.continue");
    let gone = bench.send("GET", &format!("{CONFIG_MAPS}?limit=1&continue={token}"), "").await;
    assert_eq!((gone.code, tree::text(&gone.json(), "reason")), (410, "Expired"));
    let gone = gone.json();
    let token = tree::text(&gone, "metadata.continue");
    let rest = bench.get(&format!("{CONFIG_MAPS}?continue={token}")).await;
    assert_eq!(names(&rest), ["b", "c", "d"]);
}

#[tokio::test]
async fn representations_are_negotiated() {
    let bench = three().await;
    let uri = format!("{CONFIG_MAPS}/a");
    let accept = |value: &'static str| [("accept", value)];
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let answer = bench.send_with("GET", &uri, &accept(table), Vec::new()).await.json();
    assert_eq!(tree::text(&answer, "kind"), "Table");
    assert_eq!(answer["rows"][0]["cells"], serde_json::json!(["a", 1, "0s"]));
    assert_eq!(tree::text(&answer["rows"][0]["object"], "kind"), "PartialObjectMetadata");
    let none = format!("{CONFIG_MAPS}?includeObject=None");
    let answer = bench.send_with("GET", &none, &accept(table), Vec::new()).await.json();
    assert_eq!(answer["rows"][2]["object"], Value::Null);
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let answer = bench.send_with("GET", CONFIG_MAPS, &accept(partial), Vec::new()).await.json();
    assert_eq!(tree::text(&answer, "kind"), "PartialObjectMetadataList");
    assert_eq!(tree::text(&answer["items"][0], "kind"), "PartialObjectMetadata");
    let answer = bench.send_with("GET", &uri, &accept("application/yaml"), Vec::new()).await;
    assert!(answer.text.contains("kind: ConfigMap"), "{}", answer.text);
    let answer = bench.send_with("GET", &uri, &accept("text/html"), Vec::new()).await;
    assert_eq!(answer.code, 406);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let bench = Bench::start().await;
    let line = bench.line("GET", &format!("{CONFIG_MAPS}/nope"), "").await;
    expect![[r#"404 NotFound: configmaps "nope" not found"#]].assert_eq(&line);
    let line = bench.line("GET", "/api/v1/namespaces/default/bogus", "").await;
    expect!["404 NotFound: the server could not find the requested resource"].assert_eq(&line);
    let line = bench.line("GET", "/apis/bogus.io/v1/things", "").await;
    expect!["404 404 page not found"].assert_eq(&line);
    let line = bench.line("GET", "/nowhere", "").await;
    expect!["404 404 page not found"].assert_eq(&line);
}

#[tokio::test]
async fn large_answers_are_compressed() {
    let bench = Bench::start().await;
    let big = "x".repeat(200 * 1024);
    let body = format!(r#"{{"metadata":{{"name":"big"}},"data":{{"a":"{big}"}}}}"#);
    assert_eq!(bench.send("POST", CONFIG_MAPS, &body).await.code, 201);
    let uri = format!("{CONFIG_MAPS}/big");
    let answer = bench.send_with("GET", &uri, &[("accept-encoding", "gzip")], Vec::new()).await;
    assert_eq!(answer.headers["content-encoding"], "gzip");
    let answer = bench.send("GET", &uri, "").await;
    assert!(answer.headers.get("content-encoding").is_none() && answer.text.len() > 200 * 1024);
    assert!(answer.headers.contains_key("audit-id"));
}
