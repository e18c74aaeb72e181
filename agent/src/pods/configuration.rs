//! From a pod to what the container runtime is told: sandbox and container configurations. Pure.

mod security;

use std::collections::HashMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use proto::cri::{
    ContainerConfig, ContainerMetadata, DnsConfig, ImageSpec, KeyValue, LinuxContainerConfig,
    LinuxContainerResources, LinuxPodSandboxConfig, Mount, PodSandboxConfig, PodSandboxMetadata,
};

pub(crate) use security::check_non_root;

use super::environment::expand;
use super::memory;
use crate::runtime::{
    ANNOTATION_GRACE, ANNOTATION_HASH, LABEL_CONTAINER_NAME, LABEL_POD_NAME, LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
};

/// Seconds, when a pod does not say.
pub(crate) const GRACE_DEFAULT: u64 = 30;
/// A host name's limit (RFC 1123).
const HOST_NAME_MAX: usize = 63;

pub(crate) fn sandbox(pod: &Pod, attempt: u32, logs: &Path, cgroup_parent: String) -> PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let metadata = PodSandboxMetadata {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        attempt,
    };
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    PodSandboxConfig {
        hostname: host_name(pod),
        log_directory: logs.display().to_string(),
        dns_config: dns(pod),
        labels: labels(pod, None),
        annotations: HashMap::from([(ANNOTATION_GRACE.to_owned(), grace_seconds(pod).to_string())]),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent,
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
        labels: labels(pod, Some(&spec.name)),
        annotations: HashMap::from([(ANNOTATION_HASH.to_owned(), memory::hash(spec))]),
        log_path: format!("{}/{}.log", spec.name, around.attempt),
        stdin: spec.stdin == Some(true),
        stdin_once: spec.stdin_once == Some(true),
        tty: spec.tty == Some(true),
        linux: Some(LinuxContainerConfig {
            resources: Some(around.resources),
            security_context: Some(security::container(pod, spec, around.target)),
        }),
    }
}

/// Empty with the node's network, whose host name is the node's.
pub(crate) fn host_name(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    if spec.is_some_and(|spec| spec.host_network == Some(true)) {
        return String::new();
    }
    let name = spec
        .and_then(|spec| spec.hostname.as_deref())
        .filter(|name| !name.is_empty())
        .or(pod.metadata.name.as_deref())
        .unwrap_or_default();
    let cut = &name[..name.len().min(HOST_NAME_MAX)];
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// What the pod's `/etc/hosts` says; the runtime would copy the node's, which lacks the pod.
pub(crate) fn hosts_file(pod: &Pod, pod_ip: &str) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut text =
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
            .to_owned();
    if !pod_ip.is_empty() {
        text += &format!("{pod_ip}\t{}\n", host_name(pod));
    }
    for alias in spec.host_aliases.iter().flatten() {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text += &format!("{}\t{names}\n", alias.ip);
    }
    text
}

pub(crate) fn grace_seconds(pod: &Pod) -> u64 {
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    grace.and_then(|grace| u64::try_from(grace).ok()).unwrap_or(GRACE_DEFAULT)
}

/// There is no cluster DNS yet, so `ClusterFirst` is what `Default` is: the node's own resolv.conf, which
/// the runtime copies when it is told nothing.
fn dns(pod: &Pod) -> Option<DnsConfig> {
    let config = pod.spec.as_ref()?.dns_config.as_ref()?;
    let options = config.options.iter().flatten().map(|option| {
        let name = option.name.clone().unwrap_or_default();
        option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}"))
    });
    Some(DnsConfig {
        servers: config.nameservers.clone().unwrap_or_default(),
        searches: config.searches.clone().unwrap_or_default(),
        options: options.collect(),
    })
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

    #[test]
    fn the_nodes_network_has_no_host_name() {
        let with_host_network = pod(&json!({"containers": [], "hostNetwork": true}));
        let config = sandbox(&with_host_network, 0, Path::new("/l"), String::new());
        assert_eq!(config.hostname, "");
        assert_eq!(
            sandbox(&pod(&json!({"containers": []})), 0, Path::new("/l"), String::new()).hostname,
            "web-1"
        );
    }

    #[test]
    fn a_pod_finds_itself_and_its_aliases_in_hosts() {
        let aliases =
            pod(&json!({"containers": [], "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
        let text = hosts_file(&aliases, "10.1.0.2");
        assert!(text.contains("10.1.0.2\tweb-1\n") && text.contains("1.2.3.4\ta\tb\n"), "{text}");
    }
}
