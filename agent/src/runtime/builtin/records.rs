//! What the built-in runtime remembers of a sandbox and of a container, a file each, and where everything is.

use std::path::{Path, PathBuf};

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Paths;

/// A pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    pub(super) id: String,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) grace: Option<u64>,
    pub(super) created_at: Timestamp,
    /// Empty until the network is there, with the node's network, and after the sandbox was stopped.
    pub(super) ips: Vec<String>,
    /// The pod's own network; `None` for the node's.
    pub(super) network: Option<PathBuf>,
    /// The memory that its containers share at `/dev/shm`; `None` for the node's.
    pub(super) shared_memory: Option<PathBuf>,
    /// Nothing of it runs, and its network was given back.
    pub(super) is_stopped: bool,
}

/// What is told of a container; what it is, its specification says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) hash: String,
    pub(super) image_id: String,
    pub(super) created_at: Timestamp,
}

/// Where a sandbox's things are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    state: PathBuf,
    run: PathBuf,
}

impl Places {
    pub(super) fn new(paths: &Paths) -> Self {
        Self { state: paths.builtin_dir().join("pods"), run: paths.run_dir().join("pods") }
    }

    /// All sandboxes, a folder each.
    pub(super) fn sandboxes(&self) -> &Path {
        &self.state
    }

    /// An empty folder.
    pub(super) fn nothing(&self) -> PathBuf {
        self.state.with_file_name("empty")
    }

    /// What of all sandboxes does not outlive the machine.
    pub(super) fn run(&self) -> &Path {
        &self.run
    }

    pub(super) fn sandbox(&self, id: &str) -> PathBuf {
        self.state.join(id)
    }

    pub(super) fn sandbox_record(&self, id: &str) -> PathBuf {
        self.sandbox(id).join("sandbox.json")
    }

    pub(super) fn sandbox_run(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }

    pub(super) fn socket(&self, id: &str) -> PathBuf {
        self.sandbox_run(id).join("shim.sock")
    }

    pub(super) fn network(&self, id: &str) -> PathBuf {
        self.sandbox_run(id).join("net")
    }

    pub(super) fn shared_memory(&self, id: &str) -> PathBuf {
        self.sandbox_run(id).join("shm")
    }

    pub(super) fn launches(&self, id: &str) -> PathBuf {
        self.sandbox_run(id).join("launches")
    }

    /// A file that every container gets at the same place under `/etc`.
    pub(super) fn etc(&self, id: &str, name: &str) -> PathBuf {
        self.sandbox(id).join(name)
    }
}

/// Beside a container's specification.
pub(super) fn container_record(container: &Path) -> PathBuf {
    container.join("container.json")
}
