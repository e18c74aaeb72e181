//! This crate's metrics, under the names that Kubernetes gives them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) const SCHEDULER_SCHEDULE_ATTEMPTS_TOTAL: &str = "scheduler_schedule_attempts_total";
pub(crate) const SCHEDULER_SCHEDULING_ATTEMPT_DURATION_SECONDS: &str =
    "scheduler_scheduling_attempt_duration_seconds";
pub(crate) const SCHEDULER_PENDING_PODS: &str = "scheduler_pending_pods";

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(SCHEDULER_SCHEDULE_ATTEMPTS_TOTAL, "Attempts to schedule a pod, by result.");
    describe_histogram!(
        SCHEDULER_SCHEDULING_ATTEMPT_DURATION_SECONDS,
        Unit::Seconds,
        "Time to decide for one pod, by result."
    );
    describe_gauge!(SCHEDULER_PENDING_PODS, "Pods that wait, by queue.");
}
