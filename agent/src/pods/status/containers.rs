//! The status of one container: waiting, running or terminated, and how its last run ended.

use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, ContainerState as StateStatus, ContainerStateRunning,
    ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{StatusInput, whole_seconds};
use crate::pods::plan::Waiting;
use crate::pods::restart::is_sidecar;
use crate::runtime::{Container, ContainerState, Exit};

const MESSAGES_BYTES_MAX: usize = 12 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Main,
    Ephemeral,
}

pub(super) fn status(input: &StatusInput<'_>, spec: &ContainerSpec, role: Role) -> ContainerStatus {
    let mut runs = input.runtime.containers.iter().filter(|run| run.name == spec.name);
    let newest = runs.next();
    let previous = runs.find(|run| run.exit().is_some());
    let waiting = input.waiting.get(&spec.name);
    let known = known_before(input, spec, role);
    let (state, last_state) = match newest {
        None => match known.filter(|known| has_ended_for_good(input, known)) {
            Some(known) => (known.state.clone().unwrap_or_default(), known.last_state.clone()),
            None => (
                waiting_state(waiting.unwrap_or(&not_started(input, role))),
                known.and_then(|known| known.last_state.clone()),
            ),
        },
        Some(run) => states(input, run, previous, waiting, role),
    };
    let is_running = newest.is_some_and(Container::is_running);
    let id = newest.map(|run| run.id.as_str()).unwrap_or_default();
    let started = is_running && input.memory.started(id);
    let ready = match role {
        Role::Init if !is_sidecar(spec) => exit_of(&state) == Some(0),
        Role::Init | Role::Main => is_running && input.memory.ready(id),
        Role::Ephemeral => false,
    };
    let has_run = newest.is_some();
    let known_restarts = known.map_or(0, |known| known.restart_count);
    ContainerStatus {
        name: spec.name.clone(),
        image: spec.image.clone().unwrap_or_default(),
        image_id: newest.map(|run| run.image_id.clone()).unwrap_or_default(),
        container_id: newest.map(|run| format!("{}://{}", input.runtime_name, run.id)),
        restart_count: newest.map_or(known_restarts, |run| i32::try_from(run.attempt).unwrap_or(i32::MAX)),
        ready,
        started: (role != Role::Ephemeral).then_some(started),
        allocated_resources: spec.resources.as_ref().and_then(|r| r.requests.clone()).filter(|_| has_run),
        resources: has_run.then(|| resources(input, spec, known)),
        state: Some(state),
        last_state,
        ..ContainerStatus::default()
    }
}

/// What the container has now: as specified, or as before while it is being resized.
fn resources(
    input: &StatusInput<'_>,
    spec: &ContainerSpec,
    known: Option<&ContainerStatus>,
) -> ResourceRequirements {
    let before = known.filter(|_| input.resizing.unfinished.contains(&spec.name));
    let before = before.and_then(|known| known.resources.clone());
    before.unwrap_or_else(|| {
        let ResourceRequirements { requests, limits, .. } = spec.resources.clone().unwrap_or_default();
        ResourceRequirements { requests, limits, ..ResourceRequirements::default() }
    })
}

pub(super) fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// Running, ended, or waiting to run again.
pub(super) fn has_run(status: &ContainerStatus) -> bool {
    is_running(status) || exit_code(status).is_some()
}

/// Of the run that ended last, when it does not run now.
pub(super) fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    if state.running.is_some() {
        return None;
    }
    exit_of(state).or_else(|| exit_of(status.last_state.as_ref()?))
}

fn exit_of(state: &StateStatus) -> Option<i32> {
    state.terminated.as_ref().map(|ended| ended.exit_code)
}

