//! From what the agent asks for and what the image says to what a container is. Pure.
//!
//! The rules are those of containerd's CRI plugin, so that a pod means the same with both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proto::cri::security_profile::ProfileType;
use proto::cri::{
    Capability, ContainerConfig, LinuxContainerSecurityContext, LinuxSandboxSecurityContext,
    MountPropagation, NamespaceMode, NamespaceOption, PodSandboxConfig,
};

use crate::container::spec::{
    BindMount, Capabilities, ContainerSpec, DeviceNode, PidNamespace, ProcessSpec, Propagation, Root,
    Seccomp, User,
};
use crate::images::StoredImage;
use crate::shim::records::ContainerDir;

/// What root in a container may do when its pod says nothing.
const CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STOP_SIGNAL: &str = "SIGTERM";

/// What a container consists of besides its configuration.
pub(super) struct Parts<'a> {
    pub(super) id: &'a str,
    pub(super) dir: &'a ContainerDir,
    pub(super) image: &'a StoredImage,
    pub(super) sandbox: &'a PodSandboxConfig,
    pub(super) cgroups: Vec<PathBuf>,
    /// The sandbox's own, each to be bound under `/etc`.
    pub(super) etc: Vec<(&'static str, PathBuf)>,
    pub(super) shared_memory: &'a Path,
    /// The node's name, which a pod on the node's network has.
    pub(super) node_name: &'a str,
}

/// # Errors
/// In words, when the container cannot be made.
pub(super) fn container(config: &ContainerConfig, parts: Parts<'_>) -> Result<ContainerSpec, String> {
    let linux = config.linux.clone().unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let resources = linux.resources.unwrap_or_default();
    let namespaces = security.namespace_options.clone().unwrap_or_default();
    let image = &parts.image.config;
    let process = ProcessSpec {
        args: args(config, parts.image)?,
        environment: environment(config, &parts),
        working_dir: working_dir(&config.working_dir, &image.working_dir),
        user: user(&security, &image.user)?,
        capabilities: capabilities(&security)?,
        no_new_privileges: security.no_new_privs,
        seccomp: seccomp(&security),
        oom_score_adj: i32::try_from(resources.oom_score_adj).unwrap_or_default(),
        tty: config.tty,
    };
    let dir = parts.dir.path();
    Ok(ContainerSpec {
        id: parts.id.to_owned(),
        root: Root {
            layers: parts.image.layers.clone(),
            upper: dir.join("upper"),
            work: dir.join("work"),
            merged: dir.join("merged"),
            readonly: security.readonly_rootfs,
        },
        mounts: mounts(config, &parts),
        devices: config
            .devices
            .iter()
            .map(|device| DeviceNode {
                source: device.host_path.clone().into(),
                target: device.container_path.clone().into(),
                permissions: device.permissions.clone(),
            })
            .collect(),
        cgroups: parts.cgroups,
        pid_namespace: pid_namespace(&namespaces),
        process,
        privileged: security.privileged,
        masked_paths: if security.privileged { Vec::new() } else { paths(&security.masked_paths) },
        readonly_paths: if security.privileged { Vec::new() } else { paths(&security.readonly_paths) },
        log: Path::new(&parts.sandbox.log_directory).join(&config.log_path),
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        stop_signal: image.stop_signal.clone().unwrap_or_else(|| STOP_SIGNAL.to_owned()),
    })
}

