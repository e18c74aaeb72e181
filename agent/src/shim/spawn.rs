//! Starts processes in containers: this program again, which becomes what it is told.
//!
//! Nothing here forks or runs code between fork and exec: namespaces that only children enter are entered by the
//! shim for the moment of starting one, which is why it must have a single thread.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sched::{CloneFlags, setns, unshare};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::records;
use crate::container::COMMAND;
use crate::container::spec::{Launch, StartFailure};

/// What a failure to start is told in.
const FAILURE_BYTES_MAX: u64 = 64 * 1024;
/// What runs now, whatever has become of its file.
const THIS_PROGRAM: &str = "/proc/self/exe";

#[derive(Debug, Error)]
pub(super) enum SpawnError {
    #[error("cannot tell a process what to become")]
    Launch(#[source] io::Error),
    #[error("cannot enter a PID namespace")]
    Pids(#[source] nix::Error),
    #[error("cannot start a process")]
    Start(#[source] io::Error),
}

/// The PID namespace of the process to start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pids {
    /// A new one.
    Own,
    /// That of this process.
    Of(i32),
    /// The shim's.
    Node,
}

/// The standard streams of the process to start.
pub(super) struct Given {
    pub(super) stdin: Stdio,
    pub(super) stdout: Stdio,
    pub(super) stderr: Stdio,
}

pub(super) struct Spawner {
    launches: PathBuf,
    own_pids: File,
    count: AtomicU64,
}

impl Spawner {
    pub(super) fn new(launches: PathBuf) -> io::Result<Self> {
        Ok(Self { launches, own_pids: File::open("/proc/self/ns/pid")?, count: AtomicU64::new(0) })
    }

    /// The process is on its way when this returns; whether it arrives, [`Launched::outcome`] tells.
    pub(super) fn spawn(&self, launch: &Launch, pids: Pids, given: Given) -> Result<Launched, SpawnError> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let file = LaunchFile(self.launches.join(format!("launch-{number}.json")));
        records::write(&file.0, launch).map_err(SpawnError::Launch)?;
        let status = || {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&write, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok((pipe::Receiver::from_owned_fd(read)?, write))
        };
        let (status, theirs) = status().map_err(SpawnError::Launch)?;
        let mut command = Command::new(THIS_PROGRAM);
        command.arg0("navarch").arg(COMMAND).arg(&file.0).arg(theirs.as_raw_fd().to_string());
        command.env_clear().stdin(given.stdin).stdout(given.stdout).stderr(given.stderr);
        self.enter(pids)?;
        let child = command.spawn();
        if let Err(error) = setns(&self.own_pids, CloneFlags::CLONE_NEWPID) {
            // Every later container would see this one's processes.
            tracing::error!(%error, "cannot return to the node's PID namespace");
            std::process::abort();
        }
        let pid = child.map_err(SpawnError::Start)?.id();
        Ok(Launched { pid: i32::try_from(pid).unwrap_or(i32::MAX), status, _file: file })
    }

    fn enter(&self, pids: Pids) -> Result<(), SpawnError> {
        match pids {
            Pids::Own => unshare(CloneFlags::CLONE_NEWPID).map_err(SpawnError::Pids),
            Pids::Node => Ok(()),
            Pids::Of(leader) => {
                let namespace = File::open(format!("/proc/{leader}/ns/pid")).map_err(SpawnError::Start)?;
                setns(namespace, CloneFlags::CLONE_NEWPID).map_err(SpawnError::Pids)
            }
        }
    }
}

/// Removed when the process that reads it has.
struct LaunchFile(PathBuf);

impl Drop for LaunchFile {
    fn drop(&mut self) {
        // The whole folder goes with the pod.
        let _left = std::fs::remove_file(Path::new(&self.0));
    }
}

pub(super) struct Launched {
    pub(super) pid: i32,
    status: pipe::Receiver,
    _file: LaunchFile,
}

impl Launched {
    /// Waits until the process has become what it should.
    pub(super) async fn outcome(self) -> Result<(), StartFailure> {
        let mut told = Vec::new();
        let read = self.status.take(FAILURE_BYTES_MAX).read_to_end(&mut told).await;
        if let Err(error) = read {
            return Err(StartFailure {
                code: 128,
                message: format!("cannot learn whether it started: {error}"),
            });
        }
        if told.is_empty() {
            return Ok(());
        }
        let failure: Result<StartFailure, _> = serde_json::from_slice(&told);
        let (code, why) = match failure {
            Ok(StartFailure { code, message }) => (code, message),
            Err(_) => (128, String::from_utf8_lossy(&told).into_owned()),
        };
        // runc's words, which people look for.
        Err(StartFailure { code, message: format!("unable to start container process: {why}") })
    }
}
