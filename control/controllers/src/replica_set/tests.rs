//! Fixtures: `replicas=2 min_ready=10 | a running ready node=n1 age=60 | b pending`, pods in order.

use base::Timestamp;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::plan::{Action, Seen, plan};
use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn at(age: i64) -> String {
    let time = now() - std::time::Duration::from_secs(u64::try_from(age).expect("an age"));
    time.to_string()
}

fn pod(text: &str) -> Pod {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name");
    let mut pod = json!({
        "metadata": { "name": name, "uid": format!("uid-{name}"), "labels": { "app": "web" },
            "namespace": "default",
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set",
                "controller": true }] },
        "status": { "phase": "Running" },
    });
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("pending", _) => pod["status"]["phase"] = json!("Pending"),
            ("failed", _) => pod["status"]["phase"] = json!("Failed"),
            ("going", _) => pod["metadata"]["deletionTimestamp"] = json!(NOW),
            ("stray", _) => pod["metadata"]["labels"] = json!({}),
            ("orphan", _) => pod["metadata"]["ownerReferences"] = Value::Null,
            ("ready", age) => {
                let since = at(age.parse().unwrap_or(3600));
                pod["status"]["conditions"] =
                    json!([{ "type": "Ready", "status": "True", "lastTransitionTime": since }]);
            }
            ("node", node) => pod["spec"] = json!({ "nodeName": node, "containers": [] }),
            ("age", age) => pod["metadata"]["creationTimestamp"] = json!(at(age.parse().expect("an age"))),
            ("cost", cost) => {
                pod["metadata"]["annotations"] =
                    json!({ "controller.kubernetes.io/pod-deletion-cost": cost });
            }
            _ => panic!("unknown word {word}"),
        }
    }
    serde_json::from_value(pod).expect("a pod")
}

fn seen(fixture: &str) -> Seen {
    let mut parts = fixture.split('|').map(str::trim);
    let mut set = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "set", "generation": 1 },
        "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } } } },
    });
    for word in parts.next().expect("the set").split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("replicas", n) => set["spec"]["replicas"] = json!(n.parse::<i32>().expect("a number")),
            ("min_ready", n) => set["spec"]["minReadySeconds"] = json!(n.parse::<i32>().expect("a number")),
            ("going", _) => set["metadata"]["deletionTimestamp"] = json!(NOW),
            _ => panic!("unknown word {word}"),
        }
    }
    let all: Vec<_> = parts.map(|text| Arc::new(pod(text))).collect();
    let (pods, orphans): (Vec<_>, Vec<_>) = all.into_iter().partition(|pod| controller_of(&**pod).is_some());
    let set = Arc::new(serde_json::from_value(set).expect("a set"));
    Seen { set, related: pods.clone(), pods, orphans }
}

fn check(fixture: &str, expected: Expect) {
    let steps = plan(&seen(fixture), now()).into_iter().map(|action| match action {
        Action::Adopt { pod, .. } => format!("adopt {}", pod.name()),
        Action::Release { pod, .. } => format!("release {}", pod.name()),
        Action::Create { count, .. } => format!("create {count}"),
        Action::Delete { pod, .. } => format!("delete {}", pod.name()),
        Action::Status { status, .. } => format!(
            "status {} ready {} available {}",
            status.replicas,
            status.ready_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0)
        ),
        Action::Again(delay) => format!("again in {delay:?}"),
    });
    expected.assert_eq(&steps.collect::<Vec<_>>().join("; "));
}

#[test]
fn creates_what_is_missing() {
    check("replicas=3 | a ready node=n1", expect!["create 2; status 1 ready 1 available 1"]);
    check("replicas=2 | a failed | b going | c ready", expect!["create 1; status 1 ready 1 available 1"]);
}

#[test]
fn deletes_as_kubernetes_ranks() {
    check(
        "replicas=1 | keep ready node=n1 age=900 | new ready=60 node=n2 age=60 | unready node=n2",
        expect!["delete unready; delete new; status 3 ready 2 available 2"],
    );
    check(
        "replicas=1 | bound pending node=n1 | unbound pending",
        expect!["delete unbound; status 2 ready 0 available 0"],
    );
    check(
        "replicas=2 | a ready node=n1 | b ready node=n1 age=5 | c ready node=n2",
        expect!["delete b; status 3 ready 3 available 3"],
    );
    check(
        "replicas=1 | cheap ready cost=-5 age=900 | dear ready cost=5 age=1",
        expect!["delete cheap; status 2 ready 2 available 2"],
    );
}

#[test]
fn claims_before_it_counts() {
    check("replicas=2 | a orphan | b ready", expect!["adopt a; status 1 ready 1 available 1"]);
    check("replicas=1 | a stray | b ready", expect!["release a; status 1 ready 1 available 1"]);
}

#[test]
fn a_set_on_its_way_out_only_counts() {
    check("replicas=3 going | a ready | b orphan", expect!["status 1 ready 1 available 1"]);
}

#[test]
fn available_only_after_min_ready_seconds() {
    check(
        "replicas=2 min_ready=30 | a ready=10 | b ready=40",
        expect!["status 2 ready 2 available 1; again in 20s"],
    );
}
