//! What objects count for, and which quotas mean them.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::core::persistent_volume_claim::PERSISTENT_VOLUME_CLAIM;
use crate::core::pod::POD;
use crate::core::secret::SECRET;
use crate::core::service::SERVICE;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().expect("a time")
}

fn check(kind: &Kind, object: Value, expected: Expect) {
    let measure = Measure::of(kind, &object, now());
    let lines = measure.usage.iter().map(|(name, amount)| format!("{name}={amount}\n"));
    expected.assert_eq(&lines.collect::<String>());
}

fn container(name: &str, resources: Value) -> Value {
    json!({"name": name, "resources": resources})
}

#[test]
fn a_pod_counts_for_its_worst_moment() {
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu, "memory": "64Mi"}});
    let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": asks("50m")});
    check(
        &POD,
        json!({"spec": {
            "containers": [container("a", asks("100m")), container("b", asks("200m"))],
            "initContainers": [container("i", asks("1")), sidecar, container("j", asks("500m"))],
            "overhead": {"cpu": "10m", "memory": "1Mi"},
        }}),
        expect![[r#"
            count/pods=1
            cpu=1010m
            limits.cpu=1010m
            limits.memory=193Mi
            memory=1Mi
            pods=1
            requests.cpu=1010m
            requests.memory=1Mi
        "#]],
    );
    let other =
        json!({"requests": {"nvidia.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi"}});
    check(
        &POD,
        json!({"spec": {"containers": [container("a", other)]}}),
        expect![[r#"
            count/pods=1
            ephemeral-storage=1Gi
            hugepages-2Mi=4Mi
            pods=1
            requests.ephemeral-storage=1Gi
            requests.hugepages-2Mi=4Mi
            requests.nvidia.com/gpu=2
        "#]],
    );
}

#[test]
fn a_pod_that_ended_only_exists() {
    let ended = json!({"status": {"phase": "Succeeded"}});
    check(&POD, ended, expect!["count/pods=1\n"]);
    let going = |at: &str| json!({"metadata": {"deletionTimestamp": at, "deletionGracePeriodSeconds": 30}});
    check(&POD, going("2026-11-21T11:59:20Z"), expect!["count/pods=1\n"]);
    check(&POD, going("2026-11-21T11:59:40Z"), expect!["count/pods=1\npods=1\n"]);
}

#[test]
fn services_claims_and_the_rest() {
    let ports = json!([{"port": 80}, {"port": 81, "nodePort": 30000}]);
    let service = |fields: Value| {
        let mut spec = json!({"ports": ports});
        for (name, value) in fields.as_object().expect("fields") {
            spec[name] = value.clone();
        }
        json!({"spec": spec})
    };
    check(
        &SERVICE,
        service(json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false})),
        expect![[r#"
            count/services=1
            services=1
            services.loadbalancers=1
            services.nodeports=1
        "#]],
    );
    check(
        &SERVICE,
        service(json!({"type": "NodePort"})),
        expect![[r#"
            count/services=1
            services=1
            services.loadbalancers=0
            services.nodeports=2
        "#]],
    );
    check(
        &PERSISTENT_VOLUME_CLAIM,
        json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
        expect![[r#"
            count/persistentvolumeclaims=1
            gold.storageclass.storage.k8s.io/persistentvolumeclaims=1
            gold.storageclass.storage.k8s.io/requests.storage=1Gi
            persistentvolumeclaims=1
            requests.storage=1Gi
        "#]],
    );
    check(&SECRET, json!({}), expect!["count/secrets=1\nsecrets=1\n"]);
}

#[test]
fn names_say_what_must_be_counted() {
    let names = [
        "count/foos.lab.io",
        "count/pods",
        "cpu",
        "limits.memory",
        "requests.nvidia.com/gpu",
        "gold.storageclass.storage.k8s.io/requests.storage",
        "services.nodeports",
        "secrets",
        "nonsense",
    ];
    let found: Vec<String> =
        resources(names.into_iter()).into_iter().map(|(g, p)| format!("{p}.{g}")).collect();
    expect!["persistentvolumeclaims. pods. secrets. services. foos.lab.io"].assert_eq(&found.join(" "));
    for (name, known) in [
        ("requests.cpu", true),
        ("limits.ephemeral-storage", true),
        ("requests.hugepages-2Mi", true),
        ("nvidia.com/gpu", false),
        ("limits.nvidia.com/gpu", false),
        ("limits.hugepages-2Mi", false),
    ] {
        assert_eq!(pods::is_name(name), known, "{name}");
    }
}

#[test]
fn what_is_limited_must_be_said() {
    let pod = json!({"spec": {
        "containers": [container("b", json!({"limits": {"cpu": "1"}})), container("a", json!({}))],
    }});
    let missing = |names: &[&str]| missing(&pod, names.iter().copied()).unwrap_or_default();
    assert_eq!(missing(&["limits.cpu", "memory", "pods"]), "limits.cpu for: a; memory for: a,b");
    assert_eq!(missing(&["requests.ephemeral-storage", "pods"]), "");
}

#[test]
fn scopes_say_which_objects_are_meant() {
    let quota = |scopes: &[&str], need: Value| json!({"spec": {"scopes": scopes, "scopeSelector": {"matchExpressions": need}}});
    let class = |operator: &str, values: &[&str]| json!([{"scopeName": "PriorityClass", "operator": operator, "values": values}]);
    let pod = |spec: Value| Measure::of(&POD, &json!({"spec": spec}), now());
    let (plain, high) =
        (pod(json!({})), pod(json!({"priorityClassName": "high", "activeDeadlineSeconds": 5})));
    for (quota, of_plain, of_high) in [
        (quota(&[], json!([])), true, true),
        (quota(&["BestEffort", "NotTerminating"], json!([])), true, false),
        (quota(&["NotBestEffort"], json!([])), false, false),
        (quota(&["Terminating"], json!([])), false, true),
        (quota(&["PriorityClass"], json!([])), false, true),
        (quota(&[], class("In", &["high", "low"])), false, true),
        (quota(&[], class("NotIn", &["high"])), true, false),
        (quota(&[], class("DoesNotExist", &[])), true, false),
        (quota(&["CrossNamespacePodAffinity"], json!([])), false, false),
    ] {
        assert_eq!((plain.is_in_scope(&quota), high.is_in_scope(&quota)), (of_plain, of_high), "{quota}");
    }
    let term = json!({"podAffinityTerm": {"namespaceSelector": {}, "topologyKey": "x"}});
    let near = json!({"preferredDuringSchedulingIgnoredDuringExecution": [term]});
    let near = pod(json!({"affinity": {"podAffinity": near}}));
    assert!(near.is_in_scope(&quota(&["CrossNamespacePodAffinity"], json!([]))));
    let secret = Measure::of(&SECRET, &json!({}), now());
    assert!(
        secret.is_in_scope(&quota(&[], json!([]))) && !secret.is_in_scope(&quota(&["BestEffort"], json!([])))
    );
}
