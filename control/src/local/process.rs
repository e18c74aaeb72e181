//! The processes of a cluster: started in sessions of their own, found again by their pid files.
//!
//! A pid alone proves nothing, it may have been given to somebody else: a process is ours only if its
//! command line names its configuration file in our folder.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::layout::Layout;

/// How often a process that should end is looked at: a pid of a stranger cannot be waited for.
const EXIT_LOOK: Duration = Duration::from_millis(20);

/// How often a process that was just started is looked at, until its program is loaded.
const EXEC_LOOK: Duration = Duration::from_millis(1);

/// One process of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    dir: PathBuf,
}

impl Process {
    pub(crate) fn of(layout: &Layout, name: &str) -> Self {
        Self { name: name.to_owned(), dir: layout.process_dir(name) }
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.join("config.yaml")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Starts `navarch COMMAND --config <its file>`, unless it runs. Its output goes to its log.
    pub(crate) fn start(&self, command: &str) -> Result<()> {
        if self.pid().is_some() {
            return Ok(());
        }
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let open = || fs::OpenOptions::new().create(true).append(true).open(self.log_file());
        let log = open().with_context(|| format!("cannot open {}", self.log_file().display()))?;
        let log_too = log.try_clone().context("cannot share the log")?;
        let mut child = Command::new(program)
            .arg(command)
            .arg("--config")
            .arg(self.config_file())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            // A group of its own: the terminal's Ctrl-C is for `up`, which stops the others in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        fs::write(self.pid_file(), child.id().to_string())
            .with_context(|| format!("cannot write {}", self.pid_file().display()))?;
        // `spawn` returns while the kernel still loads the program: its command line is empty for a moment.
        while self.pid().is_none() {
            if child.try_wait().context("cannot look after a process")?.is_some() {
                bail!(
                    "{} stopped at once; the end of {}:\n{}",
                    self.name,
                    self.log_file().display(),
                    self.last_words()
                );
            }
            std::thread::sleep(EXEC_LOOK);
        }
        Ok(())
    }

    /// The pid, if the process runs and is ours. A zombie does not run.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let config = self.config_file();
        let ours =
            command_line.split(|byte| *byte == 0).any(|part| part == config.as_os_str().as_encoded_bytes());
        ours.then(|| Pid::from_raw(pid))
    }

    /// Whether `up` started it and nobody stopped it on purpose since.
    pub(crate) fn was_started(&self) -> bool {
        self.pid_file().exists()
    }

    /// Asks it to stop, waits, and kills it when the grace is over.
    pub(crate) async fn stop(&self, grace: Duration) -> Result<()> {
        if let Some(pid) = self.pid() {
            self.send(pid, Signal::SIGTERM)?;
            // A stopped process cannot hear SIGTERM.
            self.send(pid, Signal::SIGCONT)?;
            if !self.ends_within(grace).await {
                self.send(pid, Signal::SIGKILL)?;
                self.ends_within(grace).await;
            }
        }
        match fs::remove_file(self.pid_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.pid_file().display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The last lines of its log, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    fn send(&self, pid: Pid, signal: Signal) -> Result<()> {
        match kill(pid, signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot send {signal} to {}", self.name)),
        }
    }

    async fn ends_within(&self, grace: Duration) -> bool {
        tokio::time::timeout(grace, async {
            while self.pid().is_some() {
                reap_children();
                tokio::time::sleep(EXIT_LOOK).await;
            }
        })
        .await
        .is_ok()
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }
}

/// Collects children that ended, so that they do not look alive.
pub(crate) fn reap_children() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
