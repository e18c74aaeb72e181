//! This crate's metrics, under the names that client-go gives them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) const REST_CLIENT_REQUESTS_TOTAL: &str = "rest_client_requests_total";
pub(crate) const WORKQUEUE_DEPTH: &str = "workqueue_depth";
pub(crate) const WORKQUEUE_ADDS_TOTAL: &str = "workqueue_adds_total";
pub(crate) const WORKQUEUE_RETRIES_TOTAL: &str = "workqueue_retries_total";
pub(crate) const WORKQUEUE_QUEUE_DURATION_SECONDS: &str = "workqueue_queue_duration_seconds";
pub(crate) const WORKQUEUE_WORK_DURATION_SECONDS: &str = "workqueue_work_duration_seconds";
pub(crate) const LEADER_ELECTION_MASTER_STATUS: &str = "leader_election_master_status";
pub(crate) const NAVARCH_CLIENT_EVENTS_DROPPED_TOTAL: &str = "navarch_client_events_dropped_total";
pub(crate) const NAVARCH_CLIENT_RELISTS_TOTAL: &str = "navarch_client_relists_total";

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(REST_CLIENT_REQUESTS_TOTAL, "Calls to the API by method and status code.");
    describe_gauge!(WORKQUEUE_DEPTH, "Keys that wait in a work queue.");
    describe_counter!(WORKQUEUE_ADDS_TOTAL, "Keys added to a work queue.");
    describe_counter!(WORKQUEUE_RETRIES_TOTAL, "Keys that came back after a failure.");
    describe_histogram!(
        WORKQUEUE_QUEUE_DURATION_SECONDS,
        Unit::Seconds,
        "How long a key waited for a worker."
    );
    describe_histogram!(WORKQUEUE_WORK_DURATION_SECONDS, Unit::Seconds, "How long a worker took for a key.");
    describe_gauge!(LEADER_ELECTION_MASTER_STATUS, "1 while this process leads the named election.");
    describe_counter!(NAVARCH_CLIENT_EVENTS_DROPPED_TOTAL, "Events dropped because the recorder was behind.");
    describe_counter!(NAVARCH_CLIENT_RELISTS_TOTAL, "Lists that an informer had to make, by resource.");
}
