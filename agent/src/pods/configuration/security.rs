//! Security contexts: the pod's and the container's merged, the container's winning.

use std::path::Path;

use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, Pod, PodSecurityContext, SeccompProfile, SecurityContext,
};
use proto::cri::security_profile::ProfileType;
use proto::cri::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, SecurityProfile,
};

use super::Refused;
use crate::pods::containers::lasting;
use crate::runtime::ImageInfo;

/// What of the kernel a container must not see, and what it must not write (as containerd's and Docker's).
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let spec = pod.spec.clone().unwrap_or_default();
    let context = spec.security_context.clone().unwrap_or_default();
    let privileged = lasting(pod).any(|container| of(container).privileged == Some(true));
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: context.run_as_user.map(|value| Int64Value { value }),
        run_as_group: context.run_as_user.and(context.run_as_group).map(|value| Int64Value { value }),
        supplemental_groups: groups(&context),
        privileged,
        seccomp: Some(SecurityProfile {
            profile_type: ProfileType::RuntimeDefault.into(),
            localhost_ref: String::new(),
        }),
        ..LinuxSandboxSecurityContext::default()
    }
}

/// Sysctls that belong to a pod's own namespaces and harm nobody else: Kubernetes' list.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// What no runtime of ours can do is refused, not left out.
pub(super) fn check_sandbox(pod: &Pod) -> Result<(), Refused> {
    if pod.spec.as_ref().is_some_and(|spec| spec.host_users == Some(false)) {
        return Err(Refused::sandbox("user namespaces are not supported by this node".to_owned()));
    }
    Ok(())
}

/// Why this node rejects a pod for good, with the kubelet's reasons and words.
pub(crate) fn check_admission(pod: &Pod) -> Result<(), Refused> {
    let context = pod_context(pod);
    for sysctl in context.sysctls.iter().flatten() {
        if !is_safe(pod, &sysctl.name.replace('/', ".")) {
            let message = format!("forbidden sysctl: {:?} not allowlisted", sysctl.name);
            return Err(Refused { reason: "SysctlForbidden", message });
        }
    }
    if context.supplemental_groups_policy.as_deref() == Some("Strict") {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned();
        return Err(Refused { reason: "SupplementalGroupsPolicyNotSupported", message });
    }
    let own = lasting(pod).filter_map(|spec| spec.security_context.as_ref()?.app_armor_profile.as_ref());
    if own.chain(&context.app_armor_profile).any(|profile| profile.type_ == "Localhost") {
        let message = "Cannot enforce AppArmor: AppArmor is not enabled on the host".to_owned();
        return Err(Refused { reason: "AppArmor", message });
    }
    Ok(())
}

/// It is on the list and belongs to a namespace of the pod's own.
fn is_safe(pod: &Pod, sysctl: &str) -> bool {
    let of_node = pod.spec.as_ref().is_some_and(|spec| {
        (sysctl.starts_with("net.") && spec.host_network == Some(true))
            || (sysctl.starts_with("kernel.") && spec.host_ipc == Some(true))
    });
    !of_node && SAFE_SYSCTLS.contains(&sysctl)
}

/// `target`: the id of the container whose processes it is to see.
pub(super) fn container(
    pod: &Pod,
    spec: &ContainerSpec,
    target: Option<String>,
    seccomp_dir: &Path,
) -> LinuxContainerSecurityContext {
    let pod_context = pod_context(pod);
    let own = of(spec);
    let user = own.run_as_user.or(pod_context.run_as_user);
    let group = own.run_as_group.or(pod_context.run_as_group);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| -> Vec<String> {
        if unmasked { Vec::new() } else { list.iter().map(|path| (*path).to_owned()).collect() }
    };
    LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(match target {
            Some(target_id) => {
                NamespaceOption { pid: NamespaceMode::Target.into(), target_id, ..namespaces(pod) }
            }
            None => namespaces(pod),
        }),
        run_as_user: user.map(|value| Int64Value { value }),
        // The runtime refuses a group without a user.
        run_as_group: user.and(group).map(|value| Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&pod_context),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(seccomp(
            own.seccomp_profile.as_ref().or(pod_context.seccomp_profile.as_ref()),
            seccomp_dir,
        )),
        run_as_username: String::new(),
    }
}

/// `runAsNonRoot`, checked before the container is made, with the kubelet's messages.
pub(crate) fn check_non_root(pod: &Pod, spec: &ContainerSpec, image: &ImageInfo) -> Result<(), String> {
    let pod_context = pod_context(pod);
    let own = of(spec);
    if own.run_as_non_root.or(pod_context.run_as_non_root) != Some(true) {
        return Ok(());
    }
    match (own.run_as_user.or(pod_context.run_as_user), image.uid) {
        (Some(0), _) => Err("container's runAsUser breaks non-root policy".to_owned()),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err("container has runAsNonRoot and image will run as root".to_owned()),
        (None, None) if image.username.is_empty() => {
            Err("container has runAsNonRoot and image will run as root".to_owned())
        }
        (None, None) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root",
            image.username
        )),
        (None, Some(_)) => Ok(()),
    }
}

