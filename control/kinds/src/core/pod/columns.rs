//! What `kubectl get pods` shows, in the words that everybody knows.

use base::Timestamp;
use serde_json::Value;

use crate::columns::none_if_empty;
use crate::{CellContext, duration, meta, tree};

pub(super) fn ready(pod: &Value) -> String {
    let summary = Summary::of(pod);
    format!("{}/{}", summary.ready, summary.total)
}

pub(super) fn status(pod: &Value) -> String {
    Summary::of(pod).reason
}

pub(super) fn restarts(pod: &Value, cx: &CellContext) -> String {
    let Restarts { count, last } = Summary::of(pod).restarts;
    match last {
        Some(last) if count != 0 => {
            format!("{count} ({} ago)", duration::human(duration::seconds_between(last, cx.now)))
        }
        _ => count.to_string(),
    }
}

pub(super) fn address(pod: &Value) -> String {
    let first = tree::items(pod, "status.podIPs").first().map_or("", |address| tree::text(address, "ip"));
    none_if_empty(first.to_owned())
}

pub(super) fn or_none(pod: &Value, path: &str) -> String {
    none_if_empty(tree::text(pod, path).to_owned())
}

pub(super) fn gates(pod: &Value) -> String {
    let gates = tree::items(pod, "spec.readinessGates");
    let open =
        gates.iter().filter(|gate| condition(pod, tree::text(gate, "conditionType")) == "True").count();
    match gates.len() {
        0 => "<none>".to_owned(),
        all => format!("{open}/{all}"),
    }
}

/// How often containers were restarted, and when the last one ended.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += tree::int(status, "restartCount").unwrap_or_default();
        let ended = tree::text(status, "lastState.terminated.finishedAt").parse().ok();
        self.last = self.last.max(ended);
    }
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let side_cars = tree::items(pod, "spec.initContainers").iter().filter(|c| is_side_car(c)).count();
        let mut summary = Self {
            ready: 0,
            total: tree::items(pod, "spec.containers").len() + side_cars,
            reason: phase_or_reason(pod),
            restarts: Restarts::default(),
        };
        let mut side_car_restarts = Restarts::default();
        let initializing = summary.add_init(pod, &mut side_car_restarts);
        if !initializing || condition(pod, "Initialized") == "True" {
            summary.restarts = side_car_restarts;
            summary.add_containers(pod);
        }
        if meta::deletion_timestamp(pod).is_some() {
            let ended = matches!(tree::text(pod, "status.phase"), "Failed" | "Succeeded");
            if tree::text(pod, "status.reason") == "NodeLost" {
                "Unknown".clone_into(&mut summary.reason);
            } else if !ended {
                "Terminating".clone_into(&mut summary.reason);
            }
        }
        summary
    }

    /// Counts init containers up to the first that is not done; whether there is such.
    fn add_init(&mut self, pod: &Value, side_car_restarts: &mut Restarts) -> bool {
        let specs = tree::items(pod, "spec.initContainers");
        for (index, status) in tree::items(pod, "status.initContainerStatuses").iter().enumerate() {
            let name = tree::text(status, "name");
            let side_car = specs.iter().any(|spec| tree::text(spec, "name") == name && is_side_car(spec));
            self.restarts.add(status);
            if side_car {
                side_car_restarts.add(status);
            }
            let terminated = tree::get(status, "state.terminated");
            let waiting = tree::text(status, "state.waiting.reason");
            if tree::int(terminated, "exitCode") == Some(0) {
                continue;
            }
            if side_car && tree::flag(status, "started") {
                self.ready += usize::from(tree::flag(status, "ready"));
                continue;
            }
            self.reason = if !terminated.is_null() {
                format!("Init:{}", end_reason(terminated))
            } else if !matches!(waiting, "" | "PodInitializing") {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", specs.len())
            };
            return true;
        }
        false
    }

    fn add_containers(&mut self, pod: &Value) {
        let mut running = false;
        for status in tree::items(pod, "status.containerStatuses").iter().rev() {
            self.restarts.add(status);
            let waiting = tree::text(status, "state.waiting.reason");
            let terminated = tree::get(status, "state.terminated");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if !terminated.is_null() {
                self.reason = end_reason(terminated);
            } else if tree::flag(status, "ready") && !tree::get(status, "state.running").is_null() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let text = if condition(pod, "Ready") == "True" { "Running" } else { "NotReady" };
            text.clone_into(&mut self.reason);
        }
    }
}

fn phase_or_reason(pod: &Value) -> String {
    let gated = tree::items(pod, "status.conditions").iter().any(|condition| {
        tree::text(condition, "type") == "PodScheduled"
            && tree::text(condition, "reason") == "SchedulingGated"
    });
    match tree::text(pod, "status.reason") {
        _ if gated => "SchedulingGated".to_owned(),
        "" => tree::text(pod, "status.phase").to_owned(),
        reason => reason.to_owned(),
    }
}

fn end_reason(terminated: &Value) -> String {
    let signal = tree::int(terminated, "signal").unwrap_or_default();
    match tree::text(terminated, "reason") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", tree::int(terminated, "exitCode").unwrap_or_default()),
        reason => reason.to_owned(),
    }
}

fn is_side_car(container: &Value) -> bool {
    tree::text(container, "restartPolicy") == "Always"
}

/// The status of a condition, empty when the pod has none such.
fn condition<'a>(pod: &'a Value, name: &str) -> &'a str {
    tree::items(pod, "status.conditions")
        .iter()
        .find(|condition| tree::text(condition, "type") == name)
        .map_or("", |condition| tree::text(condition, "status"))
}
