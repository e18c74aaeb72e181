//! Real pods on real containerd: life, crash, bad image, adoption by the next agent, and nothing left.
//!
//! Needs root, containerd, runc and busybox-static. Everything it makes is its own (folders, socket,
//! cgroups) and is removed again. The pod network here is a script that only gives an address.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test, in its helpers too")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::desired::{Desired, ObjectKey, PodKey, Report, ReportInbox, Reports};
use agent::runtime::{PodRuntime, Which};
use agent::tokens::{IssuedToken, TokenAsk, TokenSource};
use agent::{AgentConfig, AgentTls, Paths, RunningPods, RuntimeChoice};
use base::{SystemClock, SystemEntropy, Tasks};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[path = "containers/volumes.rs"]
mod volumes;

const DEADLINE: Duration = Duration::from_secs(60);

const NETWORK: &str = r#"#!/bin/sh
if [ "$CNI_COMMAND" = ADD ]; then
  echo '{"cniVersion":"0.4.0","interfaces":[{"name":"'$CNI_IFNAME'","sandbox":"'$CNI_NETNS'"}],"ips":[{"version":"4","interface":0,"address":"10.99.0.2/24"}]}'
fi
"#;

/// Numbers the tokens that it makes, which are old at once: whoever looks again gets the next one.
#[derive(Default)]
struct Mint {
    made: AtomicU32,
}

#[async_trait::async_trait]
impl TokenSource for Mint {
    async fn issue(&self, ask: &TokenAsk) -> Result<IssuedToken, String> {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let expires_at = base::Clock::now(&SystemClock) + Duration::from_secs(600);
        let token = format!("{} for {} {number}", ask.pod, ask.audience);
        Ok(IssuedToken { token, expires_at, lifetime: Duration::ZERO })
    }
}

struct TestAgent {
    config: AgentConfig,
    desired: watch::Sender<Arc<Desired>>,
    inbox: ReportInbox,
    tasks: Tasks,
    running: RunningPods,
    statuses: BTreeMap<String, PodStatus>,
    /// Their reasons.
    events: Vec<String>,
    /// Reasons and messages.
    messages: Vec<String>,
}

impl TestAgent {
    async fn start(config: &AgentConfig) -> Self {
        let (desired, desired_rx) = Desired::channel();
        let (reports, inbox) = Reports::channel();
        let tasks = Tasks::new(CancellationToken::new());
        let sources: (Arc<dyn base::Clock>, Arc<dyn base::Entropy>) =
            (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let running =
            agent::start_pods(config, desired_rx, reports, Arc::new(Mint::default()), sources, &tasks)
                .await
                .expect("the machine has what containers need");
        Self {
            config: config.clone(),
            desired,
            inbox,
            tasks,
            running,
            statuses: BTreeMap::new(),
            events: Vec::new(),
            messages: Vec::new(),
        }
    }

    fn want(&self, pods: &[&Pod]) {
        let mut desired = Desired { synced: true, ..Desired::default() };
        for pod in pods {
            let key = PodKey::new("ns", pod.metadata.name.clone().unwrap());
            desired.pods.insert(key, Arc::new((*pod).clone()));
        }
        let map = serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"greeting": "hello"}}))
            .unwrap();
        desired.config_maps.insert(ObjectKey::new("ns", "m"), Arc::new(map));
        self.desired.send_replace(Arc::new(desired));
    }

    /// Takes reports until `fits` holds of a pod's status.
    async fn until(&mut self, name: &str, what: &str, fits: impl Fn(&PodStatus) -> bool) -> PodStatus {
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                if let Some(status) = self.statuses.get(name).filter(|status| fits(status)) {
                    return status.clone();
                }
                self.take().await;
            }
        })
        .await;
        waited.unwrap_or_else(|_| {
            panic!("{name} is not {what}: {:#?} {:#?}", self.statuses.get(name), self.events)
        })
    }

    async fn until_terminated(&mut self, name: &str) {
        let terminated = async { while self.take().await.as_deref() != Some(name) {} };
        tokio::time::timeout(DEADLINE, terminated).await.expect("the pod ends");
    }

    /// The name of the pod whose end was told.
    async fn take(&mut self) -> Option<String> {
        match self.inbox.next().await.expect("the agent runs") {
            Report::PodStatus { key, status, .. } => {
                self.statuses.insert(key.name, *status);
                None
            }
            Report::PodTerminated { key, .. } => Some(key.name),
            Report::Event(event) => {
                let message = event.message.unwrap_or_default();
                self.events.push(event.reason.clone().unwrap_or_default());
                self.messages.push(format!("{}: {message}", event.reason.unwrap_or_default()));
                None
            }
            Report::Node { .. } => None,
        }
    }

    async fn runtime_of(&self, uid: &str) -> PodRuntime {
        self.running.runtime.observe(Which::Pod(uid)).await.unwrap().remove(uid).unwrap_or_default()
    }

    /// The agent goes, as after `kill -9`; what it runs stays.
    async fn vanish(self) {
        self.tasks.stop().cancel();
        self.tasks.join(Duration::from_secs(10)).await.unwrap();
    }
}

