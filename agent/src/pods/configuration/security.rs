//! Security contexts: the pod's and the container's merged, the container's winning.

use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, Pod, PodSecurityContext, SeccompProfile, SecurityContext,
};
use proto::cri::security_profile::ProfileType;
use proto::cri::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, SecurityProfile,
};

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

/// `target`: the id of the container whose processes it is to see.
pub(super) fn container(
    pod: &Pod,
    spec: &ContainerSpec,
    target: Option<String>,
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
        seccomp: Some(seccomp(own.seccomp_profile.as_ref().or(pod_context.seccomp_profile.as_ref()))),
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
fn seccomp(profile: Option<&SeccompProfile>) -> SecurityProfile {
    let profile_type = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Localhost") => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    SecurityProfile {
        profile_type: profile_type.into(),
        localhost_ref: profile.and_then(|profile| profile.localhost_profile.clone()).unwrap_or_default(),
    }
}
