//! What to do next about a pod. Pure: the same `seen` gives the same plan.
//!
//! The order is the kubelet's (computePodActions): a dead sandbox takes everything with it; init containers
//! one by one; then the containers, restarted by policy with back-off. The plan is made anew after every
//! step that changed something, so it holds only what can be done at once.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};

use super::containers;
use super::memory::Memory;
use super::restart::{Part, is_sidecar, restarts_after};
use crate::runtime::{Container, ContainerState, EXIT_KILLED, PodRuntime, Sandbox};

/// How long a failed pull is shown as the error itself before it is shown as waiting for the next try.
pub(crate) const SHOW_PULL_ERROR: Duration = Duration::from_secs(3);

pub(crate) struct Seen<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) runtime: &'a PodRuntime,
    pub(crate) memory: &'a Memory,
    pub(crate) now: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Stop every container and the sandbox.
    StopPod {
        reason: String,
    },
    StartSandbox {
        attempt: u32,
    },
    StopContainer {
        id: String,
        name: String,
        reason: String,
    },
    StartContainer {
        name: String,
        attempt: u32,
    },
    /// One that is made and was not started.
    StartCreated {
        id: String,
        name: String,
        attempt: u32,
    },
    /// A dead one that nobody will ask about.
    RemoveContainer {
        id: String,
    },
    RemoveSandbox {
        id: String,
    },
}

/// Why a container does not run, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: String,
    pub(crate) message: String,
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) waiting: BTreeMap<String, Waiting>,
    /// When time alone changes the plan.
    pub(crate) again_in: Option<Duration>,
}

pub(crate) fn plan(seen: &Seen<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &seen.pod.spec else { return plan };
    remove_what_is_old(seen, &mut plan);
    let Some(sandbox) = seen.runtime.sandbox().filter(|sandbox| sandbox.ready) else {
        plan_sandbox(seen, &spec.containers, &mut plan);
        return plan;
    };
    plan_ephemeral(seen, &mut plan);
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    match plan_inits(seen, sandbox, inits, &mut plan) {
        Inits::Done => {}
        Inits::Pending => return plan,
        Inits::Failed => {
            stop_pod(seen, "an init container has failed", &mut plan);
            return plan;
        }
    }
    let mut alive = false;
    for container in &spec.containers {
        alive |= plan_container(seen, sandbox, Part::Main, container, &mut plan);
    }
    if !alive {
        stop_pod(seen, "all containers have ended", &mut plan);
    }
    plan
}

fn stop_pod(seen: &Seen<'_>, reason: &str, plan: &mut Plan) {
    if seen.runtime.is_running() {
        plan.steps = vec![Step::StopPod { reason: reason.to_owned() }];
    }
}

/// A sandbox is made when there is something to run in it.
fn plan_sandbox(seen: &Seen<'_>, containers: &[ContainerSpec], plan: &mut Plan) {
    let wanted = containers.iter().any(|container| match seen.runtime.newest(&container.name) {
        None => !init_failed_for_good(seen),
        // One that ran when its sandbox died counts as killed.
        Some(run) => {
            let code = run.exit().map_or(EXIT_KILLED, |exit| exit.code);
            restarts_after(seen.pod, container, Part::Main, code)
        }
    });
    if seen.runtime.containers.iter().any(Container::may_run) {
        stop_pod(seen, "the sandbox has died", plan);
    } else if wanted {
        let attempt = seen.runtime.sandbox().map_or(0, |sandbox| sandbox.attempt + 1);
        plan.steps.push(Step::StartSandbox { attempt });
    }
}

/// Once each, and before init containers, which they may be there to look into. None runs again.
fn plan_ephemeral(seen: &Seen<'_>, plan: &mut Plan) {
    for container in containers::ephemeral(seen.pod) {
        match seen.runtime.newest(&container.name) {
            None => start(seen, &container, None, plan),
            Some(run) if run.state == ContainerState::Created => plan.steps.push(start_created(run)),
            Some(run) if run.state == ContainerState::Aborted => replace(seen, &container, run, plan),
            Some(_) => {}
        }
    }
}

