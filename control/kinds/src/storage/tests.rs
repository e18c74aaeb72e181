//! Classes, drivers, attachments: defaults, validation, updates, columns.

use expect_test::expect;
use serde_json::json;

use super::attributes_class::VOLUME_ATTRIBUTES_CLASS;
use super::capacity::CSI_STORAGE_CAPACITY;
use super::csi_driver::CSI_DRIVER;
use super::csi_node::CSI_NODE;
use super::storage_class::STORAGE_CLASS;
use super::volume_attachment::VOLUME_ATTACHMENT;
use crate::check::{create_errors, row, update};

#[test]
fn a_class_names_who_makes_its_volumes() {
    expect![[r#"
        provisioner: Required value
        parameters: Invalid value: "": field can not be empty.
        reclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Retain"
        volumeBindingMode: Unsupported value: "Never": supported values: "Immediate", "WaitForFirstConsumer"
    "#]]
    .assert_eq(&create_errors(
        &STORAGE_CLASS,
        json!({
        "reclaimPolicy": "Burn", "volumeBindingMode": "Never", "parameters": {"": "x"}}),
    ));
    expect![""].assert_eq(&create_errors(&STORAGE_CLASS, json!({"provisioner": "example.com/disk"})));
    let of = |provisioner: &str, mode: &str| {
        json!({
        "provisioner": provisioner, "volumeBindingMode": mode, "parameters": {"a": provisioner}})
    };
    expect![[r#"
        parameters: Forbidden: updates to parameters are forbidden.
        provisioner: Forbidden: updates to provisioner are forbidden.
        volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable
    "#]]
    .assert_eq(&update(&STORAGE_CLASS, of("a", "Immediate"), of("b", "WaitForFirstConsumer")));
    expect![[r#"
        Name: x (default)
        Provisioner: example.com/disk
        ReclaimPolicy: Delete
        VolumeBindingMode: Immediate
        AllowVolumeExpansion: false
        Age: 4m30s
    "#]]
    .assert_eq(&row(
        &STORAGE_CLASS,
        json!({
        "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "example.com/disk", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
    ));
}

#[test]
fn settings_of_volumes_stay() {
    expect![[r#"
        driverName: Required value
        parameters: Required value: must contain at least one key/value pair
    "#]]
    .assert_eq(&create_errors(&VOLUME_ATTRIBUTES_CLASS, json!({})));
    let of = |driver: &str| json!({"driverName": driver, "parameters": {"iops": "1"}});
    expect![[r#"
        driverName: Invalid value: "b.example": field is immutable
    "#]]
    .assert_eq(&update(&VOLUME_ATTRIBUTES_CLASS, of("a.example"), of("b.example")));
}

#[test]
fn room_is_of_a_class() {
    expect![[r#"
        storageClassName: Required value
        capacity: Invalid value: "-1Gi": must be greater than or equal to 0
    "#]]
    .assert_eq(&create_errors(&CSI_STORAGE_CAPACITY, json!({"capacity": "-1Gi"})));
}

#[test]
fn drivers_say_what_they_need() {
    expect![[r#"
        spec.fsGroupPolicy: Unsupported value: "Always": supported values: "File", "None", "ReadWriteOnceWithFSType"
        spec.volumeLifecycleModes[0]: Unsupported value: "Brief": supported values: "Ephemeral", "Persistent"
        spec.tokenRequests[1].audience: Duplicate value: "a"
    "#]].assert_eq(&create_errors(
        &CSI_DRIVER,
        json!({"spec": {
        "fsGroupPolicy": "Always", "volumeLifecycleModes": ["Brief"],
        "tokenRequests": [{"audience": "a"}, {"audience": "a"}]}}),
    ));
    let of = |attach: bool| json!({"spec": {"attachRequired": attach}});
    expect![[r#"
        spec.attachRequired: Invalid value: false: field is immutable
    "#]]
    .assert_eq(&update(&CSI_DRIVER, of(true), of(false)));
    expect![[r#"
        spec.drivers[1].name: Duplicate value: "a"
        spec.drivers[1].nodeID: Required value
        spec.drivers[2].name: Required value
    "#]]
    .assert_eq(&create_errors(
        &CSI_NODE,
        json!({"spec": {"drivers": [
        {"name": "a", "nodeID": "1"}, {"name": "a", "nodeID": ""}, {"name": "", "nodeID": "2"}]}}),
    ));
    expect![[r#"
        Name: x
        AttachRequired: false
        PodInfoOnMount: false
        StorageCapacity: false
        TokenRequests: <unset>
        RequiresRepublish: false
        Modes: Persistent
        Age: 4m30s
    "#]]
    .assert_eq(&row(&CSI_DRIVER, json!({"spec": {"volumeLifecycleModes": ["Persistent"]}})));
}

#[test]
fn an_attachment_has_one_source_and_stays() {
    let of = |source| json!({"spec": {"attacher": "a", "nodeName": "n", "source": source}});
    expect![[r#"
        spec.attacher: Required value
        spec.nodeName: Required value
        spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName
    "#]]
    .assert_eq(&create_errors(&VOLUME_ATTACHMENT, json!({"spec": {"source": {}}})));
    expect![[r#"
        spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName
    "#]]
    .assert_eq(&create_errors(
        &VOLUME_ATTACHMENT,
        of(json!({"persistentVolumeName": "v", "inlineVolumeSpec": {}})),
    ));
    expect![[r#"
        spec: Invalid value: {"attacher":"a","nodeName":"n","source":{"persistentVolumeName":"w"}}: field is immutable
    "#]].assert_eq(&update(
        &VOLUME_ATTACHMENT,
        of(json!({"persistentVolumeName": "v"})),
        of(json!({"persistentVolumeName": "w"})),
    ));
}
