//! What this node tells about itself: addresses, capacity, conditions, versions, labels.
//!
//! The control plane owns the Node object; this room only reports. Heartbeats are not sent here: a poll in
//! flight is the heartbeat.

mod conditions;
mod facts;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Tasks};
use k8s_openapi::api::core::v1::{
    ContainerImage, NodeAddress, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use conditions::Conditions;
use facts::Facts;
pub(crate) use facts::Usage;

use crate::desired::Reports;
use crate::network::NetworkHealth;
use crate::pods::Circumstances;
use crate::reclaim::{Signal, Thresholds};

/// How often pressure is measured. What is no news is not reported.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the node reports although nothing changed, like a kubelet: a net below what servers ask for.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// Kubernetes' default.
const PODS_MAX: u32 = 110;
/// Kubernetes' limit: more would make the Node object large.
const IMAGES_MAX: usize = 50;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    pub node_name: String,
    pub node_ip: Ipv4Addr,
    /// The file system that holds images, logs and volumes.
    pub data_dir: PathBuf,
    /// Labels beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// From when on it is under pressure.
    pub thresholds: Thresholds,
}

/// How the container runtime is, told by the room that runs it.
#[derive(Clone, Debug, Default)]
pub struct RuntimeHealth {
    /// For example `containerd://1.6.20`; empty until known.
    pub version: String,
    /// In words for the node's Ready condition; `None` when containers can be run.
    pub problem: Option<String>,
    pub images: Vec<ContainerImage>,
}

/// Keeps the control plane told, in a task, and whoever judges new pods.
pub(crate) fn start(
    settings: NodeSettings,
    (runtime, network): (watch::Receiver<RuntimeHealth>, watch::Receiver<NetworkHealth>),
    reports: Reports,
    circumstances: watch::Sender<Circumstances>,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) {
    let reporter = Reporter { settings, runtime, network, reports, circumstances, clock };
    tasks.spawn_infallible("node status", reporter.run(tasks.stop().clone()));
}

struct Reporter {
    settings: NodeSettings,
    runtime: watch::Receiver<RuntimeHealth>,
    network: watch::Receiver<NetworkHealth>,
    reports: Reports,
    circumstances: watch::Sender<Circumstances>,
    clock: Arc<dyn Clock>,
}

