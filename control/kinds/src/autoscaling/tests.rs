//! Autoscalers: defaults, validation, columns, and that the versions say the same.

use expect_test::expect;
use serde_json::{Value, json};

use super::horizontal_pod_autoscaler::HORIZONTAL_POD_AUTOSCALER as HPA;
use super::older::{HORIZONTAL_POD_AUTOSCALER_V1 as V1, HORIZONTAL_POD_AUTOSCALER_V2BETA2 as V2BETA2};
use crate::check::{create_errors, created, object, row, update};

fn scaling(fields: Value) -> Value {
    let mut spec = json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
    for (name, value) in fields.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    json!({"spec": spec})
}

#[test]
fn nothing_said_means_the_processor() {
    let made =
        created(&HPA, scaling(json!({"maxReplicas": 3, "behavior": {"scaleDown": {"selectPolicy": "Min"}}})));
    expect![[r#"{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3,"behavior":{"scaleDown":{"selectPolicy":"Min","policies":[{"type":"Percent","value":100,"periodSeconds":15}]},"scaleUp":{"stabilizationWindowSeconds":0,"selectPolicy":"Max","policies":[{"type":"Pods","value":4,"periodSeconds":15},{"type":"Percent","value":100,"periodSeconds":15}]}},"minReplicas":1,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]}"#]]
        .assert_eq(&made["spec"].to_string());
}

#[test]
fn what_is_refused() {
    expect![[r#"
        spec.minReplicas: Invalid value: 0: must be greater than or equal to 1
        spec.maxReplicas: Invalid value: -1: must be greater than 0
        spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`
        spec.scaleTargetRef.kind: Required value
        spec.scaleTargetRef.name: Required value
        spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas
    "#]].assert_eq(&create_errors(&HPA, json!({"spec": {"minReplicas": 0, "maxReplicas": -1}})));
    let of = |metric: Value| create_errors(&HPA, scaling(json!({"maxReplicas": 3, "metrics": [metric]})));
    let target = json!({"type": "Value", "value": "0"});
    expect![[r#"
        spec.metrics[0].object.metric.name: Invalid value: "a/b": may not contain '/'
        spec.metrics[0].object.describedObject.name: Required value
        spec.metrics[0].object.target.value: Invalid value: "0": must be positive
        spec.metrics[0].pods: Required value: must populate information for the given metric source
    "#]].assert_eq(&of(json!({"type": "Pods", "object": {"describedObject": {"kind": "Service"}, "metric": {"name": "a/b"}, "target": target}})));
    expect![[r#"
        spec.metrics[0].resource.name: Required value: must specify a resource name
        spec.metrics[0].resource.target.type: Invalid value: "Share": must be either Utilization, Value, or AverageValue
        spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0
        spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization
    "#]].assert_eq(&of(json!({"type": "Resource", "resource": {"target": {"type": "Share", "averageUtilization": 0, "averageValue": "1"}}})));
    expect![[r#"
        spec.metrics[0].type: Unsupported value: "CPU": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"
    "#]].assert_eq(&of(json!({"type": "CPU"})));
    let rules = json!({"stabilizationWindowSeconds": 3601, "selectPolicy": "Any", "policies": [{"type": "Nodes", "periodSeconds": 1801}]});
    expect![[r#"
        spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600
        spec.behavior.scaleUp.selectPolicy: Unsupported value: "Any": supported values: "Disabled", "Max", "Min"
        spec.behavior.scaleUp.policies[0].type: Unsupported value: "Nodes": supported values: "Percent", "Pods"
        spec.behavior.scaleUp.policies[0].value: Invalid value: null: must be greater than zero
        spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800
    "#]].assert_eq(&create_errors(&HPA, scaling(json!({"maxReplicas": 1, "behavior": {"scaleUp": rules}}))));
    expect![""].assert_eq(&create_errors(&HPA, scaling(json!({"maxReplicas": 1}))));
}

#[test]
fn columns() {
    let metrics = json!([
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
        {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "30"}}},
        {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "1"}}}]);
    let measured =
        json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}]);
    let mut fields = scaling(json!({"maxReplicas": 3, "minReplicas": 2, "metrics": metrics}));
    fields["status"] = json!({"currentReplicas": 2, "currentMetrics": measured});
    expect![[r#"
        Name: x
        Reference: Deployment/web
        Targets: cpu: 12%/80%, <unknown>/30 (avg) + 1 more...
        MinPods: 2
        MaxPods: 3
        Replicas: 2
        Age: 4m30s
    "#]]
    .assert_eq(&row(&HPA, fields));
}

/// An object of v2, in v1 and back.
#[test]
fn v1_loses_nothing() {
    let mut whole = scaling(json!({"maxReplicas": 5, "minReplicas": 2, "metrics": [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
        {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "web"},
            "metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "Value", "value": "2k"}}},
        {"type": "Pods", "pods": {"metric": {"name": "packets"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
        {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "target": {"type": "Utilization", "averageUtilization": 60}}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}));
    whole["status"] = json!({"currentReplicas": 2, "desiredReplicas": 3,
        "conditions": [{"type": "AbleToScale", "status": "True"}],
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10, "averageValue": "5m"}}}]});
    let mut stored = object(&HPA, whole);
    HPA.default_fields(&mut stored);
    let mut old = stored.clone();
    V1.serve(&mut old);
    expect![[r#"{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"x","namespace":"default","creationTimestamp":"2026-11-21T11:55:30Z","annotations":{"autoscaling.alpha.kubernetes.io/metrics":"[{\"type\":\"Object\",\"object\":{\"target\":{\"kind\":\"Service\",\"name\":\"web\"},\"targetValue\":\"2k\",\"metricName\":\"hits\",\"selector\":{\"matchLabels\":{\"a\":\"b\"}}}},{\"type\":\"Pods\",\"pods\":{\"metricName\":\"packets\",\"targetAverageValue\":\"1k\"}},{\"type\":\"ContainerResource\",\"containerResource\":{\"name\":\"cpu\",\"container\":\"app\",\"targetAverageUtilization\":60}}]","autoscaling.alpha.kubernetes.io/current-metrics":"[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"currentAverageUtilization\":10,\"currentAverageValue\":\"5m\"}}]","autoscaling.alpha.kubernetes.io/conditions":"[{\"type\":\"AbleToScale\",\"status\":\"True\"}]","autoscaling.alpha.kubernetes.io/behavior":"{\"scaleDown\":{\"stabilizationWindowSeconds\":60,\"selectPolicy\":\"Max\",\"policies\":[{\"type\":\"Percent\",\"value\":100,\"periodSeconds\":15}]},\"scaleUp\":{\"stabilizationWindowSeconds\":0,\"selectPolicy\":\"Max\",\"policies\":[{\"type\":\"Pods\",\"value\":4,\"periodSeconds\":15},{\"type\":\"Percent\",\"value\":100,\"periodSeconds\":15}]}}"}},"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":5,"minReplicas":2,"targetCPUUtilizationPercentage":50},"status":{"currentReplicas":2,"desiredReplicas":3,"currentCPUUtilizationPercentage":10}}"#]].assert_eq(&old.to_string());
    let mut again = old.clone();
    V1.store(&mut again);
    assert!(crate::tree::same(&again, &stored), "{again}\n{stored}");
    let mut beta = stored.clone();
    V2BETA2.serve(&mut beta);
    assert_eq!(beta["apiVersion"], "autoscaling/v2beta2");
    V2BETA2.store(&mut beta);
    assert_eq!(beta, stored);
}

#[test]
fn v1_follows_the_rules_of_v2() {
    let made = created(&V1, scaling(json!({"maxReplicas": 3})));
    expect![[r#"{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3,"minReplicas":1,"targetCPUUtilizationPercentage":80}"#]].assert_eq(&made["spec"].to_string());
    expect![[r#"
        spec.maxReplicas: Invalid value: 0: must be greater than 0
        spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`
        spec.metrics[0].resource.target.averageUtilization: Invalid value: -1: must be greater than 0
    "#]]
    .assert_eq(&create_errors(&V1, scaling(json!({"maxReplicas": 0, "targetCPUUtilizationPercentage": -1}))));
    let of = |percent: i64| scaling(json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": percent}));
    expect![[r#"
        good, generation 2
    "#]]
    .assert_eq(&update(&V1, of(50), of(60)));
    expect![[r#"
        good, generation 1
    "#]]
    .assert_eq(&update(&V1, of(50), of(50)));
}
