//! What a container of the built-in runtime is, in full: everything is decided, nothing is looked up but names in
//! the container's own files. Written by the agent, read by the pod's shim and by the process that becomes the
//! container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerSpec {
    pub(crate) id: String,
    pub(crate) root: Root,
    /// Bound in this order, over what every container gets at `/proc`, `/dev` and `/sys`.
    pub(crate) mounts: Vec<BindMount>,
    pub(crate) devices: Vec<DeviceNode>,
    /// The container's own cgroup, one folder per hierarchy, existing.
    pub(crate) cgroups: Vec<PathBuf>,
    pub(crate) pid_namespace: PidNamespace,
    pub(crate) process: ProcessSpec,
    /// Everything is visible and writable: no masks, `/sys` and cgroups writable, all devices of the node.
    pub(crate) privileged: bool,
    /// Hidden; a path that does not exist is skipped.
    pub(crate) masked_paths: Vec<PathBuf>,
    pub(crate) readonly_paths: Vec<PathBuf>,
    /// Where what it writes is logged, in the format of the container runtime interface.
    pub(crate) log: PathBuf,
    /// Its input is open; otherwise it is at its end from the start.
    pub(crate) stdin: bool,
    /// Its input ends with the first session that is attached to it.
    pub(crate) stdin_once: bool,
    /// What asks it to end.
    pub(crate) stop_signal: String,
}

/// An overlay of the image's layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Root {
    /// Topmost first.
    pub(crate) layers: Vec<PathBuf>,
    /// What the container writes.
    pub(crate) upper: PathBuf,
    /// The overlay's own, beside `upper` on its file system.
    pub(crate) work: PathBuf,
    /// Where it is mounted, in the container's own mount namespace only.
    pub(crate) merged: PathBuf,
    pub(crate) readonly: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BindMount {
    /// On the node; it exists.
    pub(crate) source: PathBuf,
    /// In the container; made where the image lacks it, as a file or folder like its source.
    pub(crate) target: PathBuf,
    pub(crate) readonly: bool,
    /// Also what is mounted below it.
    pub(crate) recursive_readonly: bool,
    pub(crate) propagation: Propagation,
    /// The source is an empty folder, which first gets what the image has at the target.
    #[serde(default)]
    pub(crate) is_filled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Propagation {
    Private,
    HostToContainer,
    Bidirectional,
}

/// A device of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceNode {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    /// Some of `r`, `w` and `m`.
    pub(crate) permissions: String,
}

/// Whose processes it sees. The shim sees to it: only children of whoever enters are in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PidNamespace {
    Own,
    /// One for all containers of the pod.
    Pod,
    Node,
    /// That of the container with this id.
    Target(String),
}

/// A process in a container: its first, or one that is executed beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    /// Not empty. The first is searched in the `PATH` of `environment`.
    pub(crate) args: Vec<String>,
    /// `HOME` is added from the container's `/etc/passwd` when it is missing.
    pub(crate) environment: Vec<(String, String)>,
    /// Made where it is missing, for a container's first process.
    pub(crate) working_dir: PathBuf,
    pub(crate) user: User,
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Seccomp,
    /// Clamped to what the agent itself has, where it may not go lower.
    pub(crate) oom_score_adj: i32,
    /// Its standard streams are a terminal of its own; it is started with a socket as its standard input, over which
    /// it hands the terminal's other end.
    pub(crate) tty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// As an image names it: `user`, `uid`, `user:group`, `uid:gid`; empty is root. Names are looked up in the
    /// container's `/etc/passwd` and `/etc/group`.
    pub(crate) name: String,
    /// Instead of the group that follows from `name`.
    pub(crate) group: Option<u32>,
    /// Besides those that the container's `/etc/group` puts the user in.
    pub(crate) supplemental_groups: Vec<u32>,
}

/// By their names, like `CAP_NET_ADMIN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Capabilities {
    /// What the agent has.
    All,
    /// These, for root; for others only as far as files give them.
    Only(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Seccomp {
    Unconfined,
    /// The calls that container runtimes allow, given the capabilities.
    RuntimeDefault,
    /// A profile in the JSON format of container runtimes.
    File(PathBuf),
}

/// What a `container-process` is to become, read from a file that it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Launch {
    /// The first process of a container.
    Container(Box<ContainerSpec>),
    /// Another process in a container.
    Exec {
        container: Box<ContainerSpec>,
        /// The container's first process, as the shim sees it.
        leader: i32,
        process: Box<ProcessSpec>,
    },
    /// The first process of a PID namespace that all containers of a pod share: it reaps what they orphan.
    Reaper,
}

/// Why a process did not start, told on the descriptor for that; nothing is told by one that has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartFailure {
    /// What it would exit with: 127 when the command was not found, 126 when it is no program, else 128.
    pub(crate) code: i32,
    pub(crate) message: String,
}
