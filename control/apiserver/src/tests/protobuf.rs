//! Answers in protobuf: what they say is what JSON says, and who cannot have them is told so.

use expect_test::expect;
use http_body_util::BodyExt as _;
use kinds::schema::Schema;
use kinds::schema::protobuf::{decode, envelope};
use kinds::tree;
use serde_json::Value;

use super::bench::{Answer, Bench, CONFIG_MAPS};
use crate::chain::authn::{Identity, MASTERS};
use crate::custom::tests::{define, foo};

const ALONE: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf");
const FIRST: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf,application/json");
const METADATA: (&str, &str) =
    ("accept", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");

fn content_type(answer: &Answer) -> &str {
    answer.headers["content-type"].to_str().unwrap()
}

async fn asked(bench: &Bench, method: &str, uri: &str, accept: (&str, &str), body: &str) -> Answer {
    let merge = ("content-type", "application/merge-patch+json");
    let headers: &[(&str, &str)] = if method == "PATCH" { &[accept, merge] } else { &[accept] };
    bench.send_with(method, uri, headers, body.as_bytes().to_vec()).await
}

#[tokio::test]
async fn every_verb_answers_in_protobuf() {
    let bench = Bench::start().await;
    let one = &format!("{CONFIG_MAPS}/a");
    let object = r#"{"metadata":{"name":"a","labels":{"z":"1","b":"2"}},"data":{"k":"v"}}"#;
    for (method, uri, body) in [
        ("POST", CONFIG_MAPS, object),
        ("GET", one, ""),
        ("PUT", one, object),
        ("PATCH", one, r#"{"data":{"more":"m"}}"#),
        ("GET", CONFIG_MAPS, ""),
        ("GET", "/api/v1/namespaces/default/configmaps/none", ""),
        ("POST", CONFIG_MAPS, object),
        ("DELETE", one, ""),
        ("GET", "/api/v1", ""),
        ("GET", "/apis", ""),
        (
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            r#"{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}"#,
        ),
    ] {
        let answer = asked(&bench, method, uri, ALONE, body).await;
        assert_eq!(content_type(&answer), "application/vnd.kubernetes.protobuf", "{method} {uri}");
        assert!(answer.bytes.starts_with(b"k8s\0"), "{method} {uri}");
        assert!(!tree::text(&answer.json(), "kind").is_empty(), "{method} {uri}: {}", answer.text);
    }
}

#[tokio::test]
async fn protobuf_says_what_json_says() {
    let bench = Bench::start().await;
    let pod = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"500m"}},
        "readinessProbe":{"httpGet":{"port":"web"}}}]}}"#;
    assert_eq!(bench.send("POST", super::bench::PODS, pod).await.code, 201);
    for name in ["a", "b", "c"] {
        bench.config_map(name).await;
    }
    for uri in [
        &format!("{}/p", super::bench::PODS),
        super::bench::PODS,
        CONFIG_MAPS,
        &format!("{CONFIG_MAPS}?limit=2"),
        &format!("{CONFIG_MAPS}/none"),
        "/api/v1/namespaces",
        "/apis/apps/v1",
    ] {
        let json = bench.send("GET", uri, "").await;
        let protobuf = asked(&bench, "GET", uri, FIRST, "").await;
        assert_eq!(protobuf.code, json.code);
        assert!(protobuf.bytes.starts_with(b"k8s\0"), "{uri}");
        let (ours, mut theirs) = (protobuf.json(), json.json());
        // In a list's message, items do not say what they are.
        for item in tree::items_mut(&mut theirs, "items") {
            tree::remove(item, "kind");
            tree::remove(item, "apiVersion");
        }
        assert!(tree::same(&ours, &theirs), "{uri}:\n{ours}\n{theirs}");
    }
}

/// The events of a watch in protobuf, as JSON.
async fn events(bench: &Bench, uri: &str, count: usize) -> Vec<Value> {
    let who = Identity::known("admin", &[MASTERS]);
    let response = bench.open(who, "GET", uri, &[FIRST], Vec::new()).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut body = response.into_body();
    let (mut pending, mut events) = (Vec::new(), Vec::new());
    while events.len() < count {
        let frame = body.frame().await.expect("an event").expect("the stream is whole");
        pending.extend_from_slice(&frame.into_data().expect("no trailers"));
        while let Some((length, rest)) = pending.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((event, rest)) = rest.split_at_checked(length) else { break };
            // A WatchEvent has the layout of a map's entry: a text, then a message around bytes.
            let (kind, object) = event_parts(event);
            let object = decode(&Schema::builtin(), object).expect("an object");
            events.push(serde_json::json!({"type": kind, "object": object}));
            pending = rest.to_vec();
        }
    }
    events
}

