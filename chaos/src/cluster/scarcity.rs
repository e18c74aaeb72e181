//! What a process needs of the machine and does not get: somebody who takes its log, and numbers for files.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base::Tasks;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Cluster;

/// Little, so that a pipe that nobody reads is soon full.
const PIPE_BYTES: i32 = 4096;
/// Where a thread waits that writes into a full pipe.
const STANDS_IN: &str = "pipe_write";
/// How many files more than it has a process may open.
const FILES_LEFT: u64 = 3;

/// A log that goes through the harness's hands.
pub(super) struct LogGate {
    is_open: watch::Sender<bool>,
    tasks: Tasks,
}

impl std::fmt::Debug for LogGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogGate").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

impl LogGate {
    pub(super) fn new() -> Self {
        Self { is_open: watch::Sender::new(true), tasks: Tasks::new(CancellationToken::new()) }
    }

    /// What a process is to write to; it comes to be in the file.
    pub(super) fn before(&self, mut log: File) -> Result<OwnedFd> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
        fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).context("cannot make a pipe small")?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("cannot set up a pipe")?;
        let mut read = Receiver::from_owned_fd(read).context("cannot read from a pipe")?;
        let mut is_open = self.is_open.subscribe();
        self.tasks.spawn_infallible("log", async move {
            let mut buffer = [0; 4096];
            loop {
                if is_open.wait_for(|is_open| *is_open).await.is_err() {
                    return;
                }
                match read.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => {
                        // A log that cannot be kept is short.
                        let _short = log.write_all(&buffer[..count]);
                    }
                }
            }
        });
        Ok(write)
    }

    fn set(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }
}

impl Drop for LogGate {
    fn drop(&mut self) {
        self.tasks.stop().cancel();
    }
}

impl Cluster {
    /// From now on nobody takes the member's log, or somebody does again.
    ///
    /// # Errors
    /// When its log does not go through the harness's hands.
    pub fn take_log(&mut self, name: &str, taken: bool) -> Result<()> {
        let gate = self.member(name)?.process.gate();
        gate.with_context(|| format!("the log of {name} is a file"))?.set(taken);
        Ok(())
    }

    /// Whether a thread of the member stands still because nobody takes what it writes.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn waits_for_reader(&self, name: &str) -> Result<bool> {
        let pid = self.member(name)?.process.pid().unwrap_or_default();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let mut places = threads.filter_map(|thread| fs::read_to_string(thread.path().join("wchan")).ok());
        Ok(places.any(|place| place.contains(STANDS_IN)))
    }

    /// The member may open hardly any file more; says how many it has, and may have.
    ///
    /// # Errors
    /// When it does not run, or its limit cannot be set.
    pub fn limit_files(&mut self, name: &str) -> Result<(u64, u64)> {
        let pid = self.member(name)?.process.pid().with_context(|| format!("{name} does not run"))?;
        let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        let most = open + FILES_LEFT;
        set_files(pid, most)?;
        let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
        ensure!(line.split_whitespace().nth(3) == Some(&most.to_string()), "its limit is still {line}");
        Ok((open, most))
    }

    /// It may open as many as before.
    ///
    /// # Errors
    /// When its limit cannot be set.
    pub fn free_files(&mut self, name: &str) -> Result<()> {
        let Some(pid) = self.member(name)?.process.pid() else { return Ok(()) };
        let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
        let hard = line.split_whitespace().nth(4).and_then(|hard| hard.parse().ok());
        set_files(pid, hard.context("its limit cannot be read")?)
    }
}

fn set_files(pid: u32, most: u64) -> Result<()> {
    let done =
        Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={most}:")]).output();
    let done = done.context("cannot run prlimit")?;
    ensure!(done.status.success(), "prlimit: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
