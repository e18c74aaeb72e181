//! What the scheduler needs to know of a pod, worked out once.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use client::{HasMetadata, ObjectKey, controller_of};
use k8s_openapi::api::core::v1::{Container, Pod, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kinds::quantity;

/// What a container is taken to need for scoring when it asks for nothing, as in Kubernetes.
const DEFAULT_CPU_MILLI: i64 = 100;
const DEFAULT_MEMORY_BYTES: i64 = 200 << 20;

/// Amounts that filters compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) cpu_milli: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) storage_bytes: i64,
    pub(crate) pods: i64,
}

impl Resources {
    pub(crate) fn of_list(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amount = |name: &str| -> quantity::Quantity {
            let text = list.and_then(|list| list.get(name)).map_or("0", |quantity| quantity.0.as_str());
            text.parse().unwrap_or(quantity::Quantity::ZERO)
        };
        Self {
            cpu_milli: amount("cpu").to_milli(),
            memory_bytes: amount("memory").to_whole(),
            storage_bytes: amount("ephemeral-storage").to_whole(),
            pods: amount("pods").to_whole(),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            storage_bytes: self.storage_bytes.max(other.storage_bytes),
            pods: self.pods.max(other.pods),
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        self.cpu_milli += other.cpu_milli;
        self.memory_bytes += other.memory_bytes;
        self.storage_bytes += other.storage_bytes;
        self.pods += other.pods;
    }
}

impl SubAssign for Resources {
    fn sub_assign(&mut self, other: Self) {
        self.cpu_milli -= other.cpu_milli;
        self.memory_bytes -= other.memory_bytes;
        self.storage_bytes -= other.storage_bytes;
        self.pods -= other.pods;
    }
}

/// A port that the node's own addresses give away once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub(crate) address: String,
    pub(crate) protocol: String,
    pub(crate) port: i32,
}

impl HostPort {
    /// An address of all zeroes takes the port on every address.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        let is_any = |port: &Self| port.address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (is_any(self) || is_any(other) || self.address == other.address)
    }
}

/// A pod as filters and scores see it.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) key: ObjectKey,
    pub(crate) requests: Resources,
    /// With what is assumed for containers that ask for nothing.
    pub(crate) scored: Resources,
    pub(crate) ports: Vec<HostPort>,
    /// Pods with the same one are to be spread: the controller's uid.
    pub(crate) group: Option<String>,
}

impl PodInfo {
    pub(crate) fn of(pod: &Arc<Pod>) -> Self {
        let ask = |container: &Container| {
            let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            Resources::of_list(requests)
        };
        let assume = |container: &Container| {
            let mut asked = ask(container);
            if asked.cpu_milli == 0 {
                asked.cpu_milli = DEFAULT_CPU_MILLI;
            }
            if asked.memory_bytes == 0 {
                asked.memory_bytes = DEFAULT_MEMORY_BYTES;
            }
            asked
        };
        Self {
            key: pod.key(),
            requests: total(pod, ask),
            scored: total(pod, assume),
            ports: host_ports(pod),
            group: controller_of(&**pod).map(|owner| owner.uid.clone()),
            pod: pod.clone(),
        }
    }

    pub(crate) fn node_name(&self) -> &str {
        self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
    }

    pub(crate) fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
    }
}

/// Containers run together; init containers before them one after the other, beside the sidecars started so far.
fn total(pod: &Pod, of: impl Fn(&Container) -> Resources) -> Resources {
    let Some(spec) = &pod.spec else { return Resources { pods: 1, ..Resources::default() } };
    let mut running = Resources::default();
    for container in &spec.containers {
        running += of(container);
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars += of(container);
            starting = starting.max(sidecars);
        } else {
            let mut now = sidecars;
            now += of(container);
            starting = starting.max(now);
        }
    }
    running += sidecars;
    let mut total = running.max(starting);
    total += Resources::of_list(spec.overhead.as_ref());
    total.pods = 1;
    total
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let used = ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.clone().filter(|address| !address.is_empty());
        Some(HostPort {
            address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: number,
        })
    });
    used.collect()
}

/// Whether the pod holds what its node gives: it has not ended.
pub(crate) fn holds_resources(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the pod is ours to place, now.
pub(crate) fn is_to_be_scheduled(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let is_unbound = spec.node_name.as_deref().is_none_or(str::is_empty);
    let is_ours = spec.scheduler_name.as_deref().is_none_or(|name| name.is_empty() || name == crate::NAME);
    let is_gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    is_unbound && is_ours && !is_gated && !pod.is_terminating() && holds_resources(pod)
}

/// Whether one of the pod's tolerations covers a taint.
pub(crate) fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    let mut tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    tolerations.any(|toleration| client::tolerations::tolerates(toleration, taint))
}