/// The two fields of a `WatchEvent`, read by hand.
fn event_parts(event: &[u8]) -> (String, &[u8]) {
    let take = |at: &mut usize| {
        let mut length = 0;
        for shift in (0..).step_by(7) {
            length |= usize::from(event[*at] & 0x7f) << shift;
            *at += 1;
            if event[*at - 1] < 0x80 {
                break;
            }
        }
        length
    };
    let mut at = 1;
    let length = take(&mut at);
    let kind = String::from_utf8(event[at..at + length].to_vec()).expect("text");
    at += length;
    assert_eq!((event[0], event[at]), (0x0a, 0x12));
    at += 1;
    let outer = take(&mut at);
    assert_eq!(at + outer, event.len());
    assert_eq!(event[at], 0x0a);
    at += 1;
    let inner = take(&mut at);
    assert_eq!(at + inner, event.len());
    (kind, &event[at..])
}

#[tokio::test]
async fn a_watch_is_a_stream_of_frames() {
    let bench = Bench::start().await;
    let first = bench.config_map("a").await.revision();
    let uri = format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    );
    let events = events(&bench, &uri, 2).await;
    assert_eq!(tree::text(&events[0], "type"), "ADDED");
    assert_eq!(tree::text(&events[0], "object.metadata.resourceVersion"), first.to_string());
    assert_eq!(tree::text(&events[0], "object.data.color"), "red");
    assert_eq!(tree::text(&events[1], "type"), "BOOKMARK");
    assert_eq!(events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let yaml = [("accept", "application/yaml")];
    let refused = bench.send_with("GET", &format!("{CONFIG_MAPS}?watch=true"), &yaml, Vec::new()).await;
    assert_eq!(refused.code, 406);
    assert!(refused.text.contains("application/json;stream=watch, application/vnd"), "{}", refused.text);
}

#[tokio::test]
async fn metadata_alone_comes_in_protobuf_and_tables_do_not() {
    let bench = Bench::start().await;
    bench.config_map("a").await;
    let answer = asked(&bench, "GET", CONFIG_MAPS, METADATA, "").await;
    let opened = envelope(&answer.bytes).expect("an envelope");
    assert_eq!(
        (opened.api_version.as_str(), opened.kind.as_str()),
        ("meta.k8s.io/v1", "PartialObjectMetadataList")
    );
    assert!(!answer.bytes.windows(3).any(|part| part == b"red"));
    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
    assert_eq!(asked(&bench, "GET", CONFIG_MAPS, ("accept", table), "").await.code, 406);
    let or_json = format!("{table},application/json;as=Table;g=meta.k8s.io;v=v1");
    let answer = asked(&bench, "GET", CONFIG_MAPS, ("accept", &or_json), "").await;
    assert_eq!(tree::text(&answer.json(), "kind"), "Table");
    assert_eq!(content_type(&answer), "application/json");
    let aggregated =
        "application/vnd.kubernetes.protobuf;as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2";
    let answer = asked(&bench, "GET", "/apis", ("accept", aggregated), "").await;
    assert_eq!(
        content_type(&answer),
        "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(envelope(&answer.bytes).expect("an envelope").kind, "APIGroupDiscoveryList");
}

#[tokio::test]
async fn custom_objects_have_no_message() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    let foos = "/apis/lab.io/v1/namespaces/default/foos";
    bench.send("POST", foos, r#"{"apiVersion":"lab.io/v1","kind":"Foo","metadata":{"name":"f"}}"#).await;
    let refused = asked(&bench, "GET", foos, ALONE, "").await;
    assert_eq!(content_type(&refused), "application/vnd.kubernetes.protobuf");
    expect!["406 NotAcceptable: only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"]
        .assert_eq(&refused.line());
    let answer = asked(&bench, "GET", foos, FIRST, "").await;
    assert_eq!(tree::text(&answer.json(), "kind"), "FooList");
    let answer = asked(&bench, "GET", foos, METADATA, "").await;
    assert_eq!(envelope(&answer.bytes).expect("an envelope").kind, "PartialObjectMetadataList");
    let answer = asked(&bench, "GET", &format!("{foos}/f/scale"), ALONE, "").await;
    assert_eq!(tree::text(&answer.json(), "kind"), "Scale");
}
