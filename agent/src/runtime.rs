//! What the agent asks of a container runtime, and what it reads back.
//!
//! The runtime is the only memory of what runs: a restarted agent knows nothing but what [`Runtime::observe`]
//! tells it. Configurations are the container runtime interface's own messages; observations are ours.

pub(crate) mod builtin;
pub mod cri;
pub mod hollow;
pub(crate) mod measured;
mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use bytes::Bytes;
use proto::cri::{AuthConfig, ContainerConfig, LinuxContainerResources, PodSandboxConfig};
use thiserror::Error;

pub use session::{Ending, Output, PIECES_WAITING_MAX, Session, Streams, TerminalSize};

/// Labels on everything that an agent starts, Kubernetes' own names.
pub const LABEL_POD_NAME: &str = "io.kubernetes.pod.name";
pub const LABEL_POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const LABEL_POD_UID: &str = "io.kubernetes.pod.uid";
pub const LABEL_CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// The digest of the container's specification, to see a change after a restart of the agent.
pub const ANNOTATION_HASH: &str = "io.kubernetes.container.hash";
/// Seconds of grace, to stop a pod whose specification is gone as gently as it wished.
pub const ANNOTATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// What a process exits with that SIGKILL has ended.
pub(crate) const EXIT_KILLED: i32 = 137;

/// A container runtime. Every call is idempotent where Kubernetes says so: stopping or removing what is
/// gone succeeds. Dropping a call's future is safe: what it did is seen by the next `observe`.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// What `containerID` starts with in a pod's status: `containerd`.
    fn name(&self) -> &'static str;

    /// Everything that exists, or everything of one pod.
    async fn observe(&self, which: Which<'_>) -> Result<BTreeMap<String, PodRuntime>, RuntimeError>;

    async fn run_sandbox(&self, config: PodSandboxConfig) -> Result<String, RuntimeError>;
    /// Kills what still runs in it and gives its address back.
    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError>;

    async fn create_container(&self, request: NewContainer) -> Result<String, RuntimeError>;
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// SIGTERM, then SIGKILL after `grace`. Returns when the container has exited.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError>;
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError>;
    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, RuntimeError>;

    /// Has the container's log written to a new file: the one at its path was renamed.
    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError>;

    /// A new process in a container, with the streams that are wanted.
    async fn open_exec(
        &self,
        id: &str,
        command: &[String],
        streams: Streams,
    ) -> Result<Session, RuntimeError>;
    /// The streams of a container's own process. Others may be attached to it, too.
    async fn open_attach(&self, id: &str, streams: Streams) -> Result<Session, RuntimeError>;
    /// The file that stands for a sandbox's network; none when it is in the node's.
    async fn network_namespace(&self, sandbox_id: &str) -> Result<Option<PathBuf>, RuntimeError>;

    /// The image under this name, if the node has it.
    async fn image(&self, name: &str) -> Result<Option<ImageInfo>, RuntimeError>;
    /// Every image of the node.
    async fn images(&self) -> Result<Vec<NamedImage>, RuntimeError>;
    async fn pull(&self, name: &str, auth: Option<AuthConfig>) -> Result<(), RuntimeError>;
    /// All names of the image with this id.
    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError>;
    /// Why images cannot be volumes here, and what to do about it; `None` where they can.
    fn refuses_image_volumes(&self) -> Option<String>;
    /// Shows the files of an image that is present at a folder of the node, made if it is missing. They can be neither
    /// written nor executed. The image stays until nothing is mounted there.
    async fn mount_image(&self, name: &str, target: &Path) -> Result<(), RuntimeError>;

    /// What every container uses, by id.
    async fn usage(&self) -> Result<BTreeMap<String, ContainerUsage>, RuntimeError>;
    /// Gives a running container other limits.
    async fn update_resources(
        &self,
        id: &str,
        resources: LinuxContainerResources,
    ) -> Result<(), RuntimeError>;
}

/// Which pods to observe.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    All,
    /// The pod with this uid.
    Pod(&'a str),
}

/// A container to create in a sandbox.
#[derive(Clone, Debug)]
pub struct NewContainer {
    pub sandbox_id: String,
    pub config: ContainerConfig,
    /// What the sandbox was made with.
    pub sandbox: PodSandboxConfig,
}

/// What the runtime knows of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRuntime {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// Seconds, as noted when the pod was started.
    pub grace: Option<u64>,
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub containers: Vec<Container>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created_at: Timestamp,
    /// Empty with the node's network, and after the sandbox has stopped.
    pub ips: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub sandbox_id: String,
    pub name: String,
    /// 0 for the first run, then 1, 2, …: the restart count.
    pub attempt: u32,
    pub hash: String,
    /// What names the image's content, as `imageID` shows it.
    pub image_id: String,
    pub created_at: Timestamp,
    pub state: ContainerState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    /// Its start was broken off: it cannot be started any more. The runtime shows it as ended; who asked it to start
    /// the container knows.
    Aborted,
    Running {
        started_at: Timestamp,
    },
    Exited(Exit),
    /// The runtime lost sight of it.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    /// `None` when the container never started.
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` …
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    pub id: String,
    /// The user that the image asks for; `None` when it gives a name, or nothing.
    pub uid: Option<i64>,
    pub username: String,
    pub size: u64,
}

/// An image as the node's status lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedImage {
    pub id: String,
    pub names: Vec<String>,
    pub size: u64,
}

/// What one container uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// CPU time since it was started.
    pub cpu_nanos: u64,
    /// Its working set: what the kernel could not take back at once.
    pub memory_bytes: u64,
    /// What it has written over its image.
    pub layer_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutcome {
    pub code: i32,
    pub stdout: Bytes,
    pub stderr: Bytes,
}

impl ExecOutcome {
    /// Both streams, as an event's message shows them.
    pub fn text(&self) -> String {
        let mut all = String::from_utf8_lossy(&self.stdout).into_owned();
        all.push_str(&String::from_utf8_lossy(&self.stderr));
        all
    }
}

#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The runtime answered that it could not; the text is all that it tells.
    #[error("{message}")]
    Refused { message: String },
    #[error("the container runtime does not answer")]
    Unreachable { message: String },
    #[error("the command did not end within {} s", .0.as_secs())]
    ExecTimeout(Duration),
}

impl PodRuntime {
    /// The sandbox in use: the newest.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest run of the container of this name.
    pub fn newest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// True when a process of this pod may still run.
    pub fn is_running(&self) -> bool {
        self.sandboxes.iter().any(|sandbox| sandbox.ready)
            || self.containers.iter().any(|container| container.may_run())
    }

    /// True when the runtime holds nothing of it, running or not.
    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    /// Newest first, by attempt and, for equal ones, by age.
    pub fn sort(&mut self) {
        self.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.attempt)));
        self.containers.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.attempt)));
    }
}

impl ContainerState {
    /// Ended, and never started.
    pub fn is_without_begin(&self) -> bool {
        matches!(self, Self::Exited(Exit { started_at: None, .. }))
    }
}

impl Container {
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    /// Running, or not known to have ended.
    pub fn may_run(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. } | ContainerState::Unknown)
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            ContainerState::Created
            | ContainerState::Aborted
            | ContainerState::Running { .. }
            | ContainerState::Unknown => None,
        }
    }
}
