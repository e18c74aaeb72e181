//! What containers find in their volumes, and what never leads out of one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::RuntimeChoice;
use agent::desired::{Desired, ObjectKey, PodKey};
use agent::runtime::Container;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::on_both_runtimes;
use crate::test_agent::{DEADLINE, TestAgent, config, deleted, is_ready, pod, waits_for};

const IMAGE: &str = "localhost/web:1";

/// Everything that a volume can be, in one pod.
fn files(disk: &Path) -> Pod {
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    let inside = json!({"name": "data", "mountPath": "/inside", "subPathExpr": "deep/$(WHO)"});
    let whole =
        json!({"name": "host", "mountPath": "/whole", "readOnly": true, "recursiveReadOnly": "Enabled"});
    pod(
        "files",
        json!({
            "terminationGracePeriodSeconds": 1,
            "hostname": "h", "subdomain": "d", "setHostnameAsFQDN": true, "shareProcessNamespace": true,
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["alias"]}],
            "dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["x.org"]},
            "securityContext": {"fsGroup": 1234, "supplementalGroups": [77], "runAsUser": 1000,
                "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]},
            "containers": [{
                "name": "c", "image": IMAGE, "command": ["sleep", "1000"],
                "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false},
                "volumeMounts": [mount("memory"), mount("data"), inside, mount("token"), mount("map"), whole],
                "volumeDevices": [{"name": "disk", "devicePath": "/dev/disk"}],
            }],
            "volumes": [
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "data", "emptyDir": {}},
                {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}},
                {"name": "map", "configMap": {"name": "m"}},
                {"name": "host", "hostPath": {"path": disk, "type": "Directory"}},
                {"name": "token", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token", "audience": "bank", "expirationSeconds": 600}},
                    {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                ]}},
            ],
        }),
    )
}

/// A link in a volume that would show a container the whole machine.
fn thief() -> Pod {
    let volume = |more: serde_json::Value| {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        mount.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!([mount])
    };
    pod(
        "thief",
        json!({
            "terminationGracePeriodSeconds": 1,
            "initContainers": [{"name": "i", "image": IMAGE, "command": ["ln", "-s", "/", "/v/out"],
                "volumeMounts": volume(json!({}))}],
            "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "1000"],
                "volumeMounts": volume(json!({"subPath": "out/etc"}))}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }),
    )
}

/// A container that mounts something for its node.
fn mounter() -> Pod {
    pod(
        "mounter",
        json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": IMAGE, "securityContext": {"privileged": true},
                "command": ["sh", "-c", "mkdir -p /v/m && mount -t tmpfs none /v/m && echo told >/v/m/f && sleep 1000"],
                "volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }),
    )
}

fn want(agent: &TestAgent, greeting: &str, pods: &[&Pod]) {
    let mut desired = Desired { synced: true, ..Desired::default() };
    for pod in pods {
        let key = PodKey::new("ns", pod.metadata.name.clone().unwrap());
        desired.pods.insert(key, Arc::new((*pod).clone()));
    }
    let map = json!({"metadata": {"name": "m"}, "data": {"greeting": greeting}});
    let map = serde_json::from_value(map).unwrap();
    desired.config_maps.insert(ObjectKey::new("ns", "m"), Arc::new(map));
    let claim =
        json!({"metadata": {"uid": "1"}, "spec": {"volumeName": "disk"}, "status": {"phase": "Bound"}});
    let volume = json!({"metadata": {"name": "disk"}, "spec": {
        "volumeMode": "Block", "local": {"path": "/dev/loop0"}, "claimRef": {"uid": "1"},
    }});
    desired.claims.insert(ObjectKey::new("ns", "disk"), Arc::new(serde_json::from_value(claim).unwrap()));
    desired.volumes.insert(ObjectKey::new("", "disk"), Arc::new(serde_json::from_value(volume).unwrap()));
    agent.desired.send_replace(Arc::new(desired));
}

async fn sh(agent: &TestAgent, container: &Container, script: &str) -> String {
    let command: Vec<String> = ["sh", "-c", script].iter().map(|word| (*word).to_owned()).collect();
    let timeout = Duration::from_secs(10);
    agent.running.runtime.exec(&container.id, &command, timeout).await.unwrap().text()
}

