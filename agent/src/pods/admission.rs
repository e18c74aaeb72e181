//! Whether this node takes a pod that is new to it. Pure.
//!
//! The scheduler has asked the same before; but pods are also bound by hand, come from files, or come when the node
//! has changed meanwhile. Order, reasons and words are the kubelet's (eviction_manager.go, predicate.go,
//! nodeshutdown_manager.go). A pod that ran here before is not asked again.

use std::collections::BTreeMap;

use client::node_affinity;
use client::tolerations::tolerates;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Node, Pod, Taint};

use super::configuration::Refused;
use super::fields::Allocatable;
use super::is_critical;
use super::resize::given_or_asked;
use super::restart::is_sidecar;
use crate::cgroups::{QosClass, qos_class, resource_amount};
use crate::statics::is_static;

/// What of the node decides about new pods and changes while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// The types of the conditions that hold, by which it is short of something.
    pub(crate) pressures: Vec<String>,
    pub(crate) shuts_down: bool,
}

pub(crate) struct Scene<'a> {
    /// Its name and labels; `None` while no server has told them.
    pub(crate) node: Option<&'a Node>,
    pub(crate) allocatable: &'a Allocatable,
    pub(crate) circumstances: &'a Circumstances,
    /// Those that the node has taken and that are not over.
    pub(crate) others: Vec<&'a Pod>,
}

const MEMORY_PRESSURE: &str = "MemoryPressure";
/// What is counted, in the order in which the scheduler's own check does.
const COUNTED: [(&str, &str); 3] =
    [("cpu", "OutOfcpu"), ("memory", "OutOfmemory"), ("ephemeral-storage", "OutOfephemeral-storage")];
/// The label by which a pod may want another operating system.
const OS_LABEL: &str = "kubernetes.io/os";
const OS: &str = "linux";
pub(crate) const NODE_AFFINITY: &str = "NodeAffinity";

/// # Errors
/// Why not, for good.
pub(crate) fn admit(pod: &Pod, scene: &Scene<'_>) -> Result<(), Refused> {
    under_pressure(pod, &scene.circumstances.pressures)?;
    other_system(pod)?;
    no_room(pod, scene)?;
    not_meant(pod, scene)?;
    port_taken(pod, scene)?;
    if scene.circumstances.shuts_down {
        return refused("NodeShutdown", "Pod was rejected as the node is shutting down.".to_owned());
    }
    Ok(())
}

fn refused(reason: &'static str, message: String) -> Result<(), Refused> {
    Err(Refused { reason, message })
}

/// Of memory alone only those are refused that would be the first to go.
fn under_pressure(pod: &Pod, pressures: &[String]) -> Result<(), Refused> {
    if pressures.is_empty() || is_static(pod) || is_critical(pod) {
        return Ok(());
    }
    let only_memory = pressures.len() == 1 && pressures[0] == MEMORY_PRESSURE;
    if only_memory && (qos_class(pod) != QosClass::BestEffort || tolerates_memory_pressure(pod)) {
        return Ok(());
    }
    refused("Evicted", format!("The node had condition: [{}]. ", pressures.join(" ")))
}

fn tolerates_memory_pressure(pod: &Pod) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/memory-pressure".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten()).any(|it| tolerates(it, &taint))
}

fn other_system(pod: &Pod) -> Result<(), Refused> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let selected = spec.node_selector.as_ref().and_then(|selector| selector.get(OS_LABEL));
    if selected.is_some_and(|os| os != OS) {
        let message =
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label".to_owned();
        return refused("PodOSSelectorNodeLabelDoesNotMatch", message);
    }
    if spec.os.as_ref().is_some_and(|os| os.name != OS) {
        let message = "Failed to admit pod as the OS field doesn't match node OS".to_owned();
        return refused("PodOSNotSupported", message);
    }
    Ok(())
}