fn config(dir: &Path) -> AgentConfig {
    let paths = Paths::new(dir);
    std::fs::create_dir_all(paths.cni_bin_dir()).unwrap();
    std::fs::create_dir_all(paths.cni_conf_dir()).unwrap();
    for plugin in ["loopback", "script"] {
        let path = paths.cni_bin_dir().join(plugin);
        std::fs::write(&path, NETWORK).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let conflist = r#"{"cniVersion":"0.4.0","name":"test","plugins":[{"type":"script"}]}"#;
    std::fs::write(paths.cni_conf_dir().join("10.conflist"), conflist).unwrap();
    AgentConfig {
        node_name: "test".to_owned(),
        servers: Vec::new(),
        tls: AgentTls { ca: Vec::new(), certificate: Vec::new(), key: Vec::new() },
        data_dir: dir.to_owned(),
        runtime: RuntimeChoice::Containerd,
        cgroup_root: format!("/navarch-test-{}", std::process::id()),
        node_ip: [127, 0, 0, 1].into(),
        labels: BTreeMap::new(),
        executable: "/bin/true".into(),
        purge_on_stop: false,
    }
}

fn pod(name: &str, spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}")}, "spec": spec,
    }))
    .unwrap()
}

fn deleted(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(base::Clock::now(&SystemClock)));
    pod
}

fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn waits_for(status: &PodStatus, reason: &str) -> bool {
    let states = status.container_statuses.iter().flatten().filter_map(|c| c.state.as_ref());
    states.filter_map(|state| state.waiting.as_ref()).any(|waiting| waiting.reason.as_deref() == Some(reason))
}

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

fn assert_no_process_names(socket: &Path) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(!command.contains(&socket.display().to_string()), "left running: {command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_live_crash_are_adopted_and_leave_nothing() {
    assert!(nix::unistd::geteuid().is_root(), "run as root: containers need it");
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
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
    check_containerd_comes_back(&agent, &id).await;
    agent.want(&[&deleted(&web), &crash]);
    agent.until_terminated("web").await;
    assert!(agent.runtime_of("uid-web").await.is_empty());
    assert!(
        !Path::new(&format!("/sys/fs/cgroup/cpu{}/kubepods/burstable/poduid-web", config.cgroup_root))
            .exists()
    );
    agent.vanish().await;

    kill_containerd(dir.path());
    agent::purge_pods(&config).await.expect("nothing is left");
    let paths = Paths::new(dir.path());
    assert_no_process_names(&paths.containerd_socket());
    assert!(!paths.containerd_socket().exists() && !paths.pods_dir().exists());
    assert!(!Path::new(&format!("/sys/fs/cgroup/cpu{}", config.cgroup_root)).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&dir.path().display().to_string()), "{mounts}");
}