fn init_failed_for_good(seen: &Seen<'_>) -> bool {
    let inits = seen.pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    inits.iter().any(|init| {
        let exit = seen.runtime.newest(&init.name).and_then(Container::exit);
        exit.is_some_and(|exit| {
            exit.code != 0 && !restarts_after(seen.pod, init, Part::of_init(init), exit.code)
        })
    })
}

enum Inits {
    Done,
    Pending,
    Failed,
}

/// One by one. Only runs in the current sandbox count: a new sandbox starts from the first.
fn plan_inits(seen: &Seen<'_>, sandbox: &Sandbox, inits: &[ContainerSpec], plan: &mut Plan) -> Inits {
    let containers = seen.pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let passed = containers
        .iter()
        .any(|c| seen.runtime.newest(&c.name).is_some_and(|run| run.sandbox_id == sandbox.id));
    for init in inits {
        let run = seen.runtime.newest(&init.name).filter(|run| run.sandbox_id == sandbox.id);
        if is_sidecar(init) {
            plan_container(seen, sandbox, Part::Sidecar, init, plan);
            if !passed && !run.is_some_and(|run| run.is_running() && seen.memory.started(&run.id)) {
                return Inits::Pending;
            }
            continue;
        }
        if passed {
            continue;
        }
        match run {
            Some(run) if run.exit().is_some_and(|exit| exit.code == 0) => {}
            None => {
                start(seen, init, seen.runtime.newest(&init.name), plan);
                return Inits::Pending;
            }
            Some(_) => {
                let goes_on = plan_container(seen, sandbox, Part::Init, init, plan);
                return if goes_on { Inits::Pending } else { Inits::Failed };
            }
        }
    }
    Inits::Done
}

/// Whether the container runs or will run again.
fn plan_container(
    seen: &Seen<'_>,
    sandbox: &Sandbox,
    part: Part,
    spec: &ContainerSpec,
    plan: &mut Plan,
) -> bool {
    let Some(run) = seen.runtime.newest(&spec.name) else {
        start(seen, spec, None, plan);
        return true;
    };
    if run.is_running() && run.sandbox_id == sandbox.id {
        if let Some(reason) = reason_to_stop(seen, spec, run) {
            plan.steps.push(Step::StopContainer { id: run.id.clone(), name: spec.name.clone(), reason });
        }
        return true;
    }
    match run.exit() {
        Some(exit) if !restarts_after(seen.pod, spec, part, exit.code) => false,
        Some(_) => {
            start(seen, spec, Some(run), plan);
            true
        }
        // Lost: clear it away, then start anew.
        None if run.may_run() => {
            let reason = "its state is unknown".to_owned();
            plan.steps.push(Step::StopContainer { id: run.id.clone(), name: spec.name.clone(), reason });
            true
        }
        // An agent has created it and was killed; its start may even be under way.
        None if run.state == ContainerState::Created
            && run.sandbox_id == sandbox.id
            && run.hash == super::memory::hash(spec) =>
        {
            plan.steps.push(start_created(run));
            true
        }
        None => {
            replace(seen, spec, run, plan);
            true
        }
    }
}

fn reason_to_stop(seen: &Seen<'_>, spec: &ContainerSpec, run: &Container) -> Option<String> {
    if run.hash != super::memory::hash(spec) {
        return Some(format!("Container {} definition changed, will be restarted", spec.name));
    }
    if seen.memory.to_resize.contains(&run.id) {
        return Some(format!("Container {} resize requires restart", spec.name));
    }
    let probe = seen.memory.failed_probe(&run.id)?;
    Some(format!("Container {} failed {probe} probe, will be restarted", spec.name))
}

fn start_created(run: &Container) -> Step {
    Step::StartCreated { id: run.id.clone(), name: run.name.clone(), attempt: run.attempt }
}

