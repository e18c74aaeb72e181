//! What a kubelet says of usage: the Summary API and Prometheus' text, in its words.

use serde_json::{Value, json};

use super::rates::{ContainerMeasured, Measured, PodMeasured};
use crate::metrics::Page;

pub(super) fn summary(node: &str, measured: &Measured) -> Value {
    let Some(window) = &measured.window else { return json!({"node": {"nodeName": node}, "pods": []}) };
    let time = window.end.to_string();
    let cpu =
        |rate: u64, total: u64| json!({"time": time, "usageNanoCores": rate, "usageCoreNanoSeconds": total});
    let container = |container: &ContainerMeasured| {
        json!({
            "name": container.name,
            "startTime": container.started_at.to_string(),
            "cpu": cpu(container.cpu_nano_cores, container.usage.cpu_nanos),
            "memory": {"time": time, "workingSetBytes": container.usage.memory_bytes},
            "rootfs": {"time": time, "usedBytes": container.usage.layer_bytes},
        })
    };
    let pod = |pod: &PodMeasured| {
        let sum = |of: fn(&ContainerMeasured) -> u64| pod.containers.iter().map(of).sum::<u64>();
        json!({
            "podRef": {"name": pod.pod.name, "namespace": pod.pod.namespace, "uid": pod.pod.uid},
            "startTime": pod.containers.iter().map(|it| it.started_at).min().map(|it| it.to_string()),
            "containers": pod.containers.iter().map(container).collect::<Vec<_>>(),
            "cpu": cpu(sum(|it| it.cpu_nano_cores), sum(|it| it.usage.cpu_nanos)),
            "memory": {"time": time, "workingSetBytes": sum(|it| it.usage.memory_bytes)},
        })
    };
    let machine = &measured.machine;
    json!({
        "node": {
            "nodeName": node,
            "cpu": cpu(measured.node_cpu_nano_cores, machine.cpu_nanos),
            "memory": {
                "time": time,
                "availableBytes": machine.available_bytes,
                "usageBytes": machine.used_bytes,
                "workingSetBytes": machine.working_set_bytes,
            },
        },
        "pods": measured.pods.iter().filter(|pod| pod.is_complete).map(pod).collect::<Vec<_>>(),
    })
}

/// Counters are in seconds, with the sample's time in milliseconds behind them.
pub(super) fn exposition(measured: &Measured) -> String {
    let mut page = Page::default();
    let Some(window) = &measured.window else {
        page.family(
            "scrape_error",
            "gauge",
            "1 if there was an error while getting container metrics, 0 otherwise",
        );
        page.line("scrape_error", "", "1", "");
        return page.0;
    };
    let at = format!(" {}", window.end.as_millisecond());
    let machine = &measured.machine;
    page.family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    page.line("node_cpu_usage_seconds_total", "", &seconds(machine.cpu_nanos), &at);
    page.family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
    page.line("node_memory_working_set_bytes", "", &machine.working_set_bytes.to_string(), &at);
    page.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    page.containers(measured, "container_cpu_usage_seconds_total", &at, |it| seconds(it.usage.cpu_nanos));
    page.family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
    );
    page.containers(measured, "container_memory_working_set_bytes", &at, |it| {
        it.usage.memory_bytes.to_string()
    });
    page.family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
    );
    page.containers(measured, "container_start_time_seconds", "", |it| it.started_at.as_second().to_string());
    page.family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    page.pods(measured, "pod_cpu_usage_seconds_total", &at, |pod| {
        seconds(pod.containers.iter().map(|it| it.usage.cpu_nanos).sum())
    });
    page.family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
    page.pods(measured, "pod_memory_working_set_bytes", &at, |pod| {
        pod.containers.iter().map(|it| it.usage.memory_bytes).sum::<u64>().to_string()
    });
    page.family(
        "scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    page.line("scrape_error", "", "0", "");
    page.0
}

impl Page {
    fn containers(&mut self, of: &Measured, name: &str, at: &str, value: fn(&ContainerMeasured) -> String) {
        for pod in &of.pods {
            let (namespace, pod_name) = (&pod.pod.namespace, &pod.pod.name);
            for container in &pod.containers {
                let labels =
                    format!(r#"{{container="{}",namespace="{namespace}",pod="{pod_name}"}}"#, container.name);
                self.line(name, &labels, &value(container), at);
            }
        }
    }

    fn pods(&mut self, of: &Measured, name: &str, at: &str, value: fn(&PodMeasured) -> String) {
        // The sum of a part would look like a counter that was reset.
        for pod in of.pods.iter().filter(|pod| pod.is_complete) {
            let labels = format!(r#"{{namespace="{}",pod="{}"}}"#, pod.pod.namespace, pod.pod.name);
            self.line(name, &labels, &value(pod), at);
        }
    }
}

/// Exact, unlike a float.
pub(super) fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}
