//! Fixtures: how long the node was silent, then its state and its pods: `7s Ready=True taint=x/NoSchedule | a ready`.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::plan::{Action, Seen, plan};
use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn seen(fixture: &str) -> Seen {
    let mut parts = fixture.split('|').map(str::trim);
    let mut words = parts.next().expect("a node").split_whitespace();
    let silent = words.next().and_then(|word| word.strip_suffix('s')?.parse().ok()).expect("seconds");
    let (mut conditions, mut taints, mut spec) = (Vec::<Value>::new(), Vec::<Value>::new(), json!({}));
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("cordoned", _) => spec["unschedulable"] = json!(true),
            ("taint", taint) => {
                let (key, effect) = taint.rsplit_once('/').expect("a taint");
                taints.push(json!({ "key": key, "effect": effect }));
            }
            (kind, status) => conditions.push(json!({ "type": kind, "status": status })),
        }
    }
    spec["taints"] = json!(taints);
    let node = json!({ "metadata": { "name": "n" }, "spec": spec, "status": { "conditions": conditions } });
    let pods = parts.map(|text| {
        let mut words = text.split_whitespace();
        let name = words.next();
        let ready = if words.next() == Some("ready") { "True" } else { "False" };
        let conditions = json!([{ "type": "Ready", "status": ready }]);
        let pod = json!({ "metadata": { "name": name }, "status": { "conditions": conditions } });
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    });
    Seen {
        node: Arc::new(serde_json::from_value(node).expect("a node")),
        silent_for: Duration::from_secs(silent),
        pods: pods.collect(),
    }
}

fn check(fixture: &str, expected: Expect) {
    let steps = plan(&seen(fixture), NOW.parse().expect("a time")).into_iter().map(|action| match action {
        Action::Conditions(conditions) => {
            let all = conditions.iter().map(|condition| format!("{}={}", condition.type_, condition.status));
            format!("conditions {}", all.collect::<Vec<_>>().join(" "))
        }
        Action::Taints(taints) => {
            let all = taints.iter().map(|taint| {
                format!("{}:{}", taint.key.trim_start_matches("node.kubernetes.io/"), taint.effect)
            });
            format!("taints {}", all.collect::<Vec<_>>().join(" "))
        }
        Action::PodNotReady(pod, _) => format!("pod {} not ready", pod.name()),
        Action::Again(delay) => format!("again in {delay:?}"),
    });
    expected.assert_eq(&steps.collect::<Vec<_>>().join("; "));
}

#[test]
fn a_silent_node_is_unknown_then_tainted_and_its_pods_not_ready() {
    check("2s Ready=True | a ready", expect!["again in 3s"]);
    check(
        "6s Ready=True MemoryPressure=False | a ready",
        expect!["conditions Ready=Unknown MemoryPressure=Unknown"],
    );
    check(
        "7s Ready=Unknown | a ready | b",
        expect!["taints unreachable:NoSchedule unreachable:NoExecute; pod a not ready"],
    );
}

#[test]
fn a_node_that_is_back_loses_the_taints() {
    check(
        "1s Ready=True taint=node.kubernetes.io/unreachable/NoSchedule taint=node.kubernetes.io/unreachable/NoExecute taint=mine/NoSchedule",
        expect!["taints mine:NoSchedule; again in 4s"],
    );
    check(
        "1s Ready=Unknown taint=node.kubernetes.io/unreachable/NoSchedule taint=node.kubernetes.io/unreachable/NoExecute",
        expect!["again in 4s"],
    );
}

#[test]
fn its_own_conditions_and_cordon_taint_it_too() {
    check("0s Ready=False", expect!["taints not-ready:NoSchedule not-ready:NoExecute; again in 5s"]);
    check(
        "0s Ready=True cordoned DiskPressure=True",
        expect!["taints unschedulable:NoSchedule disk-pressure:NoSchedule; again in 5s"],
    );
}

#[test]
fn a_node_without_conditions_is_not_ready() {
    check("9s", expect!["conditions Ready=Unknown"]);
}