/// One that did not count as a run makes room for the same run.
fn replace(seen: &Seen<'_>, spec: &ContainerSpec, old: &Container, plan: &mut Plan) {
    plan.steps.push(Step::RemoveContainer { id: old.id.clone() });
    start(seen, spec, None, plan);
    if let Some(Step::StartContainer { attempt, .. }) = plan.steps.last_mut() {
        *attempt = old.attempt;
    }
}

/// Starts it, unless something says to wait.
fn start(seen: &Seen<'_>, spec: &ContainerSpec, last: Option<&Container>, plan: &mut Plan) {
    if let Some((waiting, again_in)) = reason_to_wait(seen, spec, last) {
        plan.waiting.insert(spec.name.clone(), waiting);
        plan.again_in = Some(plan.again_in.map_or(again_in, |soonest| soonest.min(again_in)));
        return;
    }
    let attempt = last.map_or(0, |last| last.attempt + 1);
    plan.steps.push(Step::StartContainer { name: spec.name.clone(), attempt });
}

fn reason_to_wait(
    seen: &Seen<'_>,
    spec: &ContainerSpec,
    last: Option<&Container>,
) -> Option<(Waiting, Duration)> {
    if let Some(exit) = last.and_then(Container::exit)
        && let Some(left) =
            seen.memory.restarts.remaining(&super::memory::restart_key(spec), exit.finished_at, seen.now)
    {
        let delay = seen.memory.restarts.delay(&super::memory::restart_key(spec));
        return Some((crash_loop(seen.pod, &spec.name, delay), left));
    }
    let is_wanted = |image: &str| {
        spec.image.as_deref().unwrap_or_default() == image
            || containers::image_volumes(seen.pod, spec).any(|volume| volume.reference == image)
    };
    if let Some(problem) = seen.memory.images.get(&spec.name).filter(|problem| is_wanted(&problem.image))
        && let Some(left) = seen.memory.pulls.remaining_since_failure(&problem.image, seen.now)
    {
        let shown = SHOW_PULL_ERROR
            .checked_sub(Duration::try_from(seen.now.duration_since(problem.at)).unwrap_or_default())
            .filter(|left| !left.is_zero() && problem.waiting.reason == "ErrImagePull");
        return Some(match shown {
            Some(shown) => (problem.waiting.clone(), shown.min(left)),
            None => (problem.backing_off(), left),
        });
    }
    let failure = seen.memory.failures.get(&spec.name)?;
    let left = Duration::try_from(failure.retry_at.duration_since(seen.now)).ok().filter(|d| !d.is_zero())?;
    Some((failure.waiting.clone(), left))
}

fn crash_loop(pod: &Pod, container: &str, delay: Duration) -> Waiting {
    let delay = match (delay.as_secs() / 60, delay.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    };
    Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: format!(
            "back-off {delay} restarting failed container={container} pod={}_{}({})",
            pod.metadata.name.as_deref().unwrap_or_default(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod.metadata.uid.as_deref().unwrap_or_default(),
        ),
    }
}

/// Keeps one dead run of each container, for `logs --previous`, and the newest sandbox with those that hold
/// such a run.
fn remove_what_is_old(seen: &Seen<'_>, plan: &mut Plan) {
    let mut dead_runs: BTreeMap<&str, u32> = BTreeMap::new();
    let mut kept_sandboxes = Vec::new();
    for container in &seen.runtime.containers {
        let is_newest = seen.runtime.newest(&container.name).is_some_and(|newest| newest.id == container.id);
        let dead = dead_runs.entry(&container.name).or_default();
        if container.exit().is_some() && !is_newest {
            *dead += 1;
            if *dead > 1 {
                plan.steps.push(Step::RemoveContainer { id: container.id.clone() });
                continue;
            }
        }
        kept_sandboxes.push(container.sandbox_id.as_str());
    }
    for sandbox in seen.runtime.sandboxes.iter().skip(1) {
        if !sandbox.ready && !kept_sandboxes.contains(&sandbox.id.as_str()) {
            plan.steps.push(Step::RemoveSandbox { id: sandbox.id.clone() });
        }
    }
}

#[cfg(test)]
mod tests;