impl Reporter {
    async fn run(mut self, stop: CancellationToken) {
        let facts = Facts::read();
        let mut conditions = Conditions::lasting(self.settings.thresholds.transition);
        let mut told: Option<(NodeStatus, Instant)> = None;
        loop {
            let usage = Usage::read(&self.settings.data_dir);
            let runtime = self.runtime.borrow_and_update().clone();
            let network = self.network.borrow_and_update().clone();
            let crossed = self.settings.thresholds.crossed(&usage);
            conditions.observe(self.clock.now(), &crossed, &runtime, &network);
            self.circumstances.send_modify(|it| it.pressures = conditions.pressures());
            let status = status(&self.settings, &facts, &usage, &runtime, &conditions);
            let news = without_heartbeats(&status);
            if !told.as_ref().is_some_and(|(told, at)| at.elapsed() < REPORT_EVERY && *told == news) {
                told = Some((news, Instant::now()));
                self.reports.node(status, labels(&self.settings)).await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.runtime.changed() => if changed.is_err() { return },
                Ok(()) = self.network.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// What makes a status news.
fn without_heartbeats(status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
    }
    status
}

fn labels(settings: &NodeSettings) -> BTreeMap<String, String> {
    let own = [
        ("kubernetes.io/hostname", settings.node_name.as_str()),
        ("kubernetes.io/os", facts::OS),
        ("kubernetes.io/arch", facts::ARCHITECTURE),
        ("beta.kubernetes.io/os", facts::OS),
        ("beta.kubernetes.io/arch", facts::ARCHITECTURE),
    ];
    let mut labels = settings.labels.clone();
    labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    labels
}

fn status(
    settings: &NodeSettings,
    facts: &Facts,
    usage: &Usage,
    runtime: &RuntimeHealth,
    conditions: &Conditions,
) -> NodeStatus {
    let address = |kind: &str, address: String| NodeAddress { address, type_: kind.to_owned() };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", settings.node_ip.to_string()),
            address("Hostname", settings.node_name.clone()),
        ]),
        capacity: Some(resources(facts.cpus, usage.memory_bytes, usage.storage_bytes)),
        allocatable: Some(for_pods(facts, usage, &settings.thresholds)),
        conditions: Some(conditions.list()),
        daemon_endpoints: Some(NodeDaemonEndpoints::default()),
        images: Some(largest(&runtime.images)).filter(|images| !images.is_empty()),
        node_info: Some(NodeSystemInfo {
            architecture: facts::ARCHITECTURE.into(),
            boot_id: facts.boot_id.clone(),
            container_runtime_version: runtime.version.clone(),
            kernel_version: facts.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: facts::version(),
            machine_id: facts.machine_id.clone(),
            operating_system: facts::OS.into(),
            os_image: facts.os_image.clone(),
            system_uuid: facts.system_uuid.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// What this machine has for pods.
pub(crate) fn allocatable(data_dir: &Path, thresholds: &Thresholds) -> BTreeMap<String, Quantity> {
    for_pods(&Facts::read(), &Usage::read(data_dir), thresholds)
}

/// What eviction keeps free cannot be promised.
fn for_pods(facts: &Facts, usage: &Usage, thresholds: &Thresholds) -> BTreeMap<String, Quantity> {
    let free = |signal: Signal, all: u64| all.saturating_sub(thresholds.reserved(signal, all));
    resources(
        facts.cpus,
        free(Signal::Memory, usage.memory_bytes),
        free(Signal::Storage, usage.storage_bytes),
    )
}

fn resources(cpus: u64, memory_bytes: u64, storage_bytes: u64) -> BTreeMap<String, Quantity> {
    // Whole kibibytes, as Kubernetes prints them.
    let kibibytes = |bytes: u64| format!("{}Ki", bytes / 1024);
    [
        ("cpu", cpus.to_string()),
        ("memory", kibibytes(memory_bytes)),
        ("ephemeral-storage", kibibytes(storage_bytes)),
        ("pods", PODS_MAX.to_string()),
    ]
    .into_iter()
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .collect()
}

fn largest(images: &[ContainerImage]) -> Vec<ContainerImage> {
    let mut images = images.to_vec();
    images.sort_by_key(|image| (std::cmp::Reverse(image.size_bytes), image.names.clone()));
    images.truncate(IMAGES_MAX);
    images
}

#[cfg(test)]
mod tests {
    use base::ManualClock;

    use super::*;

    fn settings() -> NodeSettings {
        NodeSettings {
            node_name: "agent-1".into(),
            node_ip: Ipv4Addr::new(172, 30, 0, 11),
            data_dir: "/".into(),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            thresholds: Thresholds::default(),
        }
    }

    #[test]
    fn allocatable_is_less_than_capacity() {
        let usage = Usage { memory_bytes: 1 << 30, storage_bytes: 1_024_000, ..Usage::default() };
        let facts = Facts { cpus: 2, ..Facts::default() };
        let status = status(&settings(), &facts, &usage, &RuntimeHealth::default(), &Conditions::default());
        let shown = |list: Option<BTreeMap<String, Quantity>>| {
            let list =
                list.expect("given").into_iter().map(|(name, Quantity(amount))| format!("{name}={amount}"));
            list.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(status.capacity), "cpu=2 ephemeral-storage=1000Ki memory=1048576Ki pods=110");
        assert_eq!(shown(status.allocatable), "cpu=2 ephemeral-storage=900Ki memory=946176Ki pods=110");
    }

    #[test]
    fn nobody_can_override_the_labels_that_say_what_a_node_is() {
        let mut settings = settings();
        settings.labels.insert("kubernetes.io/hostname".into(), "other".into());
        let labels = labels(&settings);
        assert_eq!(labels["kubernetes.io/hostname"], "agent-1");
        assert_eq!(labels["zone"], "a");
        assert_eq!(labels["kubernetes.io/os"], "linux");
    }

    #[tokio::test]
    async fn a_change_of_health_is_reported_at_once() {
        let (reports, mut inbox) = Reports::channel();
        let tasks = Tasks::new(CancellationToken::new());
        let (runtime, runtime_rx) = watch::channel(RuntimeHealth::default());
        let clock = Arc::new(ManualClock::at(base::Timestamp::UNIX_EPOCH));
        let (circumstances, _) = watch::channel(Circumstances::default());
        start(settings(), (runtime_rx, crate::network::absent()), reports, circumstances, clock, &tasks);
        let mut ready = async || {
            let Some(crate::desired::Report::Node { status, .. }) = inbox.next().await else {
                panic!("not a node report")
            };
            let conditions = status.conditions.expect("given");
            conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("Ready").status
        };
        assert_eq!(ready().await, "True");
        runtime.send_replace(RuntimeHealth { problem: Some("gone".into()), ..RuntimeHealth::default() });
        let told = tokio::time::timeout(LOOK_EVERY / 2, ready()).await;
        assert_eq!(told.expect("well before the next look"), "False");
        tasks.stop().cancel();
        tasks.join(Duration::from_secs(5)).await.expect("no task failed");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_news_is_reported_rarely() {
        let (reports, mut inbox) = Reports::channel();
        let tasks = Tasks::new(CancellationToken::new());
        let (runtime, runtime_rx) = watch::channel(RuntimeHealth::default());
        let clock = Arc::new(ManualClock::at(base::Timestamp::UNIX_EPOCH));
        // No threshold: what this machine has free is no news either.
        let settings = NodeSettings { thresholds: Thresholds::parse("").expect("none"), ..settings() };
        let (circumstances, _) = watch::channel(Circumstances::default());
        let health = (runtime_rx, crate::network::absent());
        start(settings, health, reports, circumstances, clock.clone(), &tasks);
        inbox.next().await.expect("the first");
        let began = Instant::now();
        runtime.send_replace(RuntimeHealth::default());
        clock.advance(Duration::from_secs(60));
        inbox.next().await.expect("the same again");
        assert!(began.elapsed() >= REPORT_EVERY - LOOK_EVERY, "{:?}", began.elapsed());
        tasks.stop().cancel();
        tasks.join(Duration::from_secs(5)).await.expect("no task failed");
    }
}
