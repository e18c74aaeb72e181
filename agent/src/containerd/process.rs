//! The daemon as a process: spawn in its own group, find an earlier one by its pid file, signal, wait.
//!
//! A pid file alone proves nothing, pids are used again: the process must name our configuration file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::{ContainerdError, config};
use crate::config::Paths;

/// Where programs are looked for besides PATH: what the system's own packages use.
const PROGRAM_DIRS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const GONE_POLL: Duration = Duration::from_millis(50);

pub(super) struct Daemon {
    pid: i32,
    /// Absent for an adopted one.
    child: Option<Child>,
    config: PathBuf,
}

/// The full path of a program.
pub(super) fn require(program: &'static str, package: &'static str) -> Result<PathBuf, ContainerdError> {
    find_program(program).ok_or(ContainerdError::Missing { program, package })
}

pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.exists())
}

/// Ends the shims of a daemon that is gone: they wait for it for ever. True when there was one.
pub(super) fn kill_shims(socket: &Path) -> bool {
    let socket = socket.as_os_str().as_encoded_bytes();
    let mut found = false;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(command) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let mut arguments = command.split(|byte| *byte == 0);
        let is_shim = arguments
            .next()
            .is_some_and(|program| String::from_utf8_lossy(program).contains("containerd-shim"));
        if is_shim && arguments.any(|argument| argument == socket) {
            // An error means that it has ended meanwhile.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            found = true;
        }
    }
    found
}

impl Daemon {
    pub(super) fn spawn(paths: &Paths) -> Result<Self, ContainerdError> {
        let program = require("containerd", "containerd")?;
        let log_path = config::log_path(paths);
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&log_path);
        let log = log.map_err(|source| ContainerdError::Write { path: log_path.clone(), source })?;
        let errors = log.try_clone().map_err(ContainerdError::Start)?;
        let config = config::config_path(paths);
        let child = Command::new(program)
            .arg("--config")
            .arg(&config)
            // containerd looks for runc and its shim there.
            .env("PATH", PROGRAM_DIRS.join(":"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Its own group: neither Ctrl-C nor the agent's death reaches it.
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(ContainerdError::Start)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let path = config::pid_path(paths);
        std::fs::write(&path, format!("{pid}\n"))
            .map_err(|source| ContainerdError::Write { path, source })?;
        Ok(Self { pid, child: Some(child), config })
    }

    /// The daemon that an earlier agent has left running with this configuration.
    pub(super) fn adopt(paths: &Paths) -> Option<Self> {
        let text = std::fs::read_to_string(config::pid_path(paths)).ok()?;
        let daemon = Self { pid: text.trim().parse().ok()?, child: None, config: config::config_path(paths) };
        daemon.is_ours().then_some(daemon)
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn is_alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => self.is_ours(),
        }
    }

    /// Returns when it has ended. Cancel safe.
    pub(super) async fn ended(&mut self, poll: Duration) {
        match &mut self.child {
            Some(child) => {
                // An error means that there is nothing to wait for.
                let _status = child.wait().await;
            }
            None => {
                while self.is_ours() {
                    tokio::time::sleep(poll).await;
                }
            }
        }
    }

    /// SIGTERM, and SIGKILL when it has not ended in time.
    pub(super) async fn stop(&mut self, timeout: Duration) {
        if !self.is_alive() {
            return;
        }
        // An error means that it has ended meanwhile.
        let _gone = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        if tokio::time::timeout(timeout, self.ended(GONE_POLL)).await.is_err() {
            let _gone = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
            self.ended(GONE_POLL).await;
        }
    }

    fn is_ours(&self) -> bool {
        let proc = Path::new("/proc").join(self.pid.to_string());
        let Ok(command) = std::fs::read(proc.join("cmdline")) else { return false };
        let config = self.config.as_os_str().as_encoded_bytes();
        command.split(|byte| *byte == 0).any(|argument| argument == config)
    }
}
