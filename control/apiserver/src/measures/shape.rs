//! What a node answers, and the objects of metrics.k8s.io that are made of it. Pure.

use std::collections::HashMap;

use base::Timestamp;
use kinds::{meta, tree};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::verbs::create::seconds;

/// What a node and its pods use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeUsage {
    /// When the window ended; absent before the first one.
    timestamp: Option<Timestamp>,
    #[serde(default)]
    window_millis: u64,
    node: Option<Used>,
    #[serde(rename = "pods")]
    listed: Vec<PodUsage>,
    /// Where in the list a pod is, by its uid.
    #[serde(skip)]
    by_uid: HashMap<String, usize>,
}

#[derive(Debug, Deserialize)]
struct PodUsage {
    uid: String,
    /// Whether every container of it was there for the whole window.
    complete: bool,
    containers: Vec<ContainerUsage>,
}

#[derive(Debug, Deserialize)]
struct ContainerUsage {
    name: String,
    #[serde(flatten)]
    used: Used,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Used {
    cpu_nano_cores: u64,
    memory_bytes: u64,
}

impl NodeUsage {
    pub(super) fn parse(json: &[u8]) -> serde_json::Result<Self> {
        let mut usage: Self = serde_json::from_slice(json)?;
        let uids = usage.listed.iter().enumerate().map(|(at, pod)| (pod.uid.clone(), at));
        usage.by_uid = uids.collect();
        Ok(usage)
    }

    fn window(&self) -> String {
        let (seconds, millis) = (self.window_millis / 1000, self.window_millis % 1000);
        match millis {
            0 => format!("{seconds}s"),
            _ => format!("{}s", format!("{seconds}.{millis:03}").trim_end_matches('0')),
        }
    }
}

/// `None` when not all of its containers were measured.
pub(super) fn pod_metrics(pod: &Value, usage: &NodeUsage, now: Timestamp) -> Option<Value> {
    let timestamp = usage.timestamp?;
    let of = usage.listed.get(*usage.by_uid.get(tree::text(pod, "metadata.uid"))?)?;
    if !of.complete || of.containers.is_empty() {
        return None;
    }
    let container = |it: &ContainerUsage| json!({"name": it.name, "usage": amounts(it.used)});
    Some(json!({
        "metadata": metadata(pod, now),
        "timestamp": seconds(timestamp),
        "window": usage.window(),
        "containers": of.containers.iter().map(container).collect::<Vec<_>>(),
    }))
}

/// `None` before the node was measured.
pub(super) fn node_metrics(node: &Value, usage: &NodeUsage, now: Timestamp) -> Option<Value> {
    Some(json!({
        "metadata": metadata(node, now),
        "timestamp": seconds(usage.timestamp?),
        "window": usage.window(),
        "usage": amounts(usage.node?),
    }))
}

fn metadata(object: &Value, now: Timestamp) -> Value {
    let mut metadata = json!({"name": meta::name(object)});
    let namespace = meta::namespace(object);
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata["creationTimestamp"] = json!(seconds(now));
    if let Some(labels) = tree::map(object, "metadata.labels") {
        metadata["labels"] = json!(labels);
    }
    metadata
}

fn amounts(used: Used) -> Value {
    json!({"cpu": cores(used.cpu_nano_cores), "memory": bytes(used.memory_bytes)})
}

/// As Kubernetes writes an amount of nano-cores: in the largest unit that leaves no fraction.
fn cores(nanos: u64) -> String {
    match nanos {
        0 => "0".to_owned(),
        _ if nanos.is_multiple_of(1_000_000_000) => (nanos / 1_000_000_000).to_string(),
        _ if nanos.is_multiple_of(1_000_000) => format!("{}m", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1000) => format!("{}u", nanos / 1000),
        _ => format!("{nanos}n"),
    }
}

fn bytes(bytes: u64) -> String {
    let mut left = bytes;
    let mut units = ["", "Ki", "Mi", "Gi", "Ti"].into_iter().peekable();
    let mut unit = "";
    while let Some(next) = units.next() {
        unit = next;
        if left == 0 || !left.is_multiple_of(1024) || units.peek().is_none() {
            break;
        }
        left /= 1024;
    }
    format!("{left}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_kubernetes_does() {
        let written = [0, 1, 1500, 2_000_000, 1_234_567_000, 3_000_000_000].map(cores);
        assert_eq!(written, ["0", "1n", "1500n", "2m", "1234567u", "3"]);
        let written = [0, 1000, 4096, 5 << 20, (5 << 20) + 1024, 3 << 40].map(bytes);
        assert_eq!(written, ["0", "1000", "4Ki", "5Mi", "5121Ki", "3Ti"]);
    }

    #[test]
    fn a_window_is_written_as_go_writes_durations() {
        let window = |millis| {
            NodeUsage::parse(format!(r#"{{"windowMillis": {millis}, "pods": []}}"#).as_bytes())
                .unwrap()
                .window()
        };
        assert_eq!([10_003, 10_000, 9_990].map(window), ["10.003s", "10s", "9.99s"]);
    }
}