fn of(spec: &ContainerSpec) -> SecurityContext {
    spec.security_context.clone().unwrap_or_default()
}

fn pod_context(pod: &Pod) -> PodSecurityContext {
    pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default()
}

fn groups(context: &PodSecurityContext) -> Vec<i64> {
    context.fs_group.into_iter().chain(context.supplemental_groups.iter().flatten().copied()).collect()
}

fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = pod.spec.clone().unwrap_or_default();
    let node_or = |host: Option<bool>, otherwise: NamespaceMode| {
        if host == Some(true) { NamespaceMode::Node.into() } else { otherwise.into() }
    };
    let shared = spec.share_process_namespace == Some(true);
    NamespaceOption {
        network: node_or(spec.host_network, NamespaceMode::Pod),
        pid: node_or(spec.host_pid, if shared { NamespaceMode::Pod } else { NamespaceMode::Container }),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod),
        target_id: String::new(),
    }
}

/// Without a profile a container is unconfined, as with the kubelet's defaults.
fn seccomp(profile: Option<&SeccompProfile>, dir: &Path) -> SecurityProfile {
    let profile_type = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Localhost") => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    SecurityProfile {
        profile_type: profile_type.into(),
        localhost_ref: profile
            .and_then(|profile| profile.localhost_profile.as_ref())
            .map(|path| dir.join(path).display().to_string())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(mut spec: Value) -> Pod {
        if spec["containers"].is_null() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn made(of_pod: Value, own: Value) -> LinuxContainerSecurityContext {
        let containers = json!([{"name": "c", "securityContext": own}]);
        let pod = pod(json!({"securityContext": of_pod, "containers": containers}));
        container(&pod, &pod.spec.as_ref().unwrap().containers[0], None, Path::new("/d/seccomp"))
    }

    #[test]
    fn what_the_container_says_comes_before_what_the_pod_says() {
        let of_pod = json!({
            "runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4],
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        let made_by_pod = made(of_pod.clone(), json!({}));
        let number = |value: Option<Int64Value>| value.map(|value| value.value);
        assert_eq!((number(made_by_pod.run_as_user), number(made_by_pod.run_as_group)), (Some(1), Some(2)));
        assert_eq!(made_by_pod.supplemental_groups, [3, 4]);
        assert_eq!(made_by_pod.seccomp.unwrap().profile_type, i32::from(ProfileType::RuntimeDefault));
        let own = json!({
            "runAsUser": 7, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "procMount": "Unmasked",
            "seccompProfile": {"type": "Localhost", "localhostProfile": "deep/p.json"},
        });
        let made = made(of_pod, own);
        assert_eq!(number(made.run_as_user), Some(7));
        assert!(made.no_new_privs && made.readonly_rootfs && made.masked_paths.is_empty());
        let capabilities = made.capabilities.unwrap();
        assert_eq!(
            (&capabilities.add_capabilities[..], &capabilities.drop_capabilities[..]),
            (&["NET_ADMIN".to_owned()][..], &["ALL".to_owned()][..])
        );
        assert_eq!(made.seccomp.unwrap().localhost_ref, "/d/seccomp/deep/p.json");
    }

    #[test]
    fn namespaces_are_the_nodes_the_pods_or_the_containers() {
        let modes = |spec: Value| {
            let options = namespaces(&pod(spec));
            [options.network(), options.pid(), options.ipc()]
        };
        use NamespaceMode::{Container, Node, Pod};
        assert_eq!(modes(json!({})), [Pod, Container, Pod]);
        assert_eq!(modes(json!({"shareProcessNamespace": true})), [Pod, Pod, Pod]);
        assert_eq!(modes(json!({"hostNetwork": true, "hostPID": true, "hostIPC": true})), [Node, Node, Node]);
    }

    #[test]
    fn only_safe_sysctls_of_the_pods_own_namespaces_are_set() {
        let with = |name: &str, host_network: bool| {
            let context = json!({"sysctls": [{"name": name, "value": "1"}]});
            check_admission(&pod(json!({"securityContext": context, "hostNetwork": host_network})))
        };
        assert_eq!(with("net.ipv4.tcp_syncookies", false), Ok(()));
        assert_eq!(with("net/ipv4/ping_group_range", false), Ok(()));
        let refused = with("kernel.msgmax", false).unwrap_err();
        assert_eq!(
            (refused.reason, refused.to_string()),
            ("SysctlForbidden", "forbidden sysctl: \"kernel.msgmax\" not allowlisted".to_owned())
        );
        assert!(with("net.ipv4.tcp_syncookies", true).is_err());
        assert!(check_sandbox(&pod(json!({"hostUsers": false}))).is_err());
        let strict = json!({"securityContext": {"supplementalGroupsPolicy": "Strict"}});
        assert_eq!(check_admission(&pod(strict)).unwrap_err().reason, "SupplementalGroupsPolicyNotSupported");
        let profile = json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}});
        let containers = json!([{"name": "c", "securityContext": profile}]);
        assert_eq!(check_admission(&pod(json!({"containers": containers}))).unwrap_err().reason, "AppArmor");
    }
}
