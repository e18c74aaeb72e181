//! What a kubelet serves at `/metrics/cadvisor`, of it what dashboards and rules are made of: names and labels are
//! cAdvisor's.
//!
//! Rows with a container and an image are containers, rows without a container are the whole pod, the one with the id
//! `/` is the machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::rates::{ContainerMeasured, Measured, PodMeasured};
use super::text::seconds;
use crate::cgroups::{QosClass, pod_below, qos_class};
use crate::metrics::Page;
use crate::pods::named;

/// One row: its labels and what was used.
struct Row {
    labels: String,
    cpu_nanos: u64,
    memory_bytes: u64,
    started_at: Option<i64>,
}

pub(super) fn page(measured: &Measured, pods: &BTreeMap<&str, &Arc<Pod>>) -> String {
    let mut page = Page::default();
    let Some(window) = &measured.window else { return page.0 };
    let at = format!(" {}", window.end.as_millisecond());
    let rows = rows(measured, pods);
    page.family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.");
    for row in &rows {
        let labels = format!("{{cpu=\"total\",{}}}", row.labels);
        page.line("container_cpu_usage_seconds_total", &labels, &seconds(row.cpu_nanos), &at);
    }
    page.family("container_memory_working_set_bytes", "gauge", "Current working set in bytes.");
    for row in &rows {
        let labels = format!("{{{}}}", row.labels);
        page.line("container_memory_working_set_bytes", &labels, &row.memory_bytes.to_string(), &at);
    }
    let help = "Start time of the container since unix epoch in seconds.";
    page.family("container_start_time_seconds", "gauge", help);
    for (row, started_at) in rows.iter().filter_map(|row| Some((row, row.started_at?))) {
        let labels = format!("{{{}}}", row.labels);
        page.line("container_start_time_seconds", &labels, &started_at.to_string(), &at);
    }
    let machine = &measured.machine;
    page.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    let installed = machine.available_bytes.saturating_add(machine.working_set_bytes);
    page.line("machine_memory_bytes", "", &installed.to_string(), "");
    page.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    page.line("machine_cpu_cores", "", &cores.to_string(), "");
    page.0
}

fn rows(measured: &Measured, pods: &BTreeMap<&str, &Arc<Pod>>) -> Vec<Row> {
    let machine = Row {
        labels: labels(["", "/", "", "", "", ""]),
        cpu_nanos: measured.machine.cpu_nanos,
        memory_bytes: measured.machine.working_set_bytes,
        started_at: None,
    };
    let of_pods = measured.pods.iter().flat_map(|pod| {
        let known = pods.get(pod.pod.uid.as_str()).copied();
        // The sum of a part would look like a counter that was reset.
        let whole = pod.is_complete.then(|| whole(pod, known));
        whole.into_iter().chain(pod.containers.iter().map(move |container| one(pod, container, known)))
    });
    std::iter::once(machine).chain(of_pods).collect()
}

fn whole(measured: &PodMeasured, pod: Option<&Arc<Pod>>) -> Row {
    let sum = |of: fn(&ContainerMeasured) -> u64| measured.containers.iter().map(of).sum::<u64>();
    let about = &measured.pod;
    Row {
        labels: labels(["", &cgroup(&about.uid, pod), "", "", &about.namespace, &about.name]),
        cpu_nanos: sum(|container| container.usage.cpu_nanos),
        memory_bytes: sum(|container| container.usage.memory_bytes),
        started_at: measured.containers.iter().map(|container| container.started_at.as_second()).min(),
    }
}

fn one(measured: &PodMeasured, container: &ContainerMeasured, pod: Option<&Arc<Pod>>) -> Row {
    let about = &measured.pod;
    let image = pod.and_then(|pod| named(pod, &container.name)).and_then(|spec| spec.image);
    let id = format!("{}/{}", cgroup(&about.uid, pod), container.id);
    let image = image.unwrap_or_default();
    Row {
        labels: labels([&container.name, &id, &image, &container.id, &about.namespace, &about.name]),
        cpu_nanos: container.usage.cpu_nanos,
        memory_bytes: container.usage.memory_bytes,
        started_at: Some(container.started_at.as_second()),
    }
}

/// As seen from where the node's own pods begin.
fn cgroup(uid: &str, pod: Option<&Arc<Pod>>) -> String {
    let class = pod.map_or(QosClass::Guaranteed, |pod| qos_class(pod));
    format!("/{}", pod_below(uid, class))
}

fn labels(values: [&str; 6]) -> String {
    let names = ["container", "id", "image", "name", "namespace", "pod"];
    let pairs = names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    pairs.collect::<Vec<_>>().join(",")
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
