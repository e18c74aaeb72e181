//! From a pod to what the container runtime is told: sandbox and container configurations. Pure.

mod dns;
mod names;
mod security;

use std::collections::HashMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use proto::cri::{
    ContainerConfig, ContainerMetadata, Device, ImageSpec, KeyValue, LinuxContainerConfig,
    LinuxContainerResources, LinuxPodSandboxConfig, Mount, PodSandboxConfig, PodSandboxMetadata,
};

pub(crate) use names::hosts_file;
pub(crate) use security::{check_admission, check_non_root};

use super::environment::expand;
use super::memory;
use crate::runtime::{
    ANNOTATION_GRACE, ANNOTATION_HASH, LABEL_CONTAINER_NAME, LABEL_POD_NAME, LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
};

/// Seconds, when a pod does not say.
pub(crate) const GRACE_DEFAULT: u64 = 30;
/// Where a node keeps what `localhostProfile` names, below the agent's folder.
const SECCOMP_DIR: &str = "seccomp";

/// What sandboxes depend on besides their pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeFiles {
    /// The pod's log directory.
    pub(crate) logs: PathBuf,
    pub(crate) cgroup_parent: String,
    /// What the node's own resolv.conf says.
    pub(crate) resolv_conf: String,
}

pub(crate) fn sandbox(pod: &Pod, attempt: u32, node: NodeFiles) -> PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let metadata = PodSandboxMetadata {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        attempt,
    };
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    PodSandboxConfig {
        hostname: names::host_name(pod),
        log_directory: node.logs.display().to_string(),
        dns_config: dns::config(pod, &node.resolv_conf),
        labels: labels(pod, None),
        annotations: HashMap::from([(ANNOTATION_GRACE.to_owned(), grace_seconds(pod).to_string())]),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: node.cgroup_parent,
            security_context: Some(security::sandbox(pod)),
            sysctls: sysctls.into_iter().flatten().map(|s| (s.name.clone(), s.value.clone())).collect(),
        }),
        metadata: Some(metadata),
    }
}

/// What the configuration of a container depends on besides the specification.
pub(crate) struct Surroundings {
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) devices: Vec<Device>,
    /// The agent's folder.
    pub(crate) data_dir: PathBuf,
    pub(crate) resources: LinuxContainerResources,
    pub(crate) attempt: u32,
    /// The id of the container whose processes it is to see.
    pub(crate) target: Option<String>,
}

pub(crate) fn container(pod: &Pod, spec: &ContainerSpec, around: Surroundings) -> ContainerConfig {
    let expanded = |words: Option<&Vec<String>>| -> Vec<String> {
        words.into_iter().flatten().map(|word| expand(word, &around.environment)).collect()
    };
    let command = expanded(spec.command.as_ref());
    let args = expanded(spec.args.as_ref());
    let envs =
        around.environment.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() });
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: spec.name.clone(), attempt: around.attempt }),
        image: Some(ImageSpec { image: spec.image.clone().unwrap_or_default(), annotations: HashMap::new() }),
        command,
        args,
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        envs: envs.collect(),
        mounts: around.mounts,
        devices: around.devices,
        labels: labels(pod, Some(&spec.name)),
        annotations: HashMap::from([(ANNOTATION_HASH.to_owned(), memory::hash(spec))]),
        log_path: format!("{}/{}.log", spec.name, around.attempt),
        stdin: spec.stdin == Some(true),
        stdin_once: spec.stdin_once == Some(true),
        tty: spec.tty == Some(true),
        linux: Some(LinuxContainerConfig {
            resources: Some(around.resources),
            security_context: Some(security::container(
                pod,
                spec,
                around.target,
                &around.data_dir.join(SECCOMP_DIR),
            )),
        }),
    }
}

pub(crate) fn grace_seconds(pod: &Pod) -> u64 {
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    grace.and_then(|grace| u64::try_from(grace).ok()).unwrap_or(GRACE_DEFAULT)
}

/// Why this node cannot make the pod's sandbox, in the kubelet's words.
pub(crate) fn check_sandbox(pod: &Pod) -> Result<(), Refused> {
    names::check_host_name(pod).map_err(Refused::sandbox)?;
    security::check_sandbox(pod)
}

/// A pod that does not start here, with the reason of its event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refused {
    fn sandbox(message: String) -> Self {
        Self { reason: "FailedCreatePodSandBox", message: format!("Failed to create pod sandbox: {message}") }
    }
}

fn labels(pod: &Pod, container: Option<&str>) -> HashMap<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut labels = HashMap::from([
        (LABEL_POD_NAME.to_owned(), text(&pod.metadata.name)),
        (LABEL_POD_NAMESPACE.to_owned(), text(&pod.metadata.namespace)),
        (LABEL_POD_UID.to_owned(), text(&pod.metadata.uid)),
    ]);
    if let Some(container) = container {
        labels.insert(LABEL_CONTAINER_NAME.to_owned(), container.to_owned());
    }
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "ns", "uid": "u"}, "spec": spec,
        }))
        .unwrap()
    }

    fn around(environment: &[(&str, &str)]) -> Surroundings {
        Surroundings {
            target: None,
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            mounts: Vec::new(),
            devices: Vec::new(),
            data_dir: PathBuf::from("/d"),
            resources: LinuxContainerResources::default(),
            attempt: 3,
        }
    }

    #[test]
    fn commands_see_the_environment_and_logs_the_attempt() {
        let pod =
            pod(&json!({"containers": [{"name": "c", "command": ["sh", "-c"], "args": ["echo $(A)"]}]}));
        let config = container(&pod, &pod.spec.as_ref().unwrap().containers[0], around(&[("A", "b")]));
        assert_eq!(config.args, ["echo b"]);
        assert_eq!(config.log_path, "c/3.log");
    }
}
