//! Real pods, on containerd and on the built-in runtime: life, crash, bad image, adoption by the next agent, and nothing left.
//!
//! Needs root, containerd, runc and busybox-static, and the program `navarch` built beside it. Everything it makes is its own (folders, socket,
//! cgroups) and is removed again. The pod network here is a script that only gives an address.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test, in its helpers too")]

use std::path::Path;
use std::time::Duration;

use agent::runtime::Which;
use agent::{Paths, RuntimeChoice};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::json;

use test_agent::{DEADLINE, TestAgent, config, deleted, is_ready, pod, waits_for};

#[path = "containers/pod_life.rs"]
mod pod_life;
#[path = "containers/resize.rs"]
mod resize;
#[path = "containers/shortage.rs"]
mod shortage;
#[path = "containers/test_agent.rs"]
mod test_agent;
#[path = "containers/volumes.rs"]
mod volumes;

fn web() -> Pod {
    pod(
        "web",
        json!({
            "initContainers": [{"name": "first", "image": "localhost/web:1", "command": ["sh", "-c", "echo $(WHO) >/v/who"],
                "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "containers": [{
                "name": "c", "image": "localhost/web:1", "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "G", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "greeting"}}}],
                "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
                "readinessProbe": {"exec": {"command": ["cat", "/v/who"]}, "periodSeconds": 1},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "m", "mountPath": "/m"}],
            }],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "configMap": {"name": "m"}}],
        }),
    )
}

async fn check_inside(agent: &TestAgent) -> String {
    let runtime = agent.runtime_of("uid-web").await;
    let id = runtime.newest("c").unwrap().id.clone();
    let script = "cat /v/who /m/greeting; echo; echo $G; hostname; grep web /etc/hosts; wget -qO- http://127.0.0.1:8080";
    let command: Vec<String> = ["sh", "-c", script].iter().map(|word| (*word).to_owned()).collect();
    // The script network gives no loopback device, so only what needs no network is exact.
    let outcome = agent.running.runtime.exec(&id, &command, Duration::from_secs(10)).await.unwrap();
    let text = outcome.text();
    assert!(text.starts_with("web\nhello\nhello\nweb\n10.99.0.2\tweb\n"), "{text}");
    let cgroup = format!("/sys/fs/cgroup/cpu{}/kubepods/burstable/poduid-web", agent.config.cgroup_root);
    if Path::new("/sys/fs/cgroup/cpu").exists() {
        assert_eq!(std::fs::read_to_string(format!("{cgroup}/cpu.shares")).unwrap().trim(), "51");
    }
    id
}

async fn check_adoption(first: TestAgent, pods: &[&Pod; 3], id: &str) -> TestAgent {
    let config = first.config.clone();
    let last = first.statuses.clone();
    first.vanish().await;
    let second = TestAgent::start(&config).await;
    let known: Vec<Pod> = pods
        .iter()
        .map(|pod| {
            let mut pod = (*pod).clone();
            pod.status = last.get(pod.metadata.name.as_deref().unwrap()).cloned();
            pod
        })
        .collect();
    second.want(&known.iter().collect::<Vec<_>>());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let runtime = second.runtime_of("uid-web").await;
    let newest = runtime.newest("c").unwrap();
    assert_eq!(
        (newest.id.as_str(), newest.attempt, newest.is_running()),
        (id, 0, true),
        "adopted, not restarted"
    );
    second
}

/// SIGKILL to the daemon; its containers do not notice.
fn kill_containerd(dir: &Path) {
    let pid = std::fs::read_to_string(Paths::new(dir).containerd_dir().join("pid")).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

async fn check_containerd_comes_back(agent: &TestAgent, id: &str) {
    kill_containerd(&agent.config.data_dir);
    let runtime = tokio::time::timeout(DEADLINE, async {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if let Ok(mut pods) = agent.running.runtime.observe(Which::Pod("uid-web")).await {
                return pods.remove("uid-web").unwrap_or_default();
            }
        }
    })
    .await
    .expect("containerd is started again");
    let newest = runtime.newest("c").unwrap();
    assert_eq!((newest.id.as_str(), newest.is_running()), (id, true), "the container went on");
}

