//! The store's metrics, under etcd's names where etcd has one.

use std::time::Duration;

use metrics::{Counter, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::status::{Health, Role, Status};

const HAS_LEADER: &str = "etcd_server_has_leader";
const IS_LEADER: &str = "etcd_server_is_leader";
const LEADER_CHANGES: &str = "etcd_server_leader_changes_seen_total";
const PROPOSALS_COMMITTED: &str = "etcd_server_proposals_committed_total";
const PROPOSALS_APPLIED: &str = "etcd_server_proposals_applied_total";
const PROPOSALS_FAILED: &str = "etcd_server_proposals_failed_total";
const LOG_SYNC: &str = "etcd_disk_wal_fsync_duration_seconds";
const CURRENT_REVISION: &str = "etcd_debugging_mvcc_current_revision";
const COMPACT_REVISION: &str = "etcd_debugging_mvcc_compact_revision";
const EVENTS: &str = "etcd_debugging_mvcc_events_total";
const DB_SIZE: &str = "etcd_mvcc_db_total_size_in_bytes";
const DISK_FREE: &str = "navarch_store_disk_free_bytes";
const READ_INDEX_FAILED: &str = "etcd_server_read_indexes_failed_total";
const COMPARISONS: &str = "navarch_store_replica_comparisons_total";
const UNTRUSTED: &str = "navarch_store_replica_untrusted_info";
const LEASES_EXPIRED: &str = "etcd_debugging_lease_expired_total";
const CALLS_STARTED: &str = "grpc_server_started_total";
const CALLS_HANDLED: &str = "grpc_server_handled_total";
const CLIENT_RECEIVED: &str = "etcd_network_client_grpc_received_bytes_total";
const CLIENT_SENT: &str = "etcd_network_client_grpc_sent_bytes_total";
const HEALTH_SUCCESS: &str = "etcd_server_health_success";
const HEALTH_FAILURES: &str = "etcd_server_health_failures";
const REFUSED: &str = "navarch_store_refused_requests_total";

/// Describes every metric of this crate to the installed recorder.
pub fn describe() {
    describe_gauge!(HAS_LEADER, "Whether a leader is known: 1 or 0.");
    describe_gauge!(IS_LEADER, "Whether this node is the leader: 1 or 0.");
    describe_counter!(LEADER_CHANGES, "Changes of the leader that this node has seen.");
    describe_gauge!(PROPOSALS_COMMITTED, "The highest committed log index.");
    describe_gauge!(PROPOSALS_APPLIED, "The highest applied log index.");
    describe_counter!(PROPOSALS_FAILED, "Writes that timed out or found no leader.");
    describe_histogram!(LOG_SYNC, "How long one synced write of the log takes.");
    describe_gauge!(CURRENT_REVISION, "The newest revision.");
    describe_gauge!(COMPACT_REVISION, "The oldest readable revision.");
    describe_counter!(EVENTS, "Changes of keys.");
    describe_gauge!(DB_SIZE, "About how many bytes the tables take on disk.");
    describe_gauge!(DISK_FREE, "How many bytes the file system of the tables has left.");
    describe_counter!(READ_INDEX_FAILED, "Rounds that could not confirm the newest revision.");
    describe_counter!(COMPARISONS, "Comparisons of this replica with the others.");
    describe_gauge!(UNTRUSTED, "Whether this replica is under suspicion or quarantined: 1 or 0.");
    describe_counter!(CALLS_STARTED, "Calls that clients began.");
    describe_counter!(CALLS_HANDLED, "Calls that ended, by how.");
    describe_counter!(CLIENT_RECEIVED, "Bytes of messages from clients.");
    describe_counter!(CLIENT_SENT, "Bytes of messages to clients.");
    describe_counter!(HEALTH_SUCCESS, "Health checks that passed.");
    describe_counter!(HEALTH_FAILURES, "Health checks that failed.");
    describe_counter!(REFUSED, "Requests refused for the bytes that their client, or all clients, hold.");
    describe_counter!(LEASES_EXPIRED, "Leases that ended because nobody kept them alive.");
}

pub(crate) fn observe_status(status: &Status) {
    gauge!(HAS_LEADER).set(f64::from(u8::from(status.leader.is_some())));
    gauge!(IS_LEADER).set(f64::from(u8::from(status.role == Role::Leader)));
    gauge!(PROPOSALS_COMMITTED).set(approximate(status.committed_index));
    gauge!(PROPOSALS_APPLIED).set(approximate(status.applied_index));
    gauge!(CURRENT_REVISION).set(approximate(status.revision.get().cast_unsigned()));
    gauge!(COMPACT_REVISION).set(approximate(status.compacted.get().max(0).cast_unsigned()));
    gauge!(UNTRUSTED).set(f64::from(u8::from(status.health != Health::Sound)));
    gauge!(DB_SIZE).set(approximate(status.db_size_bytes));
}

pub(crate) fn observe_room(free_bytes: u64) {
    gauge!(DISK_FREE).set(approximate(free_bytes));
}

pub(crate) fn count_leader_change() {
    counter!(LEADER_CHANGES).increment(1);
}

pub(crate) fn count_failed_proposal() {
    counter!(PROPOSALS_FAILED).increment(1);
}

pub(crate) fn count_failed_read_index() {
    counter!(READ_INDEX_FAILED).increment(1);
}

pub(crate) fn count_comparison() {
    counter!(COMPARISONS).increment(1);
}

pub(crate) fn count_expired_lease() {
    counter!(LEASES_EXPIRED).increment(1);
}

pub(crate) fn count_events(events: usize) {
    counter!(EVENTS).increment(events as u64);
}

pub(crate) fn observe_log_sync(took: Duration) {
    histogram!(LOG_SYNC).record(took.as_secs_f64());
}

/// Which call of the client port a counter is about.
#[derive(Clone, Copy)]
pub(crate) struct CallLabels {
    pub(crate) service: &'static str,
    pub(crate) method: &'static str,
    pub(crate) kind: &'static str,
}

pub(crate) fn calls_started(of: CallLabels) -> Counter {
    counter!(CALLS_STARTED, "grpc_service" => of.service, "grpc_method" => of.method, "grpc_type" => of.kind)
}

pub(crate) fn calls_handled(of: CallLabels, code: &'static str) -> Counter {
    counter!(
        CALLS_HANDLED,
        "grpc_service" => of.service,
        "grpc_method" => of.method,
        "grpc_type" => of.kind,
        "grpc_code" => code
    )
}

pub(crate) fn client_bytes_received() -> Counter {
    counter!(CLIENT_RECEIVED)
}

pub(crate) fn client_bytes_sent() -> Counter {
    counter!(CLIENT_SENT)
}

pub(crate) fn count_health_check(passed: bool) {
    counter!(if passed { HEALTH_SUCCESS } else { HEALTH_FAILURES }).increment(1);
}

pub(crate) fn count_refused() {
    counter!(REFUSED).increment(1);
}

/// Gauges are floats; whole numbers up to 2^53 stay exact.
fn approximate(value: u64) -> f64 {
    value as f64
}
