//! The status of a pod, computed from its specification and from what runs. Pure.
//!
//! Follows the kubelet (kubelet_pods.go, status/generate.go): phase, conditions, container statuses. Times of
//! transitions are kept from the previous status; terminal phases never revert.

mod conditions;
mod containers;

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::configuration::Refused;
use super::memory::Memory;
use super::plan::Waiting;
use super::resize::Resizing;
use super::restart::{Part, is_sidecar, restarts_after};
use crate::cgroups::qos_class;
use crate::runtime::{Container, PodRuntime};

pub(crate) struct StatusInput<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) runtime: &'a PodRuntime,
    pub(crate) memory: &'a Memory,
    /// Why containers do not run, from the plan.
    pub(crate) waiting: &'a BTreeMap<String, Waiting>,
    /// The last status that was reported, or the one that the API has.
    pub(crate) previous: Option<&'a PodStatus>,
    /// What container ids start with.
    pub(crate) runtime_name: &'a str,
    pub(crate) node_ip: &'a str,
    pub(crate) now: Timestamp,
    /// Messages that containers left behind when they ended, by container id.
    pub(crate) last_words: &'a BTreeMap<String, String>,
    /// Why the node ends the pod, if it does.
    pub(crate) ended: Option<&'a Ended>,
    pub(crate) resizing: &'a Resizing,
}

const REJECTED: &str = "Pod was rejected: ";
const SHUT_DOWN: &str = "Pod was terminated in response to imminent node shutdown.";

/// Why a node has ended a pod whatever its containers do. The pod has failed by that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) reason: String,
    pub(crate) message: String,
    /// True when it was the node's need and not the pod's own fault.
    pub(crate) disrupted: bool,
    /// How gently; `None` leaves that to the pod.
    pub(crate) grace: Option<Duration>,
}

impl Ended {
    /// By the node, `disrupted` when for its own sake.
    pub(crate) fn evicted(message: String, grace: Duration, disrupted: bool) -> Self {
        Self { reason: "Evicted".to_owned(), message, disrupted, grace: Some(grace) }
    }

    /// Before it began: the node does not take it.
    pub(crate) fn rejected(refused: &Refused) -> Self {
        let message = format!("{REJECTED}{}", refused.message);
        Self { reason: refused.reason.to_owned(), message, disrupted: false, grace: None }
    }

    /// What an event says of it.
    pub(crate) fn cause(&self) -> &str {
        self.message.strip_prefix(REJECTED).unwrap_or(&self.message)
    }

    /// With the whole node.
    pub(crate) fn shut_down(grace: Duration) -> Self {
        let (reason, message) = ("Terminated".to_owned(), SHUT_DOWN.to_owned());
        Self { reason, message, disrupted: true, grace: Some(grace) }
    }

    /// What a status says of an end that has begun.
    pub(crate) fn told_before(status: &PodStatus) -> Option<Self> {
        let told = status.conditions.iter().flatten().find(|condition| {
            condition.type_ == conditions::DISRUPTED
                && condition.status == "True"
                && condition.reason.as_deref() == Some(conditions::BY_NODE)
        })?;
        let message = told.message.clone().unwrap_or_default();
        Some(match message.as_str() {
            SHUT_DOWN => Self::shut_down(Duration::ZERO),
            _ => Self::evicted(message, Duration::ZERO, true),
        })
    }
}

/// True for a pod whose status says that it is over.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(is_terminal)
}

