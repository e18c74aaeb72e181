//! How soon an agent's pods run, and what it uses itself: `make bench-agent`, as root.
//!
//! The agent's pods part runs in this process, without a control plane, in a network namespace and a folder of its
//! own; with containerd or with the built-in runtime. Times are from the moment in which a pod
//! is wanted to the report that its container runs (or that it has ended), with the image present. What the program
//! under `NAVARCH_BIN` costs as shim is counted apart.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "the program under measure is named in the environment")]

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent::desired::{Desired, PodKey, Report, ReportInbox, Reports};
use agent::reclaim::{ImagePolicy, ReclaimPolicy, Thresholds};
use agent::tokens::{IssuedToken, TokenAsk, TokenSource};
use agent::{AgentConfig, AgentTls, Paths, RuntimeChoice};
use base::{Clock, Entropy, SystemClock, SystemEntropy, Tasks};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const ONE_BY_ONE: usize = 20;
const AT_ONCE: usize = 100;
const IDLE_PODS: usize = 10;
const IDLE: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(120);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let choice = match std::env::args().nth(1).as_deref() {
        Some("containerd") => RuntimeChoice::Containerd,
        Some("builtin") => RuntimeChoice::Builtin,
        _ => panic!("usage: bench_agent containerd|builtin"),
    };
    assert!(nix::unistd::geteuid().is_root(), "run as root: containers need it");
    // Before there is a second thread: its pods' cables end here, not in the machine's own namespace.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!(
        "{:<12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "", "start p50", "start max", "end p50", "100 start", "agent MiB", "agent cpu", "shims MiB"
    );
    runtime.block_on(measure(choice));
}

async fn measure(choice: RuntimeChoice) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), choice);
    let mut bench = Bench::start(&config).await;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for number in 0..ONE_BY_ONE {
        let pods = [pod(&format!("one-{number}"))];
        starts.push(bench.run(&pods).await);
        ends.push(bench.end(&pods).await);
    }
    let idle: Vec<Pod> = (0..IDLE_PODS).map(|number| pod(&format!("idle-{number}"))).collect();
    bench.run(&idle).await;
    let before = machine::cpu_seconds();
    tokio::time::sleep(IDLE).await;
    let cpu = (machine::cpu_seconds() - before) / IDLE.as_secs_f64() * 100.0;
    let (own, shims) = (machine::own_mib(), machine::shims_mib(dir.path()));
    bench.end(&idle).await;
    let many: Vec<Pod> = (0..AT_ONCE).map(|number| pod(&format!("many-{number}"))).collect();
    let all = bench.run(&many).await;
    bench.end(&many).await;
    starts.sort();
    ends.sort();
    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
    println!(
        "{:<12}{:>12}{:>12}{:>12}{:>12}{:>12.1}{:>11.2}%{:>12.1}",
        bench.name,
        ms(starts[starts.len() / 2]),
        ms(*starts.last().unwrap()),
        ms(ends[ends.len() / 2]),
        ms(all),
        own,
        cpu,
        shims,
    );
    bench.stop().await;
    agent::purge_pods(&config).await.unwrap();
}

/// An agent's pods part.
struct Bench {
    name: &'static str,
    desired: watch::Sender<Arc<Desired>>,
    inbox: ReportInbox,
    tasks: Tasks,
    wanted: BTreeMap<PodKey, Arc<Pod>>,
}

