//! StatefulSets, DaemonSets, ControllerRevisions: defaults, validation, updates, columns.

use expect_test::expect;
use serde_json::{Value, json};

use super::controller_revision::CONTROLLER_REVISION;
use super::daemon_set::DAEMON_SET;
use super::stateful_set::STATEFUL_SET;
use crate::check::{create_errors, created, row, update};
use crate::tree;

fn of(changes: Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}});
    for (path, value) in changes.as_object().expect("changes") {
        tree::set(&mut spec, path, value.clone());
    }
    json!({"spec": spec})
}

fn filled(object: &Value) -> String {
    let mut spec = tree::get(object, "spec").clone();
    tree::remove(&mut spec, "template");
    serde_json::to_string(&spec).expect("JSON")
}

#[test]
fn a_stateful_set_becomes_whole() {
    let claims = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]);
    expect![[r#"{"selector":{"matchLabels":{"app":"db"}},"volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],"volumeMode":"Filesystem"},"apiVersion":"v1","kind":"PersistentVolumeClaim"}],"podManagementPolicy":"OrderedReady","updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":0}},"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain","whenScaled":"Retain"},"replicas":1,"revisionHistoryLimit":10}"#]].assert_eq(&filled(&created(&STATEFUL_SET, of(json!({"volumeClaimTemplates": claims})))));
}

#[test]
fn what_a_stateful_set_may_ask_for() {
    let errors = |changes| create_errors(&STATEFUL_SET, of(changes));
    expect![""].assert_eq(&errors(json!({})));
    expect![[r#"
        spec.podManagementPolicy: Invalid value: "Random": must be 'OrderedReady' or 'Parallel'
        spec.updateStrategy.type: Invalid value: "Never": must be 'RollingUpdate' or 'OnDelete'
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
    "#]]
    .assert_eq(&errors(
        json!({"podManagementPolicy": "Random", "updateStrategy.type": "Never", "replicas": -1}),
    ));
    expect![[r#"
        spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'
    "#]]
    .assert_eq(&errors(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}})));
    expect![[r#"
        spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0
        spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Keep": supported values: "Delete", "Retain"
    "#]].assert_eq(&errors(json!({"updateStrategy.rollingUpdate.maxUnavailable": 0, "persistentVolumeClaimRetentionPolicy.whenScaled": "Keep"})));
    expect![[r#"
        spec.selector: Invalid value: {}: empty selector is invalid for statefulset
        spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported
    "#]].assert_eq(&errors(json!({"selector": {}, "template.spec.activeDeadlineSeconds": 5})));
}

#[test]
fn what_of_a_stateful_set_may_change() {
    expect![[r#"
        good, generation 2
    "#]]
    .assert_eq(&update(&STATEFUL_SET, of(json!({})), of(json!({"replicas": 3, "minReadySeconds": 1}))));
    expect![[r#"
        spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden
    "#]].assert_eq(&update(&STATEFUL_SET, of(json!({})), of(json!({"serviceName": "other"}))));
}

#[test]
fn daemon_sets() {
    let whole = created(&DAEMON_SET, of(json!({})));
    expect![[r#"{"selector":{"matchLabels":{"app":"db"}},"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":1,"maxSurge":0}},"revisionHistoryLimit":10}"#]].assert_eq(&filled(&whole));
    expect![[r#"{"deprecated.daemonset.template.generation":"1"}"#]]
        .assert_eq(&serde_json::to_string(tree::get(&whole, "metadata.annotations")).expect("JSON"));
    let errors = |changes| create_errors(&DAEMON_SET, of(changes));
    expect![""].assert_eq(&errors(json!({})));
    expect![[r#"
        spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0 when maxSurge is 0
    "#]]
    .assert_eq(&errors(json!({"updateStrategy.rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}})));
    expect![[r#"
        spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero
    "#]]
        .assert_eq(&errors(json!({"updateStrategy.rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}})));
    expect![[r#"
        spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
        spec.updateStrategy.type: Unsupported value: "Some": supported values: "OnDelete", "RollingUpdate"
    "#]]
    .assert_eq(&errors(json!({"updateStrategy": {"type": "Some"}, "template.spec.restartPolicy": "Never"})));
    expect![[r#"
        spec.template.metadata.labels: Invalid value: {"app":"db"}: `selector` does not match template `labels`
        spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable
    "#]].assert_eq(&update(
        &DAEMON_SET,
        of(json!({})),
        of(json!({"selector": {"matchLabels": {"app": "x"}}})),
    ));
    expect![[r#"
        Name: x
        Desired: 3
        Current: 0
        Ready: 2
        Up-to-date: 0
        Available: 0
        Node Selector: <none>
        Age: 4m30s
        Containers: 
        Images: 
        Selector: <none>
    "#]]
    .assert_eq(&row(&DAEMON_SET, json!({"status": {"desiredNumberScheduled": 3, "numberReady": 2}})));
}

#[test]
fn what_was_stays_as_it_was() {
    let of = |data: i64| json!({"data": {"spec": data}, "revision": 1});
    expect![[r#"
        data: Required value: data is mandatory
        revision: Invalid value: -1: must be greater than or equal to 0
    "#]]
    .assert_eq(&create_errors(&CONTROLLER_REVISION, json!({"revision": -1})));
    expect![[r#"
        data: Invalid value: {"spec":2}: field is immutable
    "#]]
    .assert_eq(&update(&CONTROLLER_REVISION, of(1), of(2)));
    let owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}]);
    expect![[r#"
        Name: x
        Controller: statefulset.apps/db
        Revision: 4
        Age: 4m30s
    "#]]
    .assert_eq(&row(&CONTROLLER_REVISION, json!({"metadata": {"ownerReferences": owner}, "revision": 4})));
}
