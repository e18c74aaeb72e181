//! The agent's metrics: the kubelet's names where it has one.

use std::sync::Arc;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What was counted in this process so far, in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// A page in Prometheus' text format, as far as it is written.
#[derive(Default)]
pub(crate) struct Page(pub(crate) String);

impl Page {
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(crate) fn line(&mut self, name: &str, labels: &str, value: &str, at: &str) {
        self.0.push_str(&format!("{name}{labels} {value}{at}\n"));
    }
}

/// From the first sight of a pod to its containers running, image pulls included.
pub const POD_START_DURATION: &str = "kubelet_pod_start_duration_seconds";
/// One pass of a pod's worker, by `operation_type`: sync or terminate.
pub const POD_WORKER_DURATION: &str = "kubelet_pod_worker_duration_seconds";
pub const RUNNING_PODS: &str = "kubelet_running_pods";
pub const RUNNING_CONTAINERS: &str = "kubelet_running_containers";
pub const STARTED_CONTAINERS: &str = "kubelet_started_containers_total";
pub const STARTED_CONTAINERS_ERRORS: &str = "kubelet_started_containers_errors_total";
pub const STARTED_PODS: &str = "kubelet_started_pods_total";
pub const RELIST_DURATION: &str = "kubelet_pleg_relist_duration_seconds";
/// Calls of the container runtime by `operation_type`; what was broken off is in none of them.
pub const RUNTIME_OPERATIONS: &str = "kubelet_runtime_operations_total";
pub const RUNTIME_OPERATIONS_DURATION: &str = "kubelet_runtime_operations_duration_seconds";
pub const RUNTIME_OPERATIONS_ERRORS: &str = "kubelet_runtime_operations_errors_total";
/// By `probe_type` and `result`.
pub const PROBES: &str = "prober_probe_total";
pub const CONTAINERD_RESTARTS: &str = "navarch_agent_containerd_restarts_total";

/// By `eviction_signal`: what was short.
pub const EVICTIONS: &str = "kubelet_evictions";
pub const IMAGES_COLLECTED: &str = "kubelet_image_garbage_collected_total";

/// Registers names, units and help with the recorder.
pub fn describe() {
    describe_histogram!(POD_START_DURATION, Unit::Seconds, "From seeing a pod to its containers running");
    describe_histogram!(POD_WORKER_DURATION, Unit::Seconds, "One pass of a pod's worker");
    describe_gauge!(RUNNING_PODS, "Pods with a running sandbox");
    describe_gauge!(RUNNING_CONTAINERS, "Running containers");
    describe_counter!(STARTED_CONTAINERS, "Containers started");
    describe_counter!(STARTED_CONTAINERS_ERRORS, "Containers that could not be started");
    describe_counter!(STARTED_PODS, "Pod sandboxes started");
    describe_histogram!(RELIST_DURATION, Unit::Seconds, "One look at everything in the runtime");
    describe_counter!(RUNTIME_OPERATIONS, "Calls of the container runtime");
    describe_histogram!(RUNTIME_OPERATIONS_DURATION, Unit::Seconds, "One call of the container runtime");
    describe_counter!(RUNTIME_OPERATIONS_ERRORS, "Calls of the container runtime that failed");
    describe_counter!(PROBES, "Probes by type and result");
    describe_counter!(
        EVICTIONS,
        "Pods stopped because the node ran short, or because they outgrew their limits"
    );
    describe_counter!(IMAGES_COLLECTED, "Unused images removed");
    describe_counter!(CONTAINERD_RESTARTS, "Times that containerd had to be started again");
}
