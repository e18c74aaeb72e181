//! Volumes in a temporary folder; nothing is mounted here.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::desired::{Desired, ObjectKey};
use crate::pods::Allocatable;
use crate::tokens::PodTokens;

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

async fn prepare_in(dir: &Path, pod: &Pod, desired: &Desired) -> Result<Prepared, VolumeError> {
    let sources = Sources {
        pod,
        desired,
        node_name: "n",
        node_ip: "10.0.0.1",
        pod_ip: "",
        allocatable: &Allocatable::new(),
        tokens: &PodTokens::new(),
    };
    prepare(dir, &sources).await
}

#[tokio::test]
async fn a_changed_config_map_replaces_all_files_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(&json!([{"name": "v", "configMap": {"name": "m"}}]));
    let prepared = prepare_in(dir.path(), &pod, &desired(&json!({"a": "1", "b": "2"}))).await.unwrap();
    let volume = &prepared["v"].path;
    assert_eq!(std::fs::read_to_string(volume.join("a")).unwrap(), "1");
    let first = std::fs::read_link(volume.join("..data")).unwrap();
    prepare_in(dir.path(), &pod, &desired(&json!({"a": "1", "b": "2"}))).await.unwrap();
    assert_eq!(std::fs::read_link(volume.join("..data")).unwrap(), first, "unchanged content stays");
    prepare_in(dir.path(), &pod, &desired(&json!({"a": "3"}))).await.unwrap();
    assert_eq!(std::fs::read_to_string(volume.join("a")).unwrap(), "3");
    assert!(!volume.join("b").exists() && !volume.join(&first).exists());
}

#[tokio::test]
async fn items_choose_keys_paths_and_modes() {
    let dir = tempfile::tempdir().unwrap();
    let items = json!([{"key": "a", "path": "deep/name", "mode": 0o400}]);
    let pod = pod(&json!([{"name": "v", "configMap": {"name": "m", "items": items}}]));
    let prepared = prepare_in(dir.path(), &pod, &desired(&json!({"a": "1", "b": "2"}))).await.unwrap();
    let file = prepared["v"].path.join("deep/name");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
    assert!(!prepared["v"].path.join("b").exists());
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(&json!([{"name": "v", "configMap": {"name": "gone"}}]));
    let error = prepare_in(dir.path(), &pod, &Desired::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "MountVolume.SetUp failed for volume \"v\" : configmap \"gone\" not found");
}

#[tokio::test]
async fn what_a_mount_asks_for_in_vain_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(&json!([{"name": "v", "emptyDir": {}}]));
    let prepared = prepare_in(dir.path(), &pod, &Desired::default()).await.unwrap();
    let environment = [("HERE".to_owned(), "here".to_owned())];
    for (mount, said) in [
        (json!({"name": "w"}), r#"cannot find volume "w" to mount into container "c""#),
        (json!({"name": "v", "subPath": "/etc"}), "error SubPath `/etc` must not be an absolute path"),
        (json!({"name": "v", "subPathExpr": "$(HERE)/$(GONE)"}), r#"missing value for "GONE""#),
        (
            json!({"name": "v", "subPathExpr": "$(HERE)/.."}),
            "unable to provision SubPath `here/..`: must not contain '..'",
        ),
        (
            json!({"name": "v", "recursiveReadOnly": "Enabled"}),
            r#"failed to resolve recursive read-only mode: volume "v" requested recursive read-only mode, but it is not read-only"#,
        ),
    ] {
        let mut mount = mount;
        mount["mountPath"] = json!("/v");
        let spec = serde_json::from_value(json!({"name": "c", "volumeMounts": [mount]})).unwrap();
        let error = mounts(dir.path(), &spec, &prepared, &environment).unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}

#[tokio::test]
async fn what_is_made_for_reading_is_mounted_for_reading() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(&json!([{"name": "v", "emptyDir": {}}, {"name": "m", "configMap": {"name": "m"}}]));
    let prepared = prepare_in(dir.path(), &pod, &desired(&json!({"a": "1"}))).await.unwrap();
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    let spec =
        serde_json::from_value(json!({"name": "c", "volumeMounts": [mount("v"), mount("m")]})).unwrap();
    let mounts = mounts(dir.path(), &spec, &prepared, &[]).unwrap();
    assert_eq!(mounts.iter().map(|mount| mount.readonly).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_device_is_opened_and_a_folder_mounted() {
    let volume =
        |path: &str, read_only, is_device| PreparedVolume { path: path.into(), read_only, is_device };
    let prepared = Prepared::from([
        ("disk".to_owned(), volume("/dev/sdb", false, true)),
        ("shown".to_owned(), volume("/dev/sdc", true, true)),
        ("folder".to_owned(), volume("/f", false, false)),
    ]);
    let spec = |kind: &str, names: &[&str]| -> ContainerSpec {
        let all: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "devicePath": "/dev/x", "mountPath": "/x"}))
            .collect();
        serde_json::from_value(json!({"name": "c", kind: all})).unwrap()
    };
    let given = devices(&spec("volumeDevices", &["disk", "shown"]), &prepared).unwrap();
    let shown: Vec<_> =
        given.iter().map(|device| (device.host_path.as_str(), device.permissions.as_str())).collect();
    assert_eq!(shown, [("/dev/sdb", "mrw"), ("/dev/sdc", "r")]);
    let error = devices(&spec("volumeDevices", &["folder"]), &prepared).unwrap_err();
    assert_eq!(
        error.to_string(),
        "volume folder has volumeMode Filesystem, but is specified in volumeDevices"
    );
    let error = mounts(Path::new("/p"), &spec("volumeMounts", &["disk"]), &prepared, &[]).unwrap_err();
    assert_eq!(error.to_string(), "volume disk has volumeMode Block, but is specified in volumeMounts");
    assert!(matches!(device(Path::new("/dev/null"), false), Err(SetUpError::NoBlockDevice(_))));
}

#[test]
fn a_user_is_common_when_all_containers_run_as_it() {
    let of = |users: &[Option<i64>], of_pod: Option<i64>| {
        let containers: Vec<_> =
            users.iter().map(|user| json!({"name": "c", "securityContext": {"runAsUser": user}})).collect();
        let context = json!({"runAsUser": of_pod});
        let pod = json!({"spec": {"containers": containers, "securityContext": context}});
        common_user(&serde_json::from_value(pod).unwrap())
    };
    assert_eq!(of(&[Some(7), Some(7)], None), Some(7));
    assert_eq!(of(&[Some(7), None], Some(7)), Some(7));
    assert_eq!(of(&[Some(7), None], None), None);
    assert_eq!(of(&[Some(7), Some(8)], None), None);
    assert_eq!(of(&[None], None), None);
}

#[tokio::test]
async fn an_empty_dir_is_open_to_every_user_and_goes_with_the_pod() {
    let dir = tempfile::tempdir().unwrap();
    let pod_dir = dir.path().join("u");
    let pod = pod(&json!([{"name": "v", "emptyDir": {}}]));
    let prepared = prepare_in(&pod_dir, &pod, &Desired::default()).await.unwrap();
    assert_eq!(std::fs::metadata(&prepared["v"].path).unwrap().permissions().mode() & 0o777, 0o777);
    assert!(clean_up(&pod_dir));
    assert!(!pod_dir.exists());
}