/// What is executed in a container: as its first process is, but for command and terminal.
pub(super) fn executed(first: &ProcessSpec, command: &[String], tty: bool) -> ProcessSpec {
    let mut process = ProcessSpec { args: command.to_vec(), tty, ..first.clone() };
    if tty && !process.environment.iter().any(|(name, _)| name == "TERM") {
        process.environment.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    process
}

/// The command of the pod replaces the image's command and arguments, its arguments replace only these.
fn args(config: &ContainerConfig, image: &StoredImage) -> Result<Vec<String>, String> {
    let command = if config.command.is_empty() { &image.config.entrypoint } else { &config.command };
    let args =
        if config.args.is_empty() && config.command.is_empty() { &image.config.cmd } else { &config.args };
    let all: Vec<String> = command.iter().chain(args).cloned().collect();
    if all.is_empty() { Err("no command specified".to_owned()) } else { Ok(all) }
}

/// The image's, then the pod's, of which the last of a name counts.
fn environment(config: &ContainerConfig, parts: &Parts<'_>) -> Vec<(String, String)> {
    let hostname = match parts.sandbox.hostname.as_str() {
        "" => parts.node_name,
        name => name,
    };
    let defaults = [("PATH", PATH), ("HOSTNAME", hostname)]
        .into_iter()
        .chain(config.tty.then_some(("TERM", "xterm")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let of_image = parts.image.config.env.iter().filter_map(|entry| {
        let (name, value) = entry.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let of_pod = config.envs.iter().map(|entry| (entry.key.clone(), entry.value.clone()));
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in defaults.chain(of_image).chain(of_pod) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => all.push((name, value)),
        }
    }
    all
}

fn working_dir(of_pod: &str, of_image: &str) -> PathBuf {
    let chosen = [of_pod, of_image, "/"].into_iter().find(|dir| !dir.is_empty()).unwrap_or("/");
    Path::new("/").join(chosen)
}

fn user(security: &LinuxContainerSecurityContext, of_image: &str) -> Result<User, String> {
    let number = |value: i64| u32::try_from(value).map_err(|_| format!("{value} is no user or group"));
    let name = match &security.run_as_user {
        Some(user) => number(user.value)?.to_string(),
        None if !security.run_as_username.is_empty() => security.run_as_username.clone(),
        None => of_image.to_owned(),
    };
    Ok(User {
        name,
        group: security.run_as_group.as_ref().map(|group| number(group.value)).transpose()?,
        supplemental_groups: security
            .supplemental_groups
            .iter()
            .map(|group| number(*group))
            .collect::<Result<_, _>>()?,
    })
}

fn capabilities(security: &LinuxContainerSecurityContext) -> Result<Capabilities, String> {
    if security.privileged {
        return Ok(Capabilities::All);
    }
    let Capability { add_capabilities, drop_capabilities } =
        security.capabilities.clone().unwrap_or_default();
    let is_all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let named = |names: &[String]| -> BTreeSet<String> {
        let names = names.iter().map(|name| name.to_ascii_uppercase()).filter(|name| name != "ALL");
        names.map(|name| if name.starts_with("CAP_") { name } else { format!("CAP_{name}") }).collect()
    };
    let (added, dropped) = (named(&add_capabilities), named(&drop_capabilities));
    if is_all(&add_capabilities) && dropped.is_empty() && !is_all(&drop_capabilities) {
        return Ok(Capabilities::All);
    }
    let mut all: BTreeSet<String> = if is_all(&add_capabilities) {
        crate::container::every_capability().collect()
    } else if is_all(&drop_capabilities) {
        BTreeSet::new()
    } else {
        CAPABILITIES.iter().map(|name| (*name).to_owned()).collect()
    };
    all.extend(added);
    Ok(Capabilities::Only(all.difference(&dropped).cloned().collect()))
}

fn seccomp(security: &LinuxContainerSecurityContext) -> Seccomp {
    if security.privileged {
        return Seccomp::Unconfined;
    }
    let profile = security.seccomp.clone().unwrap_or_default();
    match profile.profile_type() {
        ProfileType::RuntimeDefault => Seccomp::RuntimeDefault,
        ProfileType::Unconfined => Seccomp::Unconfined,
        ProfileType::Localhost => Seccomp::File(profile.localhost_ref.into()),
    }
}

fn pid_namespace(options: &NamespaceOption) -> PidNamespace {
    match options.pid() {
        NamespaceMode::Pod => PidNamespace::Pod,
        NamespaceMode::Container => PidNamespace::Own,
        NamespaceMode::Node => PidNamespace::Node,
        NamespaceMode::Target => PidNamespace::Target(options.target_id.clone()),
    }
}

/// What every container of the sandbox gets, but where the container has something of its own; then its own.
fn mounts(config: &ContainerConfig, parts: &Parts<'_>) -> Vec<BindMount> {
    let taken: BTreeSet<&Path> = config.mounts.iter().map(|mount| Path::new(&mount.container_path)).collect();
    let readonly_root = config
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref())
        .is_some_and(|security| security.readonly_rootfs);
    let bound = |target: PathBuf, source: &Path, readonly: bool| BindMount {
        source: source.to_owned(),
        target,
        readonly,
        recursive_readonly: false,
        propagation: Propagation::Private,
        is_filled: false,
    };
    let etc = parts.etc.iter().map(|(name, file)| bound(Path::new("/etc").join(name), file, readonly_root));
    let shared_memory = std::iter::once(bound("/dev/shm".into(), parts.shared_memory, false));
    let of_sandbox = etc.chain(shared_memory).filter(|mount| !taken.contains(mount.target.as_path()));
    let own = config.mounts.iter().map(|mount| BindMount {
        source: mount.host_path.clone().into(),
        target: mount.container_path.clone().into(),
        readonly: mount.readonly,
        // The agent has made the source so where it is wanted.
        recursive_readonly: false,
        propagation: match mount.propagation() {
            MountPropagation::PropagationPrivate => Propagation::Private,
            MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
            MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
        },
        is_filled: false,
    });
    let volumes = image_volumes(parts).filter(|volume| !taken.contains(volume.target.as_path()));
    let mut all: Vec<BindMount> = of_sandbox.chain(volumes).chain(own).collect();
    // What is above must not cover what is below.
    all.sort_by_key(|mount| mount.target.components().count());
    all
}

/// What the image says is no part of it: a folder for each, of this container's own, that goes with the container.
fn image_volumes(parts: &Parts<'_>) -> impl Iterator<Item = BindMount> {
    let folders = parts.dir.path().join("volumes");
    let targets = parts.image.config.volumes.iter().map(|path| Path::new("/").join(path));
    // All of it cannot be a part of it.
    let targets = targets.filter(|target| target.parent().is_some()).enumerate();
    targets.map(move |(number, target)| BindMount {
        source: folders.join(number.to_string()),
        target,
        readonly: false,
        recursive_readonly: false,
        propagation: Propagation::Private,
        is_filled: true,
    })
}

fn paths(texts: &[String]) -> Vec<PathBuf> {
    texts.iter().map(PathBuf::from).collect()
}

/// The sandbox's namespaces.
pub(super) fn namespaces(sandbox: &PodSandboxConfig) -> NamespaceOption {
    let security = sandbox.linux.as_ref().and_then(|linux| linux.security_context.clone());
    let LinuxSandboxSecurityContext { namespace_options, .. } = security.unwrap_or_default();
    namespace_options.unwrap_or_default()
}

/// The text of a sandbox's resolv.conf; the node's own when the sandbox says nothing.
pub(super) fn resolv_conf(sandbox: &PodSandboxConfig) -> Option<String> {
    let dns = sandbox.dns_config.as_ref()?;
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    Some(text)
}
