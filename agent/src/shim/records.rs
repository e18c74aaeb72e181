//! What is kept on disk of a pod of the built-in runtime: written once each, read by whoever comes next.
//!
//! `<pod>/shim.json` and `<pod>/<container>/spec.json` by the agent, before the shim is asked for anything;
//! `started.json` and `ended.json` beside the specification by the shim.

use std::io;
use std::path::{Path, PathBuf};

use base::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a shim has to make and to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// The pod's network; the node's when absent.
    pub(crate) network: Option<PathBuf>,
    /// A name of the pod's own; the node's when absent.
    pub(crate) hostname: Option<String>,
    /// Whether the pod has System V objects and message queues of its own.
    pub(crate) own_ipc: bool,
    /// Whether all containers are to see one another's processes.
    pub(crate) shared_pids: bool,
    /// By their names under `/proc/sys`, with dots or slashes.
    pub(crate) sysctls: Vec<(String, String)>,
    /// Where it keeps what the processes that it starts are told.
    pub(crate) launches: PathBuf,
}

/// A container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) pid: i32,
    pub(crate) at: Timestamp,
}

/// How a container's run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// `None` when it never started.
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// A process, told from a later one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    pid: i32,
    /// In clock ticks since the machine has started.
    started: u64,
}

impl ProcessIdentity {
    /// `None` when there is no such process, or only what is left of it.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name in parentheses, which may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let state = fields.first()?;
        if matches!(*state, "Z" | "X") {
            return None;
        }
        Some(Self { pid, started: fields.get(19)?.parse().ok()? })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    pub(crate) fn pid(self) -> i32 {
        self.pid
    }
}

/// The folder of one container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerDir(PathBuf);

impl ContainerDir {
    pub(crate) fn new(pod: &Path, id: &str) -> Self {
        Self(pod.join(id))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    pub(crate) fn started(&self) -> PathBuf {
        self.0.join("started.json")
    }

    pub(crate) fn ended(&self) -> PathBuf {
        self.0.join("ended.json")
    }
}

pub(crate) fn shim_config(pod: &Path) -> PathBuf {
    pod.join("shim.json")
}

/// Which process the shim is, by itself.
pub(crate) fn shim_identity(pod: &Path) -> PathBuf {
    pod.join("shim-process.json")
}

/// What a shim says that nobody listens to.
pub(crate) fn shim_log(pod: &Path) -> PathBuf {
    pod.join("shim.log")
}

/// Whole or not at all, whoever is killed meanwhile. Not made durable: a machine that loses its power has lost
/// the processes that these are about, too.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(path: &Path, what: &impl Serialize) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    std::fs::write(&unfinished, serde_json::to_vec(what)?)?;
    std::fs::rename(&unfinished, path)
}

/// # Errors
/// When it is not there, or is no such record.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = ProcessIdentity::of(pid).unwrap();
        assert!(identity.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!identity.is_alive());
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!ProcessIdentity { pid: own, started: 0 }.is_alive());
    }
}