pub(crate) fn pod_status(input: &StatusInput<'_>) -> PodStatus {
    let spec = input.pod.spec.clone().unwrap_or_default();
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let init_statuses: Vec<ContainerStatus> =
        inits.iter().map(|init| containers::status(input, init, containers::Role::Init)).collect();
    let statuses: Vec<ContainerStatus> =
        spec.containers.iter().map(|c| containers::status(input, c, containers::Role::Main)).collect();
    let ephemeral_statuses: Vec<ContainerStatus> = super::containers::ephemeral(input.pod)
        .iter()
        .map(|container| containers::status(input, container, containers::Role::Ephemeral))
        .collect();
    let previous = input.previous;
    let phase = match previous.and_then(|status| status.phase.as_deref()) {
        Some("Succeeded") => "Succeeded",
        Some("Failed") => "Failed",
        before => {
            let now = if input.ended.is_some() { "Failed" } else { phase(input, &init_statuses, &statuses) };
            // Who waits for the end of a pod relies on nothing of it running any more.
            let runs = is_terminal(now) && input.runtime.containers.iter().any(Container::may_run);
            match before {
                Some("Pending") if runs => "Pending",
                _ if runs => "Running",
                _ => now,
            }
        }
    };
    let ended = input.ended.filter(|_| is_terminal(phase));
    let told = |part: fn(&PodStatus) -> &Option<String>| {
        previous.filter(|_| is_terminal(phase)).and_then(|status| part(status).clone())
    };
    let pod_ips = addresses(input);
    let host_ip = input.node_ip.to_owned();
    let start_time = previous.and_then(|status| status.start_time.clone()).or_else(|| {
        let oldest = input.runtime.sandboxes.last().map(|sandbox| sandbox.created_at);
        Some(Time(whole_seconds(oldest.unwrap_or(input.now))))
    });
    let conditions = conditions::all(input, phase, &init_statuses, &statuses);
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        container_statuses: Some(statuses),
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        ephemeral_container_statuses: (!ephemeral_statuses.is_empty()).then_some(ephemeral_statuses),
        host_ips: Some(vec![HostIP { ip: host_ip.clone() }]),
        host_ip: Some(host_ip),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty()).then(|| pod_ips.into_iter().map(|ip| PodIP { ip }).collect()),
        qos_class: Some(qos_class(input.pod).name().to_owned()),
        start_time,
        reason: told(|status| &status.reason).or_else(|| ended.map(|ended| ended.reason.clone())),
        message: told(|status| &status.message).or_else(|| ended.map(|ended| ended.message.clone())),
        observed_generation: input.pod.metadata.generation,
        ..PodStatus::default()
    }
}

pub(crate) fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// The API writes times in whole seconds; comparing needs the same.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn addresses(input: &StatusInput<'_>) -> Vec<String> {
    if input.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
        return vec![input.node_ip.to_owned()];
    }
    let of_sandbox = input.runtime.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
    if !of_sandbox.is_empty() {
        return of_sandbox;
    }
    // A pod that has ended still shows where it was.
    let before = input.previous.and_then(|status| status.pod_ips.as_ref());
    before.map(|ips| ips.iter().map(|pod| pod.ip.clone()).collect()).unwrap_or_default()
}

/// The kubelet's getPhase.
fn phase(input: &StatusInput<'_>, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> &'static str {
    let spec = input.pod.spec.as_ref();
    let init_specs = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let mains_began = mains.iter().any(containers::has_run);
    for (init, status) in init_specs.iter().zip(inits) {
        let ended = containers::exit_code(status);
        if is_sidecar(init) {
            if !mains_began && status.started != Some(true) {
                return "Pending";
            }
        } else if ended.is_some_and(|code| code != 0 && !restarts_after(input.pod, init, Part::Init, code)) {
            return "Failed";
        } else if !mains_began && ended != Some(0) {
            return "Pending";
        }
    }
    phase_of_mains(input.pod, mains)
}

fn phase_of_mains(pod: &Pod, mains: &[ContainerStatus]) -> &'static str {
    if mains.iter().any(|container| !containers::has_run(container)) {
        return "Pending";
    }
    if mains.iter().any(containers::is_running) {
        return "Running";
    }
    let specs = pod.spec.iter().flat_map(|spec| &spec.containers);
    let codes: Vec<i32> = mains.iter().filter_map(containers::exit_code).collect();
    if specs.zip(&codes).any(|(spec, code)| restarts_after(pod, spec, Part::Main, *code)) {
        return "Running";
    }
    if codes.iter().all(|code| *code == 0) { "Succeeded" } else { "Failed" }
}

#[cfg(test)]
mod tests;