/// SIGKILL to what holds a pod together: all of it is made anew, and nothing of before is left running.
async fn check_a_lost_shim_is_replaced(agent: &mut TestAgent, id: &str) {
    let pods = agent.config.data_dir.join("builtin/pods");
    let sandbox = agent.runtime_of("uid-web").await.sandbox().unwrap().id.clone();
    let shim = std::fs::read(pods.join(&sandbox).join("shim-process.json")).unwrap();
    let shim: serde_json::Value = serde_json::from_slice(&shim).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(shim["pid"].as_i64().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let is_back = |status: &PodStatus| {
        is_ready(status)
            && status
                .container_statuses
                .iter()
                .flatten()
                .all(|c| !c.container_id.iter().any(|now| now.ends_with(id)))
    };
    agent.until("web", "back", is_back).await;
    let newest = agent.runtime_of("uid-web").await.newest("c").unwrap().clone();
    assert_ne!(newest.sandbox_id, sandbox);
}

fn assert_no_process_names(path: &Path) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(!command.contains(&path.display().to_string()), "left running: {command}");
    }
}

on_both_runtimes!(pods_live_crash_are_adopted_and_leave_nothing);

async fn pods_live_crash_are_adopted_and_leave_nothing(runtime: RuntimeChoice) {
    assert!(nix::unistd::geteuid().is_root(), "run as root: containers need it");
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), runtime);
    let mut agent = TestAgent::start(&config).await;

    let web = web();
    let crash = pod(
        "crash",
        json!({"containers": [{"name": "c", "image": "localhost/web:1",
        "command": ["sh", "-c", "echo last words >/dev/termination-log; exit 7"]}]}),
    );
    let bad = pod(
        "bad",
        json!({"hostNetwork": true, "containers": [{"name": "c", "image": "127.0.0.1:9/none:1"}]}),
    );
    agent.want(&[&web, &crash, &bad]);
    let status = agent.until("web", "Ready", is_ready).await;
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.99.0.2"));
    let id = check_inside(&agent).await;

    agent.until("bad", "ErrImagePull", |status| waits_for(status, "ErrImagePull")).await;
    agent.until("bad", "ImagePullBackOff", |status| waits_for(status, "ImagePullBackOff")).await;
    let status =
        agent.until("crash", "CrashLoopBackOff", |status| waits_for(status, "CrashLoopBackOff")).await;
    let ended = status.container_statuses.unwrap()[0].last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.message.as_deref()), (7, Some("last words\n")));
    for reason in ["Pulled", "Created", "Started", "BackOff", "Failed", "Pulling"] {
        assert!(agent.events.iter().any(|event| event == reason), "{reason} in {:?}", agent.events);
    }

    let mut agent = check_adoption(agent, &[&web, &crash, &bad], &id).await;
    if runtime == RuntimeChoice::Containerd {
        check_containerd_comes_back(&agent, &id).await;
    } else {
        check_a_lost_shim_is_replaced(&mut agent, &id).await;
    }
    agent.want(&[&deleted(&web), &crash]);
    agent.until_terminated("web").await;
    assert!(agent.runtime_of("uid-web").await.is_empty());
    assert!(
        !Path::new(&format!("/sys/fs/cgroup/cpu{}/kubepods/burstable/poduid-web", config.cgroup_root))
            .exists()
    );
    agent.vanish().await;

    if runtime == RuntimeChoice::Containerd {
        kill_containerd(dir.path());
    }
    agent::purge_pods(&config).await.expect("nothing is left");
    let paths = Paths::new(dir.path());
    assert_no_process_names(paths.run_dir());
    assert_no_process_names(dir.path());
    assert!(!paths.run_dir().exists() && !paths.pods_dir().exists());
    assert!(!Path::new(&format!("/sys/fs/cgroup/cpu{}", config.cgroup_root)).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&dir.path().display().to_string()), "{mounts}");
}
