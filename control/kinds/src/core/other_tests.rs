//! Volumes, claims, limits, quotas, templates: defaults, validation, updates, columns.

use expect_test::expect;
use serde_json::{Value, json};

use super::limit_range::LIMIT_RANGE;
use super::persistent_volume::PERSISTENT_VOLUME;
use super::persistent_volume_claim::PERSISTENT_VOLUME_CLAIM;
use super::pod_template::POD_TEMPLATE;
use super::replication_controller::REPLICATION_CONTROLLER;
use super::resource_quota::RESOURCE_QUOTA;
use crate::check::{create_errors, created, row, update};
use crate::tree;

fn claim(changes: Value) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    for (path, value) in changes.as_object().expect("changes") {
        tree::set(&mut spec, path, value.clone());
    }
    json!({"spec": spec})
}

fn volume(changes: Value) -> Value {
    let mut spec =
        json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}});
    for (path, value) in changes.as_object().expect("changes") {
        tree::set(&mut spec, path, value.clone());
    }
    json!({"spec": spec})
}

#[test]
fn claims() {
    let errors = |changes| create_errors(&PERSISTENT_VOLUME_CLAIM, claim(changes));
    expect![""].assert_eq(&errors(json!({})));
    expect![[r#"
        spec.accessModes: Required value: at least 1 access mode is required
        spec.resources[storage]: Required value
    "#]]
    .assert_eq(&errors(json!({"accessModes": [], "resources": null})));
    expect![[r#"
        spec.accessModes: Unsupported value: "Write": supported values: "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"
        spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes
        spec.resources[storage]: Invalid value: "0": must be greater than zero
        spec.storageClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"
    "#]].assert_eq(&errors(json!({"accessModes": ["ReadWriteOncePod", "Write"], "resources.requests.storage": "0", "volumeMode": "Tape", "storageClassName": "A"})));
    let change = |old, new| update(&PERSISTENT_VOLUME_CLAIM, claim(old), claim(new));
    expect![[r#"
        good, generation null
    "#]]
    .assert_eq(&change(json!({}), json!({"volumeName": "v", "storageClassName": "fast"})));
    expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
    "#]].assert_eq(&change(json!({"volumeName": "v"}), json!({"volumeName": "w"})));
    expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        spec.resources.requests.storage: Forbidden: field can not be less than status.capacity
    "#]].assert_eq(&change(json!({}), json!({"resources.requests.storage": "500Mi"})));
    let mut bound = claim(json!({"volumeName": "v", "storageClassName": "fast", "volumeMode": "Filesystem"}));
    bound["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]});
    expect![[r#"
        Name: x
        Status: Bound
        Volume: v
        Capacity: 1Gi
        Access Modes: RWO,RWX
        StorageClass: fast
        VolumeAttributesClass: <unset>
        Age: 4m30s
        VolumeMode: Filesystem
    "#]]
    .assert_eq(&row(&PERSISTENT_VOLUME_CLAIM, bound));
}

#[test]
fn volumes() {
    let errors = |changes| create_errors(&PERSISTENT_VOLUME, volume(changes));
    expect![""].assert_eq(&errors(json!({})));
    expect![[r#"
        spec.capacity: Required value
        spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"
        spec: Required value: must specify a volume type
    "#]].assert_eq(&errors(
        json!({"hostPath": null, "capacity": {}, "persistentVolumeReclaimPolicy": "Burn"}),
    ));
    expect![[r#"
        spec.capacity[storage]: Invalid value: "-1": must be greater than zero
        spec: Forbidden: may not specify more than 1 volume type
    "#]]
    .assert_eq(&errors(json!({"nfs": {"server": "s", "path": "/"}, "capacity.storage": "-1"})));
    expect![[r#"
        spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation
        spec.volumeMode: Invalid value: "Block": field is immutable
    "#]]
    .assert_eq(&update(
        &PERSISTENT_VOLUME,
        volume(json!({})),
        volume(json!({"hostPath.path": "/y", "volumeMode": "Block"})),
    ));
    expect![[r#"
        Name: x
        Capacity: 1Gi
        Access Modes: RWO
        Reclaim Policy: 
        Status: 
        Claim: ns/c
        StorageClass: 
        VolumeAttributesClass: <unset>
        Reason: 
        Age: 4m30s
        VolumeMode: <unset>
    "#]]
    .assert_eq(&row(&PERSISTENT_VOLUME, volume(json!({"claimRef": {"namespace": "ns", "name": "c"}}))));
}

#[test]
fn limits() {
    let of = |limits| json!({"spec": {"limits": limits}});
    let whole = created(
        &LIMIT_RANGE,
        of(json!([{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}])),
    );
    expect![[r#"[{"type":"Container","max":{"cpu":"2"},"min":{"memory":"1Mi"},"default":{"cpu":"2"},"defaultRequest":{"cpu":"2","memory":"1Mi"}}]"#]].assert_eq(&serde_json::to_string(tree::get(&whole, "spec.limits")).expect("JSON"));
    expect![[r#"
        spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'
        spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than default value 1
        spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1
        spec.limits[1].type: Duplicate value: "Pod"
        spec.limits[2].type: Required value
        spec.limits[2].max[a b]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.limits[2].max[a b]: Invalid value: "-1": must be greater than or equal to 0
    "#]].assert_eq(&create_errors(
        &LIMIT_RANGE,
        of(json!([
        {"type": "Pod", "default": {"cpu": "1"}, "min": {"cpu": "2"}, "max": {"cpu": "1"}},
        {"type": "Pod"}, {"max": {"a b": "-1"}}])),
    ));
    expect![[r#"
        Name: x
        Created At: 2026-11-21T11:55:30Z
    "#]]
    .assert_eq(&row(&LIMIT_RANGE, json!({})));
}

#[test]
fn quotas() {
    let of = |hard: Value, scopes: Value| json!({"spec": {"hard": hard, "scopes": scopes}});
    expect![[r#"
        spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0
        spec.hard[a b]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.scopes: Invalid value: ["Odd"]: unsupported scope
    "#]]
        .assert_eq(&create_errors(&RESOURCE_QUOTA, of(json!({"pods": "-1", "a b": "1"}), json!(["Odd"]))));
    expect![[r#"
        spec.scopes: Invalid value: []: field is immutable
    "#]]
    .assert_eq(&update(&RESOURCE_QUOTA, of(json!({}), json!(["BestEffort"])), of(json!({}), json!([]))));
    expect![[r#"
        Name: x
        Request: configmaps: 0/3, pods: 1/5
        Limit: limits.cpu: 500m/2
        Age: 4m30s
    "#]].assert_eq(&row(&RESOURCE_QUOTA, json!({"status": {
        "hard": {"pods": "5", "limits.cpu": "2", "configmaps": "3"}, "used": {"pods": "1", "limits.cpu": "500m"}}})));
}

#[test]
fn templates_and_their_controllers() {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    expect![[r#"
        template.spec.containers: Required value
    "#]]
    .assert_eq(&create_errors(&POD_TEMPLATE, json!({"template": {"spec": {"containers": []}}})));
    expect![[r#"
        Name: x
        Containers: c
        Images: i:1
        Pod Labels: app=x
    "#]]
    .assert_eq(&row(&POD_TEMPLATE, json!({"template": template})));
    let whole = created(&REPLICATION_CONTROLLER, json!({"spec": {"template": template}}));
    assert_eq!(tree::get(&whole, "spec.selector"), &json!({"app": "x"}));
    assert_eq!(tree::get(&whole, "metadata.labels"), &json!({"app": "x"}));
    expect![[r#"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
        spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`
    "#]]
    .assert_eq(&create_errors(
        &REPLICATION_CONTROLLER,
        json!({"spec": {"selector": {"app": "y"}, "replicas": -1, "template": template}}),
    ));
    expect![[r#"
        spec.selector: Required value
        spec.template: Required value
    "#]]
    .assert_eq(&create_errors(&REPLICATION_CONTROLLER, json!({"spec": {}})));
    expect![[r#"
        Name: x
        Desired: 1
        Current: 0
        Ready: 0
        Age: 4m30s
        Containers: c
        Images: i:1
        Selector: app=x
    "#]]
    .assert_eq(&row(&REPLICATION_CONTROLLER, whole));
}
