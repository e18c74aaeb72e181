//! Volumes in a temporary folder; nothing is mounted here.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::desired::{Desired, ObjectKey};

fn pod(volumes: &serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"containers": [{"name": "c"}], "volumes": volumes},
    }))
    .unwrap()
}

fn desired(data: &serde_json::Value) -> Desired {
    let mut desired = Desired::default();
    let map = serde_json::from_value(json!({"metadata": {"name": "m"}, "data": data})).unwrap();
    desired.config_maps.insert(ObjectKey::new("ns", "m"), Arc::new(map));
    desired
}

fn prepare_in(dir: &Path, pod: &Pod, desired: &Desired) -> Result<Prepared, VolumeError> {
    prepare(dir, &Sources { pod, desired, node_name: "n", node_ip: "10.0.0.1", pod_ip: "" })
}

#[test]
fn a_changed_config_map_replaces_all_files_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(&json!([{"name": "v", "configMap": {"name": "m"}}]));
    let prepared = prepare_in(dir.path(), &pod, &desired(&json!({"a": "1", "b": "2"}))).unwrap();
    let volume = &prepared["v"];
    assert_eq!(std::fs::read_to_string(volume.join("a")).unwrap(), "1");
    let first = std::fs::read_link(volume.join("..data")).unwrap();
    prepare_in(dir.path(), &pod, &desired(&json!({"a": "1", "b": "2"}))).unwrap();
    assert_eq!(std::fs::read_link(volume.join("..data")).unwrap(), first, "unchanged content stays");
    prepare_in(dir.path(), &pod, &desired(&json!({"a": "3"}))).unwrap();
    assert_eq!(std::fs::read_to_string(volume.join("a")).unwrap(), "3");
    assert!(!volume.join("b").exists() && !volume.join(&first).exists());
}

#[test]
fn items_choose_keys_paths_and_modes() {
    let dir = tempfile::tempdir().unwrap();
    let items = json!([{"key": "a", "path": "deep/name", "mode": 0o400}]);
    let pod = pod(&json!([{"name": "v", "configMap": {"name": "m", "items": items}}]));
    let prepared = prepare_in(dir.path(), &pod, &desired(&json!({"a": "1", "b": "2"}))).unwrap();
    let file = prepared["v"].join("deep/name");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
    assert!(!prepared["v"].join("b").exists());
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(&json!([{"name": "v", "configMap": {"name": "gone"}}]));
    let error = prepare_in(dir.path(), &pod, &Desired::default()).unwrap_err();
    assert_eq!(error.to_string(), "MountVolume.SetUp failed for volume \"v\" : configmap \"gone\" not found");
}

#[test]
fn a_sub_path_stays_inside_its_volume() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(&json!([{"name": "v", "emptyDir": {}}]));
    let prepared = prepare_in(dir.path(), &pod, &Desired::default()).unwrap();
    std::os::unix::fs::symlink("/etc", prepared["v"].join("link")).unwrap();
    for (sub_path, good) in [("in/side", true), ("../out", false), ("/etc", false), ("link", false)] {
        let spec = serde_json::from_value(json!({
            "name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": sub_path}],
        }))
        .unwrap();
        assert_eq!(mounts(&spec, &prepared).is_ok(), good, "{sub_path}");
    }
}

#[test]
fn an_empty_dir_is_open_to_every_user_and_goes_with_the_pod() {
    let dir = tempfile::tempdir().unwrap();
    let pod_dir = dir.path().join("u");
    let pod = pod(&json!([{"name": "v", "emptyDir": {}}]));
    let prepared = prepare_in(&pod_dir, &pod, &Desired::default()).unwrap();
    assert_eq!(std::fs::metadata(&prepared["v"]).unwrap().permissions().mode() & 0o777, 0o777);
    assert!(clean_up(&pod_dir));
    assert!(!pod_dir.exists());
}
