//! Real containers resized in place: what their cgroups hold, what is told, and what a restarted agent makes of it.

use std::path::Path;

use agent::RuntimeChoice;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use crate::on_both_runtimes;
use crate::test_agent::{TestAgent, config, is_ready, pod};

fn sized(cpu: &str, memory: &str) -> Pod {
    pod(
        "sized",
        json!({"containers": [{
            "name": "c", "image": "localhost/web:1",
            "resizePolicy": [
                {"resourceName": "cpu", "restartPolicy": "NotRequired"},
                {"resourceName": "memory", "restartPolicy": "RestartContainer"},
            ],
            "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": cpu, "memory": memory}},
        }], "terminationGracePeriodSeconds": 2}),
    )
}

fn asking(cpu: &str) -> Pod {
    let mut pod = sized("300m", "96Mi");
    let resources =
        json!({"requests": {"cpu": cpu, "memory": "16Mi"}, "limits": {"cpu": cpu, "memory": "96Mi"}});
    pod.spec.as_mut().unwrap().containers[0].resources = Some(serde_json::from_value(resources).unwrap());
    pod
}

fn limit(status: &PodStatus, resource: &str) -> Option<String> {
    let container = status.container_statuses.as_ref()?.first()?;
    Some(container.resources.as_ref()?.limits.as_ref()?.get(resource)?.0.clone())
}

fn condition(status: &PodStatus, kind: &str) -> Option<Value> {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind)?;
    Some(json!([found.status, found.reason]))
}

/// Of the container and of its pod.
async fn in_cgroups(agent: &TestAgent, controller: &str, file: &str) -> [String; 2] {
    let runtime = agent.runtime_of("uid-sized").await;
    let id = runtime.newest("c").unwrap().id.clone();
    let root = &agent.config.cgroup_root;
    let pod = format!("/sys/fs/cgroup/{controller}{root}/kubepods/burstable/poduid-sized");
    [format!("{pod}/{id}/{file}"), format!("{pod}/{file}")]
        .map(|path| std::fs::read_to_string(path).unwrap().trim().to_owned())
}

on_both_runtimes!(a_running_pod_gets_more_and_less);

async fn a_running_pod_gets_more_and_less(runtime: RuntimeChoice) {
    assert!(nix::unistd::geteuid().is_root(), "run as root: containers need it");
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), runtime);
    let mut agent = TestAgent::start(&config).await;
    agent.want(&[&sized("100m", "64Mi")]);
    let status = agent.until("sized", "ready", is_ready).await;
    assert_eq!(limit(&status, "cpu").as_deref(), Some("100m"));
    let first = agent.runtime_of("uid-sized").await.newest("c").unwrap().id.clone();
    let has_files = Path::new("/sys/fs/cgroup/cpu").exists();

    for (cpu, quota) in [("300m", "30000"), ("200m", "20000")] {
        agent.want(&[&sized(cpu, "64Mi")]);
        agent.until("sized", "resized", |status| limit(status, "cpu").as_deref() == Some(cpu)).await;
        if has_files {
            assert_eq!(in_cgroups(&agent, "cpu", "cpu.cfs_quota_us").await, [quota, quota]);
        }
    }
    assert!(agent.events.iter().any(|event| event == "ResizeCompleted"), "{:?}", agent.events);
    let run = agent.runtime_of("uid-sized").await.newest("c").unwrap().clone();
    assert_eq!((run.id.as_str(), run.attempt), (first.as_str(), 0), "processors need no restart");

    agent.want(&[&sized("300m", "96Mi")]);
    let is_larger =
        |status: &PodStatus| limit(status, "memory").as_deref() == Some("96Mi") && is_ready(status);
    let status = agent.until("sized", "restarted with more memory", is_larger).await;
    assert_eq!(status.container_statuses.unwrap()[0].restart_count, 1);
    if has_files {
        let bytes = (96 << 20).to_string();
        let in_bytes = in_cgroups(&agent, "memory", "memory.limit_in_bytes").await;
        assert_eq!(in_bytes, [bytes.as_str(), bytes.as_str()]);
    }

    agent.want(&[&asking("1000")]);
    let refused = json!(["True", "Infeasible"]);
    let is_refused = |status: &PodStatus| condition(status, "PodResizePending").as_ref() == Some(&refused);
    let status = agent.until("sized", "refused", is_refused).await;
    assert_eq!(limit(&status, "cpu").as_deref(), Some("300m"), "it keeps what it had");
    agent.vanish().await;

    let mut agent = TestAgent::start(&config).await;
    agent.want(&[&Pod { status: Some(status), ..asking("1000") }]);
    let back = sized("100m", "96Mi");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    if has_files {
        let [of_container, _] = in_cgroups(&agent, "cpu", "cpu.cfs_quota_us").await;
        assert_eq!(of_container, "30000", "the next agent knows what it has");
    }
    agent.want(&[&back]);
    let is_back = |status: &PodStatus| limit(status, "cpu").as_deref() == Some("100m");
    let status = agent.until("sized", "resized", is_back).await;
    assert_eq!(condition(&status, "PodResizePending"), None);
    agent.vanish().await;
    agent::purge_pods(&config).await.expect("nothing is left");
}
