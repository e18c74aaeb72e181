//! Tests of admission.

use expect_test::{Expect, expect};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::*;

fn pod(name: &str, spec: Value) -> Pod {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": spec})).unwrap()
}

fn asks(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

fn node() -> Node {
    let labels = json!({"kubernetes.io/os": "linux", "zone": "a"});
    serde_json::from_value(json!({"metadata": {"name": "n", "labels": labels}})).unwrap()
}

fn said(pod: &Pod, others: &[Pod], circumstances: &Circumstances) -> String {
    let amounts = [("cpu", "2"), ("memory", "1Gi"), ("ephemeral-storage", "1Gi"), ("pods", "3")];
    let allocatable: Allocatable =
        amounts.map(|(what, amount)| (what.to_owned(), Quantity(amount.to_owned()))).into();
    let node = node();
    let scene = Scene {
        node: Some(&node),
        allocatable: &allocatable,
        circumstances,
        others: others.iter().collect(),
    };
    match admit(pod, &scene) {
        Ok(()) => "taken".to_owned(),
        Err(refused) => format!("{}: {}", refused.reason, refused.message),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "expect! makes values")]
fn check(spec: Value, others: &[Pod], expected: Expect) {
    expected.assert_eq(&said(&pod("p", spec), others, &Circumstances::default()));
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let half = [pod("q", asks(json!({"cpu": "1500m", "memory": "512Mi"})))];
    check(json!({}), &half, expect!["taken"]);
    check(asks(json!({"cpu": "500m", "memory": "512Mi"})), &half, expect!["taken"]);
    check(
        asks(json!({"cpu": "501m"})),
        &half,
        expect![
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000"
        ],
    );
    check(
        asks(json!({"memory": "513Mi"})),
        &half,
        expect![
            "OutOfmemory: Node didn't have enough resource: memory, requested: 537919488, used: 536870912, capacity: 1073741824"
        ],
    );
    check(
        asks(json!({"ephemeral-storage": "2Gi"})),
        &half,
        expect![
            "OutOfephemeral-storage: Node didn't have enough resource: ephemeral-storage, requested: 2147483648, used: 0, capacity: 1073741824"
        ],
    );
    check(asks(json!({"example.com/gpu": "1"})), &half, expect!["taken"]);
    let three = ["a", "b", "c"].map(|name| pod(name, json!({})));
    check(
        json!({}),
        &three,
        expect!["OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"],
    );
}

#[test]
fn a_pod_is_counted_as_the_scheduler_counts_it() {
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let counted = |spec: Value| Requests::of(&pod("p", spec)).get("cpu");
    let containers =
        json!([{"name": "a", "resources": asks("100m")}, {"name": "b", "resources": asks("200m")}]);
    let init = |name: &str, cpu: &str| json!({"name": name, "resources": asks(cpu)});
    let sidecar =
        |name: &str, cpu: &str| json!({"name": name, "resources": asks(cpu), "restartPolicy": "Always"});
    assert_eq!(counted(json!({"containers": containers})), 300);
    assert_eq!(counted(json!({"containers": containers, "overhead": {"cpu": "50m"}})), 350);
    assert_eq!(counted(json!({"containers": containers, "initContainers": [init("i", "1")]})), 1000);
    let with_sidecar = json!([init("i", "400m"), sidecar("s", "100m"), init("j", "350m")]);
    assert_eq!(counted(json!({"containers": containers, "initContainers": with_sidecar})), 450);
    assert_eq!(counted(json!({"containers": containers, "resources": asks("1")})), 1000);
    let mut resized = pod("p", json!({"containers": [{"name": "a", "resources": asks("100m")}]}));
    let status = json!({"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "resources": {}, "allocatedResources": {"cpu": "700m"}});
    resized.status = serde_json::from_value(json!({"containerStatuses": [status]})).unwrap();
    assert_eq!(Requests::of(&resized).get("cpu"), 700, "as it was given, not as it is specified");
}

#[test]
fn a_pod_that_is_meant_for_another_node_is_refused() {
    check(json!({"nodeSelector": {"zone": "a"}}), &[], expect!["taken"]);
    check(
        json!({"nodeSelector": {"zone": "b"}}),
        &[],
        expect![
            "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        ],
    );
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    check(json!({"affinity": {"nodeAffinity": required}}), &[], expect!["taken"]);
    check(
        json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
        &[],
        expect![
            "PodOSSelectorNodeLabelDoesNotMatch: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        ],
    );
    check(
        json!({"os": {"name": "windows"}}),
        &[],
        expect!["PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"],
    );
}

#[test]
fn a_port_of_the_node_is_given_once() {
    let wants = |ip: &str, protocol: &str| {
        let port = json!({"containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": protocol});
        json!({"containers": [{"name": "c", "ports": [port]}]})
    };
    let others = [pod("q", wants("10.0.0.1", "TCP"))];
    check(wants("10.0.0.2", "TCP"), &others, expect!["taken"]);
    check(wants("", "UDP"), &others, expect!["taken"]);
    check(
        wants("", "TCP"),
        &others,
        expect![
            "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        ],
    );
}

#[test]
fn a_node_in_need_takes_only_who_must_run() {
    let short_of = |pressures: &[&str]| Circumstances {
        pressures: pressures.iter().map(|it| (*it).to_owned()).collect(),
        shuts_down: false,
    };
    let (memory, disk) = (short_of(&["MemoryPressure"]), short_of(&["DiskPressure"]));
    let best_effort = pod("p", json!({}));
    let burstable = pod("p", asks(json!({"cpu": "1m"})));
    let critical = pod("p", json!({"priority": 2_000_000_000}));
    let toleration = json!([{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]);
    let tolerant = pod("p", json!({"tolerations": toleration}));
    let said = |pod: &Pod, circumstances: &Circumstances| said(pod, &[], circumstances);
    assert_eq!(said(&best_effort, &memory), "Evicted: The node had condition: [MemoryPressure]. ");
    assert_eq!(said(&burstable, &memory), "taken");
    assert_eq!(said(&tolerant, &memory), "taken");
    assert_eq!(said(&critical, &memory), "taken");
    assert_eq!(said(&burstable, &disk), "Evicted: The node had condition: [DiskPressure]. ");
    assert_eq!(said(&tolerant, &disk), "Evicted: The node had condition: [DiskPressure]. ");
    assert_eq!(said(&critical, &disk), "taken");
    let both = short_of(&["MemoryPressure", "DiskPressure"]);
    assert_eq!(said(&burstable, &both), "Evicted: The node had condition: [MemoryPressure DiskPressure]. ");
    let mut from_file = best_effort;
    from_file.metadata.annotations =
        Some([("kubernetes.io/config.source".to_owned(), "file".to_owned())].into());
    assert_eq!(said(&from_file, &disk), "taken");
}

#[test]
fn a_node_that_goes_down_takes_nothing() {
    let circumstances = Circumstances { pressures: Vec::new(), shuts_down: true };
    let critical = pod("p", json!({"priority": 2_000_000_000}));
    assert_eq!(
        said(&critical, &[], &circumstances),
        "NodeShutdown: Pod was rejected as the node is shutting down."
    );
}