async fn shows(agent: &TestAgent, container: &Container, checks: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (script, said) in checks {
        let text = sh(agent, container, &format!("{script} 2>&1")).await;
        if !text.contains(said) {
            wrong.push(format!("{script}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn check_files(agent: &TestAgent, container: &Container, runtime: RuntimeChoice) {
    let holder = if runtime == RuntimeChoice::Containerd { "2147483647" } else { "container-process" };
    let checks = [
        ("df -k /memory", " 1024 "),
        ("dd if=/dev/zero of=/memory/x bs=1k count=2000", "No space left on device"),
        ("ls -ldn /data", "drwxrwsrwx"),
        ("touch /data/f && ls -ln /data/f", " 1234 "),
        ("touch /inside/g && ls /data/deep/files", "g"),
        ("id -G", "77 1234"),
        ("cat /token/token", "files for bank "),
        ("ls -ln /token/..data/", "-rw-r-----    1 1000     1234"),
        ("cat /token/ns", "ns"),
        ("cat /map/greeting", "hello"),
        ("touch /map/x", "Read-only file system"),
        ("touch /x", "Read-only file system"),
        ("cat /whole/below/f", "below"),
        ("touch /whole/below/x", "Read-only file system"),
        ("ls -l /dev/disk", "7,   0"),
        ("hostname", "h.d.ns.svc.cluster.local"),
        (
            "cat /etc/hosts",
            "10.99.0.2\th.d.ns.svc.cluster.local\th\n\n# Entries added by HostAliases.\n1.2.3.4\talias",
        ),
        ("cat /etc/resolv.conf", "search x.org\nnameserver 9.9.9.9"),
        ("cat /proc/1/cmdline", holder),
        ("cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "80"),
        ("grep NoNewPrivs /proc/self/status", "1"),
    ];
    shows(agent, container, &checks).await;
}

on_both_runtimes!(volumes_hold_what_pods_ask_for_and_nothing_leads_out);

async fn volumes_hold_what_pods_ask_for_and_nothing_leads_out(runtime: RuntimeChoice) {
    assert!(nix::unistd::geteuid().is_root(), "run as root: containers need it");
    let (dir, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let below = disk.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("none"), &below, Some("tmpfs"), flags, None::<&str>).unwrap();
    std::fs::write(below.join("f"), "below").unwrap();
    let config = config(dir.path(), runtime);
    let mut agent = TestAgent::start(&config).await;
    let (files, thief, mounter) = (files(disk.path()), thief(), mounter());
    want(&agent, "hello", &[&files, &thief, &mounter]);

    agent.until("files", "Ready", is_ready).await;
    let container = agent.runtime_of("uid-files").await.newest("c").unwrap().clone();
    check_files(&agent, &container, runtime).await;

    agent.until("thief", "refused", |status| waits_for(status, "CreateContainerConfigError")).await;
    let said =
        r#"failed to prepare subPath for volumeMount "v" of container "c": the path leaves the volume"#;
    assert!(agent.messages.iter().any(|message| message.contains(said)), "{:?}", agent.messages);

    agent.until("mounter", "Ready", is_ready).await;
    let mounted = agent::Paths::new(dir.path()).pod_dir("uid-mounter");
    let mounted = mounted.join("volumes/kubernetes.io~empty-dir/v/m/f");
    until("the mount comes out", async || mounted.exists()).await;

    // A changed map comes, and with it the next token.
    let before = sh(&agent, &container, "cat /token/token").await;
    want(&agent, "bye", &[&files, &thief, &mounter]);
    until("the files are new", async || {
        sh(&agent, &container, "cat /map/greeting").await == "bye"
            && sh(&agent, &container, "cat /token/token").await != before
    })
    .await;
    want(&agent, "bye", &[&deleted(&files), &deleted(&thief), &deleted(&mounter)]);
    for name in ["files", "thief", "mounter"] {
        agent.until_terminated(name).await;
    }
    agent.vanish().await;
    agent::purge_pods(&config).await.expect("nothing is left");
    assert!(below.join("f").exists(), "what is the node's stays");
    nix::mount::umount(&below).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&dir.path().display().to_string()), "{mounts}");
}
