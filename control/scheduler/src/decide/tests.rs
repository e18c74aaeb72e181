//! Fixtures: the pod, then the nodes: `cpu=500m | a cpu=1 used=600m | b cordoned`. Nodes have 4 CPUs, 8Gi and room for 10 pods
//! unless they say otherwise.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn pod(text: &str) -> PodInfo {
    let mut pod = json!({
        "metadata": { "name": "pod", "namespace": "default" },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": {} } }], "tolerations": [] },
    });
    for word in text.split_whitespace() {
        let spec = &mut pod["spec"];
        match word.split_once('=').unwrap_or((word, "")) {
            ("cpu", n) => spec["containers"][0]["resources"]["requests"]["cpu"] = json!(n),
            ("memory", n) => spec["containers"][0]["resources"]["requests"]["memory"] = json!(n),
            ("port", n) => {
                let port: i32 = n.parse().expect("a port");
                spec["containers"][0]["ports"] = json!([{ "containerPort": port, "hostPort": port }]);
            }
            ("tolerates", key) => spec["tolerations"] = json!([{ "key": key, "operator": "Exists" }]),
            ("selects", label) => {
                let (key, value) = label.split_once(':').expect("a label");
                spec["nodeSelector"] = json!({ key: value });
            }
            ("requires", zone) => {
                let term =
                    json!({ "matchExpressions": [{ "key": "zone", "operator": "In", "values": [zone] }] });
                spec["affinity"] = json!({ "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } } });
            }
            ("prefers", zone) => {
                let term =
                    json!({ "matchExpressions": [{ "key": "zone", "operator": "In", "values": [zone] }] });
                spec["affinity"] = json!({ "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 10, "preference": term }] } });
            }
            ("group", uid) => pod["metadata"]["ownerReferences"] = owner(uid),
            ("on", node) => spec["nodeName"] = json!(node),
            _ => panic!("unknown word {word}"),
        }
    }
    PodInfo::of(&Arc::new(serde_json::from_value(pod).expect("a pod")))
}

fn owner(uid: &str) -> Value {
    json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "uid": uid, "controller": true }])
}

fn snapshot<'a>(nodes: impl Iterator<Item = &'a str>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for text in nodes {
        let mut words = text.split_whitespace();
        let name = words.next().expect("a name");
        let mut node = json!({
            "metadata": { "name": name, "labels": {} }, "spec": { "taints": [] },
            "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10" } },
        });
        let mut on_it = Vec::new();
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("cordoned", _) => node["spec"]["unschedulable"] = json!(true),
                ("taint", taint) => {
                    let (key, effect) = taint.split_once(':').expect("a taint");
                    node["spec"]["taints"].as_array_mut().expect("a list").push(json!({
                        "key": key, "effect": effect }));
                }
                ("zone", zone) => node["metadata"]["labels"]["zone"] = json!(zone),
                ("cpu" | "memory" | "pods", n) => {
                    let name = word.split('=').next().expect("a name");
                    node["status"]["allocatable"][name] = json!(n);
                }
                ("has", words) => on_it.push(pod(&words.replace(',', " ").replace(':', "="))),
                _ => panic!("unknown word {word}"),
            }
        }
        snapshot.set_node(name, Some(Arc::new(serde_json::from_value(node).expect("a node"))));
        for (number, mut pod) in on_it.into_iter().enumerate() {
            pod.key.name = format!("{name}-{number}");
            snapshot.assume(pod, name);
        }
    }
    snapshot
}

fn check(fixture: &str, expected: Expect) {
    let (wanted, nodes) = fixture.split_once('|').unwrap_or((fixture, ""));
    let snapshot = snapshot(nodes.split('|').map(str::trim).filter(|text| !text.is_empty()));
    expected.assert_eq(&match decide(&pod(wanted), &snapshot) {
        Decision::Node(node) => node,
        Decision::Nowhere(message) => message,
    });
}

#[test]
fn says_why_nowhere_as_kubernetes_does() {
    check("", expect!["no nodes available to schedule pods"]);
    check("cpu=5 | a | b", expect!["0/2 nodes are available: 2 Insufficient cpu."]);
    check(
        "cpu=2 memory=9Gi | a cpu=1 | b cordoned | c taint=gpu:NoSchedule | d pods=0",
        expect![
            "0/4 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) had untolerated taint {gpu: }, 1 node(s) were unschedulable, 2 Insufficient memory."
        ],
    );
    check(
        "selects=zone:x port=80 | a zone=y | b zone=x has=port:80",
        expect![
            "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match Pod's node affinity/selector."
        ],
    );
}

#[test]
fn goes_where_it_fits() {
    check("cpu=500m | a cpu=1 has=cpu:600m | b cpu=1 has=cpu:500m", expect!["b"]);
    check("requires=y | a zone=x | b zone=y", expect!["b"]);
    check("tolerates=gpu | a taint=gpu:NoSchedule", expect!["a"]);
    check("tolerates=node.kubernetes.io/unschedulable | a cordoned", expect!["a"]);
    check("on=b | a | b", expect!["b"]);
}

#[test]
fn spreads_the_pods_of_one_controller() {
    check("group=web | a has=group:web | b", expect!["b"]);
    check("group=web | a has=group:web | b has=group:web has=group:web", expect!["a"]);
    check("group=web | a has=group:web | b has=cpu:1", expect!["b"]);
}

#[test]
fn prefers_the_emptier_the_untainted_and_the_preferred() {
    check("cpu=1 | a has=cpu:2,memory:4Gi | b has=cpu:1,memory:2Gi", expect!["b"]);
    check("cpu=1 | a taint=busy:PreferNoSchedule | b has=cpu:2", expect!["b"]);
    check("prefers=y | a zone=x | b zone=y", expect!["b"]);
    check("| b | a", expect!["a"]);
}

#[test]
fn a_forgotten_assumption_gives_back_what_it_took() {
    let mut snapshot = snapshot(["a cpu=1"].into_iter());
    let first = pod("cpu=1");
    snapshot.assume(first.clone(), "a");
    let mut second = pod("cpu=1");
    second.key.name = "second".to_owned();
    assert!(matches!(decide(&second, &snapshot), Decision::Nowhere(_)));
    snapshot.forget(&first.pod);
    assert_eq!(decide(&second, &snapshot), Decision::Node("a".to_owned()));
}