impl Bench {
    async fn start(config: &AgentConfig) -> Self {
        let (desired, received) = Desired::channel();
        let (reports, inbox) = Reports::channel();
        let tasks = Tasks::new(CancellationToken::new());
        let sources: (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let running =
            agent::start_pods(config, received, reports, Arc::new(NoTokens), sources, &tasks).await.unwrap();
        Self { name: running.runtime.name(), desired, inbox, tasks, wanted: BTreeMap::new() }
    }

    /// Until all of them run.
    async fn run(&mut self, pods: &[Pod]) -> Duration {
        for pod in pods {
            self.wanted.insert(key(pod), Arc::new(pod.clone()));
        }
        self.until(pods, |report| match report {
            Report::PodStatus { key, status, .. } if runs(status) => Some(key.clone()),
            _ => None,
        })
        .await
    }

    /// Until nothing of them is left.
    async fn end(&mut self, pods: &[Pod]) -> Duration {
        for pod in pods {
            let mut pod = pod.clone();
            pod.metadata.deletion_timestamp = Some(Time(SystemClock.now()));
            pod.metadata.deletion_grace_period_seconds = Some(1);
            self.wanted.insert(key(&pod), Arc::new(pod));
        }
        let time = self
            .until(pods, |report| match report {
                Report::PodTerminated { key, .. } => Some(key.clone()),
                _ => None,
            })
            .await;
        for pod in pods {
            self.wanted.remove(&key(pod));
        }
        self.tell();
        time
    }

    async fn until(&mut self, pods: &[Pod], fits: impl Fn(&Report) -> Option<PodKey>) -> Duration {
        let mut left: BTreeSet<PodKey> = pods.iter().map(key).collect();
        let begin = Instant::now();
        self.tell();
        let all = async {
            while !left.is_empty() {
                if let Some(key) = fits(&self.inbox.next().await.unwrap()) {
                    left.remove(&key);
                }
            }
        };
        tokio::time::timeout(DEADLINE, all).await.expect("the pods get there");
        begin.elapsed()
    }

    fn tell(&self) {
        let desired = Desired { synced: true, pods: self.wanted.clone(), ..Desired::default() };
        self.desired.send_replace(Arc::new(desired));
    }

    async fn stop(self) {
        self.tasks.stop().cancel();
        self.tasks.join(Duration::from_secs(10)).await.unwrap();
    }
}

struct NoTokens;

#[tonic::async_trait]
impl TokenSource for NoTokens {
    async fn issue(&self, _: &TokenAsk) -> Result<IssuedToken, String> {
        Err("there is no control plane".to_owned())
    }
}

fn runs(status: &PodStatus) -> bool {
    let mut containers = status.container_statuses.iter().flatten();
    containers.any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()))
}

fn key(pod: &Pod) -> PodKey {
    PodKey::new("bench", pod.metadata.name.clone().unwrap())
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "bench", "uid": format!("uid-{name}")},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "localhost/web:1", "command": ["sleep", "1000000"]}],
        },
    }))
    .unwrap()
}

fn config(dir: &Path, runtime: RuntimeChoice) -> AgentConfig {
    let executable = PathBuf::from(std::env::var("NAVARCH_BIN").expect("NAVARCH_BIN names the program"));
    let paths = Paths::new(dir);
    std::fs::create_dir_all(paths.cni_bin_dir()).unwrap();
    std::fs::create_dir_all(paths.cni_conf_dir()).unwrap();
    for plugin in ["loopback", "navarch-cni"] {
        std::os::unix::fs::symlink(&executable, paths.cni_bin_dir().join(plugin)).unwrap();
    }
    let plugin = json!({"type": "navarch-cni", "subnet": "10.98.0.0/24", "mtu": 1450, "stateDir": paths.cni_state_dir()});
    let list = json!({"cniVersion": "0.4.0", "name": "bench", "plugins": [plugin]});
    std::fs::write(paths.cni_conf_dir().join("10-bench.conflist"), list.to_string()).unwrap();
    AgentConfig {
        node_name: "bench".to_owned(),
        servers: Vec::new(),
        tls: AgentTls { ca: Vec::new(), certificate: Vec::new(), key: Vec::new() },
        data_dir: dir.to_owned(),
        runtime,
        hosts_dirs: Vec::new(),
        cgroup_root: format!("/navarch-bench-{}", std::process::id()),
        node_ip: [127, 0, 0, 1].into(),
        labels: BTreeMap::new(),
        manifests_dir: None,
        reclaim: ReclaimPolicy {
            thresholds: Thresholds::parse("").unwrap(),
            images: ImagePolicy { high_percent: 100, ..ImagePolicy::default() },
        },
        shutdown: agent::ShutdownPolicy::default(),
        executable,
        purge_on_stop: false,
    }
}