fn no_room(pod: &Pod, scene: &Scene<'_>) -> Result<(), Refused> {
    let short = |reason, what: &str, requested: i128, used: i128, capacity: i128| {
        let message = format!(
            "Node didn't have enough resource: {what}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        refused(reason, message)
    };
    let capacity = |what: &str| {
        let amount = scene.allocatable.get(what).and_then(|amount| resource_amount(&amount.0));
        amount.map_or(0, |thousandths| in_its_unit(what, thousandths))
    };
    let (count, most) = (i128::try_from(scene.others.len()).unwrap_or(i128::MAX), capacity("pods"));
    if count >= most {
        return short("OutOfpods", "pods", 1, count, most);
    }
    let requests = Requests::of(pod);
    let used = scene.others.iter().map(|other| Requests::of(other)).collect::<Vec<_>>();
    for (what, reason) in COUNTED {
        let requested = requests.get(what);
        let used = used.iter().map(|other| other.get(what)).sum::<i128>();
        let capacity = capacity(what);
        if requested > 0 && requested > capacity - used {
            return short(reason, what, requested, used, capacity);
        }
    }
    Ok(())
}

/// Processors are counted in thousandths, everything else in whole.
fn in_its_unit(what: &str, thousandths: i128) -> i128 {
    if what == "cpu" { thousandths } else { (thousandths + 999) / 1000 }
}

fn not_meant(pod: &Pod, scene: &Scene<'_>) -> Result<(), Refused> {
    let (Some(spec), Some(node)) = (&pod.spec, scene.node) else { return Ok(()) };
    if node_affinity::allows(spec, node) {
        return Ok(());
    }
    unfit(NODE_AFFINITY, "node(s) didn't match Pod's node affinity/selector")
}

fn port_taken(pod: &Pod, scene: &Scene<'_>) -> Result<(), Refused> {
    let taken =
        |port: &ContainerPort| scene.others.iter().flat_map(|other| ports(other)).any(|it| collide(it, port));
    if ports(pod).any(taken) {
        return unfit("NodePorts", "node(s) didn't have free ports for the requested pod ports");
    }
    Ok(())
}

fn unfit(predicate: &'static str, why: &str) -> Result<(), Refused> {
    refused(predicate, format!("Predicate {predicate} failed: {why}"))
}

/// Those that the pod wants of the node itself.
fn ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let spec = pod.spec.iter();
    let sidecars = |init: &&Container| is_sidecar(init);
    let containers = spec.flat_map(move |spec| {
        spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(sidecars))
    });
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter(|port| port.host_port.is_some_and(|number| number > 0))
}

fn collide(one: &ContainerPort, other: &ContainerPort) -> bool {
    let protocol = |port: &ContainerPort| port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let address = |port: &ContainerPort| {
        port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned())
    };
    let everywhere = |port: &ContainerPort| address(port) == "0.0.0.0";
    one.host_port == other.host_port
        && protocol(one) == protocol(other)
        && (everywhere(one) || everywhere(other) || address(one) == address(other))
}

/// What a pod is counted with, in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Requests(BTreeMap<String, i128>);

impl Requests {
    /// Containers run together; init containers before them one after the other, beside the sidecars started so far.
    fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let one = |container: &Container| {
            let given = given_or_asked(pod.status.as_ref(), container).requests.unwrap_or_default();
            // What is given of it can be resized; everything else is as specified.
            let asked = container.resources.iter().flat_map(|it| it.requests.iter().flatten());
            let mut sum = Self::default();
            for (what, amount) in asked {
                sum.0
                    .insert(what.clone(), resource_amount(&given.get(what).unwrap_or(amount).0).unwrap_or(0));
            }
            sum
        };
        let mut running = Self::default();
        spec.containers.iter().for_each(|container| running.add(&one(container)));
        let (mut sidecars, mut starting) = (Self::default(), Self::default());
        for init in spec.init_containers.iter().flatten() {
            let mut now = sidecars.clone();
            now.add(&one(init));
            if is_sidecar(init) {
                sidecars = now.clone();
            }
            starting.raise(&now);
        }
        running.add(&sidecars);
        running.raise(&starting);
        for (what, amount) in spec.resources.iter().flat_map(|it| it.requests.iter().flatten()) {
            running.0.insert(what.clone(), resource_amount(&amount.0).unwrap_or(0));
        }
        for (what, amount) in spec.overhead.iter().flatten() {
            *running.0.entry(what.clone()).or_default() += resource_amount(&amount.0).unwrap_or(0);
        }
        running
    }

    fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, amount)| *self.0.entry(what.clone()).or_default() += amount);
    }

    fn raise(&mut self, other: &Self) {
        for (what, amount) in &other.0 {
            let own = self.0.entry(what.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }

    fn get(&self, what: &str) -> i128 {
        self.0.get(what).map_or(0, |thousandths| in_its_unit(what, *thousandths))
    }
}

#[cfg(test)]
mod tests;
