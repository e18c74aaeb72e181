//! A node that runs short, with real containers: unused images go, then the pod that takes most goes; and pods
//! that outgrow what they allow themselves.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agent::RuntimeChoice;
use agent::reclaim::{ImagePolicy, Thresholds};
use agent::{Paths, ShutdownPolicy};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::on_both_runtimes;
use crate::test_agent::{DEADLINE, TestAgent, config, is_ready, pod};

const IMAGE: &str = "localhost/web:1";
const OTHER_IMAGE: &str = "localhost/other:1";

fn one(name: &str, script: &str, resources: &Value) -> Pod {
    let container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script], "resources": resources,
        "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    pod(
        name,
        json!({"containers": [container], "restartPolicy": "Never",
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "2Mi"}}]}),
    )
}

fn is_evicted(status: &PodStatus) -> bool {
    status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some("Evicted")
}

/// An image of one small file, as `docker save` writes it.
fn import_other_image(dir: &Path) {
    let layer = archive(&[("file", b"content")]);
    let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let image = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/file"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]}});
    let manifest = json!([{"Config": "image.json", "RepoTags": [OTHER_IMAGE], "Layers": ["layer.tar"]}]);
    let files = archive(&[
        ("manifest.json", manifest.to_string().as_bytes()),
        ("image.json", image.to_string().as_bytes()),
        ("layer.tar", &layer),
    ]);
    let file = dir.join("other.tar");
    std::fs::write(&file, files).unwrap();
    let socket = Paths::new(dir).containerd_socket();
    let mut import = Command::new("ctr");
    import.arg("--address").arg(socket).args(["--namespace", "k8s.io", "images", "import"]).arg(&file);
    let output = import.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

async fn has_image(agent: &TestAgent, name: &str) -> bool {
    agent.running.runtime.image(name).await.unwrap().is_some()
}

async fn check_own_limits(agent: &mut TestAgent) {
    let fill = "sleep 1; dd if=/dev/zero of=/v/f bs=1M count=4; sleep 1000";
    let write = "dd if=/dev/zero of=/tmp/f bs=1M count=6; sleep 1000";
    let volume = one("volume", fill, &json!({}));
    let layer = one("layer", write, &json!({"limits": {"ephemeral-storage": "3Mi"}}));
    let quiet = one("quiet", "sleep 1000", &json!({"limits": {"ephemeral-storage": "3Mi"}}));
    agent.want(&[&volume, &layer, &quiet]);
    let status = agent.until("volume", "evicted", is_evicted).await;
    assert_eq!(status.message.as_deref(), Some("Usage of EmptyDir volume \"v\" exceeds the limit \"2Mi\". "));
    let status = agent.until("layer", "evicted", is_evicted).await;
    assert_eq!(
        status.message.as_deref(),
        Some("Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. ")
    );
    assert!(is_ready(&agent.until("quiet", "ready", is_ready).await), "another pod is left alone");
    assert!(agent.runtime_of("uid-layer").await.containers.iter().all(|run| !run.is_running()));
}

async fn check_pressure(agent: &mut TestAgent) {
    // Holds about 30 MiB: a shell variable of that size.
    let greedy = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 1000";
    let asks = json!({"requests": {"memory": "100Mi"}});
    let greedy = one("greedy", greedy, &json!({}));
    let modest = one("modest", "sleep 1000", &asks);
    agent.want(&[&greedy, &modest]);
    let status = agent.until("greedy", "evicted", is_evicted).await;
    let message = status.message.clone().unwrap();
    assert!(message.starts_with("The node was low on resource: memory. Threshold quantity: "), "{message}");
    assert!(message.contains("Container c was using "), "{message}");
    let condition = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget").unwrap();
    assert_eq!(condition.reason.as_deref(), Some("TerminationByKubelet"));
    for reason in ["Evicted", "EvictionThresholdMet"] {
        assert!(agent.events.iter().any(|event| event == reason), "{reason} in {:?}", agent.events);
    }
}

async fn check_shutdown(agent: &mut TestAgent) {
    let traps = "trap 'exit 0' TERM; while true; do sleep 0.1; done";
    let mut critical = one("critical", traps, &json!({}));
    critical.spec.as_mut().unwrap().priority = Some(2_000_000_000);
    agent.want(&[&one("ordinary", traps, &json!({})), &critical]);
    for name in ["ordinary", "critical"] {
        agent.until(name, "ready", is_ready).await;
    }
    let policy = ShutdownPolicy { grace: Duration::from_secs(20), critical: Duration::from_secs(10) };
    agent::shut_down(&agent.running, &agent.desired.subscribe(), policy).await;
    let mut ends = Vec::new();
    for name in ["ordinary", "critical"] {
        let ended = |status: &PodStatus| status.phase.as_deref() == Some("Failed");
        let status = agent.until(name, "ended", ended).await;
        assert_eq!(status.reason.as_deref(), Some("Terminated"));
        let state = status.container_statuses.as_ref().unwrap()[0].state.clone().unwrap();
        ends.push(state.terminated.unwrap().finished_at);
    }
    assert!(ends[0] <= ends[1], "what is critical ends last: {ends:?}");
}

on_both_runtimes!(what_is_short_is_taken_from_those_who_take_most);

async fn what_is_short_is_taken_from_those_who_take_most(runtime: RuntimeChoice) {
    assert!(nix::unistd::geteuid().is_root(), "run as root: containers need it");
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), runtime);
    let mut agent = TestAgent::start(&config).await;
    let has_other = runtime == RuntimeChoice::Containerd;
    if has_other {
        import_other_image(dir.path());
    }
    check_own_limits(&mut agent).await;
    assert_eq!(has_image(&agent, OTHER_IMAGE).await, has_other, "the disk is not full");
    check_shutdown(&mut agent).await;
    agent.vanish().await;

    config.reclaim.thresholds = Thresholds::parse("memory.available<1000Gi").unwrap();
    config.reclaim.images = ImagePolicy { high_percent: 0, low_percent: 0, age_min: Duration::ZERO };
    let mut agent = TestAgent::start(&config).await;
    check_pressure(&mut agent).await;
    let collected = tokio::time::timeout(DEADLINE, async {
        while has_image(&agent, OTHER_IMAGE).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    collected.await.expect("an image that nothing uses goes");
    assert!(has_image(&agent, IMAGE).await, "what the agent has made stays");
    agent.vanish().await;
    agent::purge_pods(&config).await.expect("nothing is left");
}
