//! What a Deployment's status says of its sets: counts and conditions, as Kubernetes words them. Pure.

use std::time::Duration;

use base::Timestamp;
use client::HasMetadata;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Sets, size};
use super::template::Bounds;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const COMPLETE: &str = "NewReplicaSetAvailable";
const CREATED: &str = "NewReplicaSetCreated";
const MOVING: &str = "ReplicaSetUpdated";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";
/// Kubernetes' way to say: no deadline.
const NO_DEADLINE: i32 = i32::MAX;

/// The status to be, and when the progress deadline wants another look. `creates` is the set that this round creates.
pub(super) fn status(
    deployment: &Deployment,
    sets: &Sets,
    creates: Option<&str>,
    now: Timestamp,
) -> (DeploymentStatus, Option<Duration>) {
    let old = deployment.status.clone().unwrap_or_default();
    let mut conditions = Conditions { list: old.conditions.clone().unwrap_or_default(), now };
    let mut status = counts(deployment, sets);
    status.collision_count = old.collision_count;
    status.terminating_replicas = old.terminating_replicas;

    let enough = Bounds::of(deployment).available();
    if status.available_replicas.unwrap_or(0) >= enough {
        conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.");
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    let again = progress(deployment, sets, creates, &status, &mut conditions);
    conditions.copy_failure(sets);
    status.conditions = Some(conditions.list);
    (status, again)
}

fn counts(deployment: &Deployment, sets: &Sets) -> DeploymentStatus {
    let sum = |of: fn(&ReplicaSetStatus) -> i32| -> i32 {
        sets.all().filter_map(|set| set.status.as_ref()).map(of).sum()
    };
    let wanted: i32 = sets.all().map(|set| size(set)).sum();
    let available = sum(|status| status.available_replicas.unwrap_or(0));
    let updated = sets.new.as_ref().and_then(|new| new.status.as_ref()).map_or(0, |status| status.replicas);
    // As the API server keeps it: zero is absent.
    let some = |count: i32| (count != 0).then_some(count);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(|status| status.replicas)),
        updated_replicas: some(updated),
        ready_replicas: some(sum(|status| status.ready_replicas.unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some((wanted - available).max(0)),
        ..DeploymentStatus::default()
    }
}

fn progress(
    deployment: &Deployment,
    sets: &Sets,
    creates: Option<&str>,
    status: &DeploymentStatus,
    conditions: &mut Conditions,
) -> Option<Duration> {
    let spec = deployment.spec.as_ref()?;
    let deadline = spec.progress_deadline_seconds.unwrap_or(600);
    if deadline == NO_DEADLINE {
        conditions.list.retain(|condition| condition.type_ != PROGRESSING);
        return None;
    }
    let reason = conditions.reason(PROGRESSING).unwrap_or_default().to_owned();
    if spec.paused == Some(true) {
        if reason != PAUSED && reason != TIMED_OUT {
            conditions.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused");
        }
        return None;
    }
    if reason == PAUSED {
        conditions.set(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed");
    }
    if let Some(name) = creates {
        let message = format!("Created new replica set \"{name}\"");
        conditions.touch(PROGRESSING, "True", CREATED, &message);
        return Some(seconds(deadline));
    }
    if reason == COMPLETE && status.replicas == status.updated_replicas {
        return None;
    }
    let what = match &sets.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.name()),
        None => format!("Deployment \"{}\"", deployment.name()),
    };
    if is_complete_by(deployment, status) {
        conditions.set(PROGRESSING, "True", COMPLETE, &format!("{what} has successfully progressed."));
        return None;
    }
    if is_moving(deployment.status.as_ref(), status) {
        conditions.touch(PROGRESSING, "True", MOVING, &format!("{what} is progressing."));
        return Some(seconds(deadline));
    }
    if reason == COMPLETE || reason == TIMED_OUT {
        return None;
    }
    let left = conditions.left_of(PROGRESSING, seconds(deadline))?;
    if left.is_zero() {
        conditions.set(PROGRESSING, "False", TIMED_OUT, &format!("{what} has timed out progressing."));
        return None;
    }
    Some(left)
}

/// Every replica is of the present template and available, and no other is left.
pub(super) fn is_complete(deployment: &Deployment, sets: &Sets) -> bool {
    is_complete_by(deployment, &counts(deployment, sets))
}

fn is_complete_by(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = Bounds::of(deployment).replicas;
    let counts = [status.replicas, status.updated_replicas, status.available_replicas];
    counts.iter().all(|count| count.unwrap_or(0) == wanted)
}

fn is_moving(old: Option<&DeploymentStatus>, new: &DeploymentStatus) -> bool {
    let Some(old) = old else { return true };
    let updated = |status: &DeploymentStatus| status.updated_replicas.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - updated(status);
    updated(new) > updated(old)
        || outdated(new) < outdated(old)
        || new.ready_replicas.unwrap_or(0) > old.ready_replicas.unwrap_or(0)
        || new.available_replicas.unwrap_or(0) > old.available_replicas.unwrap_or(0)
}

struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    fn reason(&self, kind: &str) -> Option<&str> {
        self.get(kind)?.reason.as_deref()
    }

    /// Changes nothing when status and reason are these already.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let known = self.get(kind);
        if known.is_none_or(|known| known.status != status || known.reason.as_deref() != Some(reason)) {
            self.touch(kind, status, reason, message);
        }
    }

    /// Also moves the time of the last update, from which the deadline runs.
    fn touch(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let since = self.get(kind).filter(|known| known.status == status);
        let since = since.and_then(|known| known.last_transition_time.clone());
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(Time(self.now)),
            last_transition_time: since.or(Some(Time(self.now))),
        };
        match self.list.iter_mut().find(|known| known.type_ == kind) {
            Some(known) => *known = condition,
            None => self.list.push(condition),
        }
    }

    /// What is left of `deadline` since the condition was last touched; nothing without the condition.
    fn left_of(&self, kind: &str, deadline: Duration) -> Option<Duration> {
        let touched = self.get(kind)?.last_update_time.as_ref()?;
        let passed = Duration::try_from(self.now.duration_since(touched.0)).unwrap_or_default();
        Some(deadline.saturating_sub(passed))
    }

    /// The sets tell why they cannot make pods.
    fn copy_failure(&mut self, sets: &Sets) {
        let failing = sets.new.iter().chain(&sets.old).find_map(|set| {
            let conditions = set.status.as_ref()?.conditions.as_ref()?;
            conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned()
        });
        match failing {
            Some(failure) => {
                let (reason, message) =
                    (failure.reason.unwrap_or_default(), failure.message.unwrap_or_default());
                self.set(REPLICA_FAILURE, &failure.status, &reason, &message);
            }
            None => self.list.retain(|condition| condition.type_ != REPLICA_FAILURE),
        }
    }
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
