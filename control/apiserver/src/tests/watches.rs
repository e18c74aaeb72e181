//! WATCH: order, selectors, bookmarks, history.

use expect_test::expect;
use futures::FutureExt as _;
use kinds::tree;
use store::{Span, Watch};

use super::bench::{Bench, CONFIG_MAPS};

#[tokio::test]
async fn a_watch_without_version_shows_what_is_there_and_what_comes() {
    let bench = Bench::start().await;
    bench.config_map("a").await;
    let mut watch = bench.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(watch.line().await, "ADDED ConfigMap a");
    bench.config_map("b").await;
    assert_eq!(watch.line().await, "ADDED ConfigMap b");
    bench.send("PUT", &format!("{CONFIG_MAPS}/b"), r#"{"metadata":{"name":"b"}}"#).await;
    assert_eq!(watch.line().await, "MODIFIED ConfigMap b");
    bench.send("DELETE", &format!("{CONFIG_MAPS}/a"), "").await;
    let deleted = watch.next().await;
    let newest = tree::text(&bench.get(CONFIG_MAPS).await, "metadata.resourceVersion").to_owned();
    assert_eq!(tree::text(&deleted, "type"), "DELETED");
    // The last state, at the revision of the deletion.
    assert_eq!(tree::text(&deleted, "object.data.color"), "red");
    assert_eq!(tree::text(&deleted, "object.metadata.resourceVersion"), newest);
}

#[tokio::test]
async fn a_watch_from_a_version_shows_what_came_after() {
    let bench = Bench::start().await;
    let first = bench.config_map("a").await.revision();
    bench.config_map("b").await;
    let mut watch = bench.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={first}")).await;
    assert_eq!(watch.line().await, "ADDED ConfigMap b");
}

#[tokio::test]
async fn objects_come_and_go_as_selectors_see_them() {
    let bench = Bench::start().await;
    bench.config_map("a").await;
    let uri = format!("{CONFIG_MAPS}?watch=true&labelSelector=app%3Dx");
    let mut watch = bench.watch(&uri).await;
    let relabel = |label: &'static str| {
        let bench = &bench;
        async move {
            let body = format!(r#"{{"metadata":{{"name":"a","labels":{{"app":"{label}"}}}}}}"#);
            bench.send("PUT", &format!("{CONFIG_MAPS}/a"), &body).await
        }
    };
    relabel("x").await;
    assert_eq!(watch.line().await, "ADDED ConfigMap a");
    relabel("y").await;
    let event = watch.next().await;
    assert_eq!(tree::text(&event, "type"), "DELETED");
    assert_eq!(tree::text(&event, "object.metadata.labels.app"), "x");
    bench.config_map("never").await;
    relabel("x").await;
    assert_eq!(watch.line().await, "ADDED ConfigMap a");
}

#[tokio::test]
async fn a_compacted_version_is_too_old() {
    let bench = Bench::start().await;
    let first = bench.config_map("a").await.revision();
    bench.config_map("b").await;
    bench.config_map("c").await;
    bench.store.compact(bench.store.revision()).await.expect("compacts");
    let mut watch = bench.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={first}")).await;
    let event = watch.next().await;
    assert_eq!(tree::text(&event, "type"), "ERROR");
    assert_eq!(tree::int(&event, "object.code"), Some(410));
    assert_eq!(tree::text(&event, "object.reason"), "Expired");
    assert!(
        tree::text(&event, "object.message").starts_with(&format!("too old resource version: {first} ("))
    );
    assert_eq!(watch.line().await, "end");
}

#[tokio::test]
async fn a_watch_list_ends_its_first_part_with_a_bookmark() {
    let bench = Bench::start().await;
    bench.config_map("a").await;
    let uri = format!(
        "{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    );
    let mut watch = bench.watch(&uri).await;
    assert_eq!(watch.line().await, "ADDED ConfigMap a");
    let bookmark = watch.next().await;
    assert_eq!(tree::text(&bookmark, "type"), "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    bench.config_map("b").await;
    assert_eq!(watch.line().await, "ADDED ConfigMap b");
    let line = bench.line("GET", &format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true"), "").await;
    expect![[r#"422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"#]].assert_eq(&line);
}

#[tokio::test]
async fn a_watch_of_a_quiet_kind_says_at_once_how_far_it_is() {
    let bench = Bench::start().await;
    let first = bench.config_map("a").await.revision();
    let uri = format!("{CONFIG_MAPS}?watch=true&resourceVersion={first}&allowWatchBookmarks=true");
    // After it has woken a crowd, the store's hub rests: its watches are behind what can be read.
    let mut crowd: Vec<_> =
        (0..1000).map(|_| bench.store.watch(Watch::of(Span::all())).expect("a watch")).collect();
    for watcher in &mut crowd {
        assert!(watcher.step().now_or_never().is_none());
    }
    let mut elsewhere = 0;
    for name in ["s", "t"] {
        let secret = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
        elsewhere = bench.send("POST", "/api/v1/namespaces/default/secrets", &secret).await.revision();
    }
    let mut watch = bench.watch(&uri).await;
    let bookmark = watch.next().await;
    assert_eq!(tree::text(&bookmark, "type"), "BOOKMARK");
    let version: i64 = tree::text(&bookmark, "object.metadata.resourceVersion").parse().unwrap();
    assert!(version >= elsewhere, "{version} of {elsewhere}");
    bench.config_map("b").await;
    assert_eq!(watch.line().await, "ADDED ConfigMap b");
}

#[tokio::test]
async fn a_watch_ends_in_time_with_a_bookmark() {
    let bench = Bench::start().await;
    let first = bench.config_map("a").await.revision();
    let uri =
        format!("{CONFIG_MAPS}?watch=true&resourceVersion={first}&timeoutSeconds=1&allowWatchBookmarks=true");
    let mut watch = bench.watch(&uri).await;
    assert_eq!(watch.line().await, "BOOKMARK ConfigMap");
    assert_eq!(watch.line().await, "end");
}

#[tokio::test]
async fn tables_are_watched() {
    let bench = Bench::start().await;
    bench.config_map("a").await;
    bench.config_map("b").await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let uri = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1");
    let answer = bench.send_with("GET", &uri, &table, Vec::new()).await;
    let events: Vec<serde_json::Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(events[1]["object"]["columnDefinitions"], serde_json::Value::Null);
    assert_eq!(events[1]["object"]["rows"][0]["cells"][0], "b");
}
