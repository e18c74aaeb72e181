//! From CRI messages to what we observe. Pure.
//!
//! What carries none of our labels is not ours and is left out.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use base::Timestamp;
use proto::cri;

use crate::runtime::{
    ANNOTATION_GRACE, ANNOTATION_HASH, Container, ContainerState, ContainerUsage, Exit, ImageInfo,
    LABEL_CONTAINER_NAME, LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID, PodRuntime, Sandbox,
};

pub(super) fn add_sandbox(
    pods: &mut BTreeMap<String, PodRuntime>,
    sandbox: &cri::PodSandbox,
    ips: Vec<String>,
) {
    let Some(pod) = pod_of(pods, &sandbox.labels) else { return };
    if let Some(grace) = sandbox.annotations.get(ANNOTATION_GRACE) {
        pod.grace = grace.parse().ok();
    }
    pod.sandboxes.push(Sandbox {
        id: sandbox.id.clone(),
        attempt: sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
        ready: sandbox.state() == cri::PodSandboxState::SandboxReady,
        created_at: time(sandbox.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        ips,
    });
}

pub(super) fn add_container(
    pods: &mut BTreeMap<String, PodRuntime>,
    container: &cri::Container,
    state: ContainerState,
) {
    let Some(pod) = pod_of(pods, &container.labels) else { return };
    let name = container.labels.get(LABEL_CONTAINER_NAME).cloned().unwrap_or_default();
    pod.containers.push(Container {
        id: container.id.clone(),
        sandbox_id: container.pod_sandbox_id.clone(),
        name,
        attempt: container.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
        hash: container.annotations.get(ANNOTATION_HASH).cloned().unwrap_or_default(),
        image_id: container.image_ref.clone(),
        created_at: time(container.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        state,
    });
}

pub(super) fn container_state(status: &cri::ContainerStatus) -> ContainerState {
    match status.state() {
        cri::ContainerState::ContainerCreated => ContainerState::Created,
        cri::ContainerState::ContainerRunning => {
            ContainerState::Running { started_at: time(status.started_at).unwrap_or(Timestamp::UNIX_EPOCH) }
        }
        cri::ContainerState::ContainerExited => ContainerState::Exited(Exit {
            code: status.exit_code,
            started_at: time(status.started_at),
            finished_at: time(status.finished_at).unwrap_or(Timestamp::UNIX_EPOCH),
            reason: status.reason.clone(),
            message: status.message.clone(),
        }),
        cri::ContainerState::ContainerUnknown => ContainerState::Unknown,
    }
}

pub(super) fn addresses(network: Option<cri::PodSandboxNetworkStatus>) -> Vec<String> {
    let Some(network) = network else { return Vec::new() };
    let additional = network.additional_ips.into_iter().map(|ip| ip.ip);
    std::iter::once(network.ip).chain(additional).filter(|ip| !ip.is_empty()).collect()
}

pub(super) fn image(image: cri::Image) -> ImageInfo {
    ImageInfo {
        id: image.id,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
        size: image.size,
    }
}

pub(super) fn usage(stats: cri::ContainerStats) -> (String, ContainerUsage) {
    let value = |value: Option<cri::UInt64Value>| value.map_or(0, |value| value.value);
    let usage = ContainerUsage {
        cpu_nanos: value(stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds)),
        memory_bytes: value(stats.memory.and_then(|memory| memory.working_set_bytes)),
        layer_bytes: value(stats.writable_layer.and_then(|layer| layer.used_bytes)),
    };
    (stats.attributes.unwrap_or_default().id, usage)
}

/// The network of a sandbox, from what the runtime tells of it in its own words: `None` when it does not tell,
/// no path when it is the node's.
pub(super) fn network_namespace(info: &str) -> Option<Option<PathBuf>> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array()?;
    let network = namespaces.iter().find(|namespace| namespace["type"] == "network");
    Some(network.and_then(|network| Some(PathBuf::from(network["path"].as_str()?))))
}

fn pod_of<'a>(
    pods: &'a mut BTreeMap<String, PodRuntime>,
    labels: &HashMap<String, String>,
) -> Option<&'a mut PodRuntime> {
    let uid = labels.get(LABEL_POD_UID)?;
    let pod = pods.entry(uid.clone()).or_default();
    if pod.uid.is_empty() {
        pod.uid.clone_from(uid);
        pod.name = labels.get(LABEL_POD_NAME).cloned().unwrap_or_default();
        pod.namespace = labels.get(LABEL_POD_NAMESPACE).cloned().unwrap_or_default();
    }
    Some(pod)
}

/// Nanoseconds since the epoch; 0 and less mean that it did not happen.
fn time(ns: i64) -> Option<Timestamp> {
    if ns <= 0 {
        return None;
    }
    Timestamp::from_nanosecond(i128::from(ns)).ok()
}
