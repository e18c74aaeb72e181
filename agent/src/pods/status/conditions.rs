//! The conditions of a pod that its node owns; those of others are kept as they are.

use k8s_openapi::api::core::v1::{Container as ContainerSpec, ContainerStatus, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Ended, StatusInput, containers, is_terminal, whole_seconds};
use crate::pods::resize::Resizing;
use crate::pods::restart::is_sidecar;

const OWNED: &[&str] = &[
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    RESIZE_PENDING,
    RESIZE_IN_PROGRESS,
];
/// These two are there only while they hold.
const RESIZE_PENDING: &str = "PodResizePending";
const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

pub(super) const DISRUPTED: &str = "DisruptionTarget";
pub(super) const BY_NODE: &str = "TerminationByKubelet";

/// One condition before its time of transition is known.
struct Found {
    kind: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

pub(super) fn all(
    input: &StatusInput<'_>,
    phase: &str,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(input, phase, inits, mains);
    let found = [
        plain("PodReadyToStartContainers", input.runtime.sandbox().is_some_and(|sandbox| sandbox.ready)),
        initialized(input, phase, inits, mains),
        ready(input, &containers_ready),
        containers_ready,
        plain("PodScheduled", true),
    ];
    let mut conditions: Vec<PodCondition> = found.into_iter().map(|found| dated(input, found)).collect();
    let others = input.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.extend(resizing(input).into_iter().map(|found| dated(input, found)));
    conditions.extend(input.ended.filter(|ended| ended.disrupted).map(|ended| disrupted(input, ended)));
    conditions.extend(
        others
            .filter(|other| {
                let replaced = other.type_ == DISRUPTED && input.ended.is_some_and(|ended| ended.disrupted);
                !replaced && !OWNED.contains(&other.type_.as_str())
            })
            .cloned(),
    );
    conditions
}

fn resizing(input: &StatusInput<'_>) -> Vec<Found> {
    let Resizing { pending, unfinished, error } = input.resizing;
    let pending = pending.as_ref().map(|pending| Found {
        kind: RESIZE_PENDING,
        holds: true,
        reason: Some(pending.reason),
        message: Some(pending.message.clone()),
    });
    let in_progress = (!unfinished.is_empty() || error.is_some()).then(|| Found {
        kind: RESIZE_IN_PROGRESS,
        holds: true,
        reason: error.as_ref().map(|_| "Error"),
        message: error.clone(),
    });
    pending.into_iter().chain(in_progress).collect()
}

/// The pod ends because its node needs what it has.
fn disrupted(input: &StatusInput<'_>, ended: &Ended) -> PodCondition {
    let found =
        Found { kind: DISRUPTED, holds: true, reason: Some(BY_NODE), message: Some(ended.message.clone()) };
    dated(input, found)
}

fn plain(kind: &'static str, holds: bool) -> Found {
    Found { kind, holds, reason: None, message: None }
}

fn initialized(
    input: &StatusInput<'_>,
    phase: &str,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> Found {
    let kind = "Initialized";
    if phase == "Succeeded" {
        return Found { kind, holds: true, reason: Some("PodCompleted"), message: None };
    }
    let began = mains.iter().any(containers::has_run);
    let specs = input.pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let incomplete: Vec<&str> = specs
        .iter()
        .zip(inits)
        .filter(|(spec, status)| !began && !is_complete(spec, status))
        .map(|(_, status)| status.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return plain(kind, true);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Found { kind, holds: false, reason: Some("ContainersNotInitialized"), message: Some(message) }
}

fn is_complete(spec: &ContainerSpec, status: &ContainerStatus) -> bool {
    if is_sidecar(spec) { status.started == Some(true) } else { status.ready }
}

fn containers_ready(
    input: &StatusInput<'_>,
    phase: &str,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> Found {
    let kind = "ContainersReady";
    if is_terminal(phase) {
        let reason = if phase == "Succeeded" { "PodCompleted" } else { "PodFailed" };
        return Found { kind, holds: false, reason: Some(reason), message: None };
    }
    let specs = input.pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let sidecars = specs.iter().zip(inits).filter(|(spec, _)| is_sidecar(spec)).map(|(_, status)| status);
    let unready: Vec<&str> =
        sidecars.chain(mains).filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return plain(kind, true);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Found { kind, holds: false, reason: Some("ContainersNotReady"), message: Some(message) }
}

/// The containers, and every readiness gate that others must open.
fn ready(input: &StatusInput<'_>, containers_ready: &Found) -> Found {
    let kind = "Ready";
    if !containers_ready.holds {
        return Found {
            kind,
            holds: false,
            reason: containers_ready.reason,
            message: containers_ready.message.clone(),
        };
    }
    let gates = input.pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let conditions = || input.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    for gate in gates {
        let open = conditions().any(|c| c.type_ == gate.condition_type && c.status == "True");
        if !open {
            let message = format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            );
            return Found {
                kind,
                holds: false,
                reason: Some("ReadinessGatesNotReady"),
                message: Some(message),
            };
        }
    }
    plain(kind, true)
}

/// Keeps the time of the last transition when the condition did not change.
fn dated(input: &StatusInput<'_>, found: Found) -> PodCondition {
    let status = if found.holds { "True" } else { "False" };
    let before = input
        .previous
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|condition| condition.type_ == found.kind))
        .filter(|condition| condition.status == status)
        .and_then(|condition| condition.last_transition_time.clone());
    PodCondition {
        type_: found.kind.to_owned(),
        status: status.to_owned(),
        reason: found.reason.map(str::to_owned),
        message: found.message,
        last_transition_time: before.or_else(|| Some(Time(whole_seconds(input.now)))),
        observed_generation: input.pod.metadata.generation,
        ..PodCondition::default()
    }
}
