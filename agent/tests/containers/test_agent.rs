//! An agent without a control plane, on real containerd, for tests of what it does with pods.
//!
//! Everything it makes is its own (folders, socket, cgroups). The pod network here is a script that only gives
//! an address.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::desired::{Desired, ObjectKey, PodKey, Report, ReportInbox, Reports};
use agent::reclaim::{ImagePolicy, ReclaimPolicy, Thresholds};
use agent::runtime::{PodRuntime, Which};
use agent::tokens::{IssuedToken, TokenAsk, TokenSource};
use agent::{AgentConfig, AgentTls, Paths, RunningPods, RuntimeChoice};
use base::{SystemClock, SystemEntropy, Tasks};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

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

pub(crate) struct TestAgent {
    pub(crate) config: AgentConfig,
    pub(crate) desired: watch::Sender<Arc<Desired>>,
    pub(crate) inbox: ReportInbox,
    pub(crate) tasks: Tasks,
    pub(crate) running: RunningPods,
    pub(crate) statuses: BTreeMap<String, PodStatus>,
    /// Their reasons.
    pub(crate) events: Vec<String>,
    /// Reasons and messages.
    pub(crate) messages: Vec<String>,
}

impl TestAgent {
    pub(crate) async fn start(config: &AgentConfig) -> Self {
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

    pub(crate) fn want(&self, pods: &[&Pod]) {
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
    pub(crate) async fn until(
        &mut self,
        name: &str,
        what: &str,
        fits: impl Fn(&PodStatus) -> bool,
    ) -> PodStatus {
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
            panic!("{name} is not {what}: {:#?} {:#?}", self.statuses.get(name), self.messages)
        })
    }

    pub(crate) async fn until_terminated(&mut self, name: &str) {
        let terminated = async { while self.take().await.as_deref() != Some(name) {} };
        tokio::time::timeout(DEADLINE, terminated).await.expect("the pod ends");
    }

    /// The name of the pod whose end was told.
    pub(crate) async fn take(&mut self) -> Option<String> {
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
            Report::Node { .. } | Report::Mirrors(_) => None,
        }
    }

    pub(crate) async fn runtime_of(&self, uid: &str) -> PodRuntime {
        self.running.runtime.observe(Which::Pod(uid)).await.unwrap().remove(uid).unwrap_or_default()
    }

    /// The agent goes, as after `kill -9`; what it runs stays.
    pub(crate) async fn vanish(self) {
        self.tasks.stop().cancel();
        self.tasks.join(Duration::from_secs(10)).await.unwrap();
    }
}

/// A test of this module's function, with each of the runtimes that run something.
#[macro_export]
macro_rules! on_both_runtimes {
    ($test:ident) => {
        mod containerd {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(agent::RuntimeChoice::Containerd).await;
            }
        }
        mod builtin {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(agent::RuntimeChoice::Builtin).await;
            }
        }
    };
}

/// The program that the built-in runtime starts, built beside this test.
fn navarch() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("navarch");
    assert!(program.exists(), "{} is missing: cargo build --workspace", program.display());
    program
}

pub(crate) fn config(dir: &Path, runtime: RuntimeChoice) -> AgentConfig {
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
        runtime,
        hosts_dirs: Vec::new(),
        cgroup_root: format!(
            "/navarch-test-{}",
            dir.file_name().unwrap().to_string_lossy().trim_matches('.')
        ),
        node_ip: [127, 0, 0, 1].into(),
        labels: BTreeMap::new(),
        manifests_dir: None,
        // Whatever else fills this machine's disk is not what is tested.
        reclaim: ReclaimPolicy {
            thresholds: Thresholds::parse("").unwrap(),
            images: ImagePolicy { high_percent: 100, ..ImagePolicy::default() },
        },
        shutdown: agent::ShutdownPolicy::default(),
        executable: navarch(),
        purge_on_stop: false,
    }
}

pub(crate) fn pod(name: &str, spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}")}, "spec": spec,
    }))
    .unwrap()
}

pub(crate) fn deleted(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(base::Clock::now(&SystemClock)));
    pod
}

pub(crate) fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub(crate) fn waits_for(status: &PodStatus, reason: &str) -> bool {
    let states = status.container_statuses.iter().flatten().filter_map(|c| c.state.as_ref());
    states.filter_map(|state| state.waiting.as_ref()).any(|waiting| waiting.reason.as_deref() == Some(reason))
}
