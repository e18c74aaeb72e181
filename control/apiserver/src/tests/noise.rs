//! Requests made by chance: whatever comes, it is answered, in little time, and no answer is our fault.

use std::time::Duration;

use kinds::tree;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use tokio::time::Instant;

use super::bench::{Bench, CONFIG_MAPS};

/// Generous, since tests share a machine; a parser that runs away needs longer.
const TIME_MAX: Duration = Duration::from_secs(20);
const TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
    "text/plain",
    "",
];
const SEEDS: &[&[u8]] = &[
    br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"x":"y"}},"data":{"k":"v"}}"#,
    br#"[{"op":"add","path":"/data","value":{"a":"b"}},{"op":"test","path":"/metadata/name","value":"a"},{"op":"move","from":"/data","path":"/binaryData"}]"#,
    br#"{"$patch":"replace","metadata":{"$retainKeys":["name"],"finalizers":["a/b"],"$deleteFromPrimitiveList/finalizers":["a/b"]}}"#,
    b"apiVersion: v1\nkind: ConfigMap\nmetadata: &m\n  name: a\ndata:\n  k: |\n    long\n  l: *m\n",
    b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0f\x0a\x05\x0a\x03abc\x12\x06\x0a\x01a\x12\x01b",
];

/// Bytes that are nearly a body.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let nearly = (
        0..SEEDS.len(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
        0..4u8,
    )
        .prop_map(|(seed, changes, cut, how)| {
            let mut bytes = SEEDS[seed].to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            match how {
                0 => bytes.truncate(cut.index(bytes.len())),
                1 => {
                    let again = bytes[cut.index(bytes.len())..].to_vec();
                    bytes.extend(again);
                }
                _ => {}
            }
            bytes
        });
    let deep = (1usize..20_000, prop::sample::select(vec!["[", "{\"a\":", "- ", "{\"metadata\":", "a: {"]))
        .prop_map(|(depth, open)| open.repeat(depth).into_bytes());
    prop_oneof![6 => nearly, 1 => deep, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// Values of a query that are nearly right.
fn query() -> impl Strategy<Value = String> {
    let names = vec![
        "labelSelector",
        "fieldSelector",
        "limit",
        "continue",
        "resourceVersion",
        "resourceVersionMatch",
        "dryRun",
        "fieldValidation",
        "fieldManager",
        "force",
        "pretty",
        "timeoutSeconds",
        "atRevision",
        "atTime",
        "includeObject",
        "gracePeriodSeconds",
        "propagationPolicy",
    ];
    let values = prop_oneof![
        prop::sample::select(vec![
            "",
            "0",
            "-1",
            "1",
            "99999999999999999999",
            "a in (b,c),!d",
            "a in (",
            "a=b,c!=d",
            "metadata.name=a",
            "All",
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0",
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ",
            "Exact",
            "NotOlderThan",
            "Strict",
            "true",
            "2026-01-01T00:00:00Z",
            "Object",
            "Foreground",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,40}",
        prop::collection::vec(any::<u8>(), 0..30)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        (0usize..5_000).prop_map(|depth| "(".repeat(depth)),
    ];
    prop::collection::vec((prop::sample::select(names), values), 0..4).prop_map(|pairs| {
        let encoded = |value: &str| value.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let parts = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        parts.collect::<Vec<_>>().join("&")
    })
}

#[test]
fn every_request_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bench = runtime.block_on(Bench::start());
    let methods = prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE"]);
    let accepts = prop::sample::select(vec![
        "application/json",
        "application/vnd.kubernetes.protobuf",
        "application/yaml",
        "application/json;as=Table;g=meta.k8s.io;v=v1",
    ]);
    let request = (methods, any::<bool>(), query(), prop::sample::select(TYPES.to_vec()), accepts, body());
    let cases = ProptestConfig::default().cases * 2;
    let mut runner =
        TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&request, |(method, named, query, content_type, accept, body)| {
        let uri = format!("{CONFIG_MAPS}{}?{query}", if named { "/a" } else { "" });
        let headers = [("content-type", content_type), ("accept", accept)];
        let began = Instant::now();
        let answer = runtime.block_on(bench.send_with(method, &uri, &headers, body));
        prop_assert!(began.elapsed() < TIME_MAX, "{method} {uri} took {:?}", began.elapsed());
        prop_assert!(answer.code < 500 || answer.code == 504, "{method} {uri}: {}", answer.text);
        if answer.code >= 400 && accept != "application/yaml" {
            prop_assert_eq!(
                tree::text(&answer.json(), "kind").to_owned(),
                "Status",
                "{} {}: {}",
                method,
                uri,
                answer.text
            );
        }
        Ok(())
    });
    outcome.expect("every request is answered");
}
