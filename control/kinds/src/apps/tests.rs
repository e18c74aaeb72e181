//! Deployments and ReplicaSets: defaults, validation, updates, columns.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::deployment::DEPLOYMENT;
use super::replica_set::REPLICA_SET;
use crate::check::{create_errors, created, row, update};
use crate::tree;

fn spec(changes: Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}});
    for (path, value) in changes.as_object().unwrap() {
        tree::set(&mut spec, path, value.clone());
    }
    json!({"spec": spec})
}

fn check(changes: Value, expected: Expect) {
    expected.assert_eq(&create_errors(&DEPLOYMENT, spec(changes)));
}

#[test]
fn a_small_deployment_becomes_whole() {
    let deployment = created(&DEPLOYMENT, spec(json!({})));
    expect![[r#"
        {
          "apiVersion": "apps/v1",
          "kind": "Deployment",
          "metadata": {
            "name": "x",
            "namespace": "default",
            "creationTimestamp": "2026-11-21T11:55:30Z",
            "generation": 1
          },
          "spec": {
            "selector": {
              "matchLabels": {
                "app": "web"
              }
            },
            "template": {
              "metadata": {
                "labels": {
                  "app": "web"
                }
              },
              "spec": {
                "containers": [
                  {
                    "name": "c",
                    "image": "i:1",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": "IfNotPresent"
                  }
                ],
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst",
                "securityContext": {},
                "schedulerName": "default-scheduler"
              }
            },
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "strategy": {
              "type": "RollingUpdate",
              "rollingUpdate": {
                "maxUnavailable": "25%",
                "maxSurge": "25%"
              }
            }
          },
          "status": {}
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&deployment).unwrap());
}

#[test]
fn deployments_are_checked_by_field() {
    check(json!({}), expect![[""]]);
    check(
        json!({"replicas": -1}),
        expect![[r#"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
    "#]],
    );
    check(
        json!({"selector": null}),
        expect![[r#"
        spec.selector: Required value
    "#]],
    );
    check(
        json!({"selector": {}}),
        expect![[r#"
        spec.selector: Invalid value: {}: empty selector is invalid for deployment
    "#]],
    );
    check(
        json!({"selector.matchLabels": {"app": "other"}}),
        expect![[r#"
        spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
    "#]],
    );
    check(
        json!({"template.spec.restartPolicy": "Never"}),
        expect![[r#"
        spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
    "#]],
    );
    check(
        json!({"template.spec.containers": []}),
        expect![[r#"
        spec.template.spec.containers: Required value
    "#]],
    );
    check(
        json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
        expect![[r#"
        spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'
    "#]],
    );
    check(
        json!({"strategy": {"type": "Other"}}),
        expect![[r#"
        spec.strategy.type: Unsupported value: "Other": supported values: "Recreate", "RollingUpdate"
    "#]],
    );
    check(
        json!({"strategy.rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
        expect![[r#"
        spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0
    "#]],
    );
    check(
        json!({"strategy.rollingUpdate": {"maxSurge": "many", "maxUnavailable": "120%"}}),
        expect![[r#"
        spec.strategy.rollingUpdate.maxSurge: Invalid value: "many": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
        spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "120%": must not be greater than 100%
    "#]],
    );
    check(
        json!({"minReadySeconds": 600}),
        expect![[r#"
        spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds
    "#]],
    );
}

#[test]
fn the_selector_stays_and_the_generation_moves() {
    let check = |changes: Value, expected: Expect| {
        expected.assert_eq(&update(&DEPLOYMENT, spec(json!({})), spec(changes)));
    };
    check(
        json!({}),
        expect![[r#"
        good, generation 1
    "#]],
    );
    check(
        json!({"replicas": 3}),
        expect![[r#"
        good, generation 2
    "#]],
    );
    check(
        json!({"selector.matchLabels": {"app": "b"}, "template.metadata.labels": {"app": "b"}}),
        expect![[r#"
            spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable
        "#]],
    );
    let mut annotated = spec(json!({}));
    tree::set(&mut annotated, "metadata.annotations", json!({"a": "b"}));
    expect![[r#"
        good, generation 2
    "#]]
    .assert_eq(&update(&DEPLOYMENT, spec(json!({})), annotated.clone()));
    expect![[r#"
        good, generation 1
    "#]]
    .assert_eq(&update(&REPLICA_SET, spec(json!({})), annotated));
}

#[test]
fn columns() {
    let mut object = spec(json!({"replicas": 3}));
    tree::set(&mut object, "status", json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1}));
    expect![[r#"
        Name: x
        Ready: 2/3
        Up-to-date: 1
        Available: 0
        Age: 4m30s
        Containers: c
        Images: i:1
        Selector: app=web
    "#]]
    .assert_eq(&row(&DEPLOYMENT, object.clone()));
    expect![[r#"
        Name: x
        Desired: 3
        Current: 3
        Ready: 2
        Age: 4m30s
        Containers: c
        Images: i:1
        Selector: app=web
    "#]]
    .assert_eq(&row(&REPLICA_SET, object));
}

#[test]
fn a_status_update_keeps_the_spec() {
    let old = created(&DEPLOYMENT, spec(json!({})));
    let mut new = old.clone();
    tree::set(&mut new, "spec.replicas", 9);
    tree::set(&mut new, "status.replicas", 2);
    DEPLOYMENT.prepare_status_update(&mut new, &old);
    assert_eq!(tree::int(&new, "spec.replicas"), Some(1));
    assert_eq!(tree::int(&new, "status.replicas"), Some(2));
    assert_eq!(tree::int(&new, "metadata.generation"), Some(1));
    tree::set(&mut new, "status.readyReplicas", 3);
    expect!["status.readyReplicas: Invalid value: 3: cannot be greater than status.replicas"]
        .assert_eq(&DEPLOYMENT.validate_status_update(&new, &old).to_string());
}