fn states(
    input: &StatusInput<'_>,
    run: &Container,
    previous: Option<&Container>,
    waiting: Option<&Waiting>,
    role: Role,
) -> (StateStatus, Option<StateStatus>) {
    let last = previous.and_then(|run| Some(terminated(input, run, run.exit()?)));
    match &run.state {
        ContainerState::Created | ContainerState::Aborted => {
            (waiting_state(waiting.unwrap_or(&not_started(input, role))), last)
        }
        ContainerState::Running { started_at } => {
            let running = ContainerStateRunning { started_at: Some(Time(whole_seconds(*started_at))) };
            (StateStatus { running: Some(running), ..StateStatus::default() }, last)
        }
        ContainerState::Exited(exit) => match waiting {
            Some(waiting) => (waiting_state(waiting), Some(terminated(input, run, exit))),
            None => (terminated(input, run, exit), last),
        },
        ContainerState::Unknown => (lost(input), last),
    }
}

/// What an earlier status says about a container that the runtime does not know.
fn known_before<'a>(
    input: &StatusInput<'a>,
    spec: &ContainerSpec,
    role: Role,
) -> Option<&'a ContainerStatus> {
    let status = input.previous?;
    let known = match role {
        Role::Init => status.init_container_statuses.as_ref()?,
        Role::Main => status.container_statuses.as_ref()?,
        Role::Ephemeral => status.ephemeral_container_statuses.as_ref()?,
    };
    known.iter().find(|known| known.name == spec.name)
}

/// After the containers of a finished or deleted pod were removed, how they ended stays in the status.
fn has_ended_for_good(input: &StatusInput<'_>, known: &ContainerStatus) -> bool {
    let ended = known.state.as_ref().is_some_and(|state| state.terminated.is_some());
    ended && input.runtime.is_empty()
}

fn waiting_state(waiting: &Waiting) -> StateStatus {
    let message = (!waiting.message.is_empty()).then(|| waiting.message.clone());
    let waiting = ContainerStateWaiting { reason: Some(waiting.reason.clone()), message };
    StateStatus { waiting: Some(waiting), ..StateStatus::default() }
}

fn not_started(input: &StatusInput<'_>, role: Role) -> Waiting {
    let has_inits = input.pod.spec.as_ref().is_some_and(|spec| spec.init_containers.is_some());
    let reason = if has_inits || role == Role::Init { "PodInitializing" } else { "ContainerCreating" };
    Waiting { reason: reason.to_owned(), message: String::new() }
}

fn terminated(input: &StatusInput<'_>, run: &Container, exit: &Exit) -> StateStatus {
    let reason = match (exit.reason.as_str(), exit.code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    let words = input.last_words.get(&run.id).map(String::as_str).unwrap_or_default();
    let both = if exit.message.is_empty() || words.is_empty() { "" } else { ": " };
    let mut message = format!("{}{both}{words}", exit.message);
    message.truncate(message.floor_char_boundary(message_bytes_max(input)));
    let ended = ContainerStateTerminated {
        exit_code: exit.code,
        reason: Some(reason.to_owned()),
        message: (!message.is_empty()).then_some(message),
        started_at: Some(Time(whole_seconds(exit.started_at.unwrap_or(run.created_at)))),
        finished_at: Some(Time(whole_seconds(exit.finished_at))),
        container_id: Some(format!("{}://{}", input.runtime_name, run.id)),
        signal: None,
    };
    StateStatus { terminated: Some(ended), ..StateStatus::default() }
}

/// The messages of all containers of a pod share what its status takes.
fn message_bytes_max(input: &StatusInput<'_>) -> usize {
    let containers = input.pod.spec.as_ref().map_or(0, |spec| {
        spec.containers.len()
            + spec.init_containers.as_ref().map_or(0, Vec::len)
            + spec.ephemeral_containers.as_ref().map_or(0, Vec::len)
    });
    MESSAGES_BYTES_MAX / containers.max(1)
}

fn lost(input: &StatusInput<'_>) -> StateStatus {
    let ended = ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        finished_at: Some(Time(whole_seconds(input.now))),
        ..ContainerStateTerminated::default()
    };
    StateStatus { terminated: Some(ended), ..StateStatus::default() }
}
