//! One server process: started where it belongs, signalled, waited for, and never left behind.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base::OwnThread;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::kernel;
use super::namespace::NetworkNamespace;
use super::scarcity::LogGate;

/// How often a process that is to change is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a signal may take to be felt.
const SIGNAL_MAX: Duration = Duration::from_secs(10);

/// A process and its log. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    log: PathBuf,
    /// What its log goes through, if not into the file at once.
    gate: Option<LogGate>,
    child: Option<Child>,
}

impl Process {
    /// Of nobody yet.
    pub(super) fn new(name: &str, log: PathBuf) -> Self {
        Self { name: name.to_owned(), log, gate: None, child: None }
    }

    /// The same, with a log that can be held up.
    pub(super) fn gated(name: &str, log: PathBuf) -> Self {
        let mut process = Self::new(name, log);
        process.gate = Some(LogGate::new());
        process
    }

    pub(super) const fn gate(&self) -> Option<&LogGate> {
        self.gate.as_ref()
    }

    /// Starts it in a network namespace and on `nursery`: it is killed when that thread ends, and so when this process
    /// does, however that comes.
    pub(super) async fn start(
        &mut self,
        mut command: Command,
        namespace: &NetworkNamespace,
        nursery: &OwnThread,
    ) -> Result<()> {
        if self.exit_status()?.is_none() && self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot open {}", self.log.display()))?;
        let log = match &self.gate {
            Some(gate) => gate.before(log)?,
            None => log.into(),
        };
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        kernel::confine(&mut command, namespace.as_fd().try_clone_to_owned()?);
        let child = nursery.run(async move { command.spawn() }).await;
        self.child = Some(child.with_context(|| format!("cannot start {}", self.name))?);
        Ok(())
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, once it has; nothing while it runs, and of one that was never started or was waited for.
    pub(super) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        child.try_wait().with_context(|| format!("cannot look after {}", self.name))
    }

    /// Whether it was started, is not a zombie and not waited for.
    pub(super) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.is_some() && self.exit_status()?.is_none())
    }

    /// Sends a signal that is to end it, and waits for its end.
    pub(super) async fn end_by(&mut self, signal: Signal, within: Duration) -> Result<ExitStatus> {
        self.send(signal)?;
        self.ended(within).await
    }

    /// Waits for its end, whoever brings it about.
    pub(super) async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exit_status()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} has not ended within {within:?}", self.name);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Stops it as a terminal's Ctrl-Z does, and waits until every thread of it stands still.
    pub(super) async fn pause(&mut self) -> Result<()> {
        self.send(Signal::SIGSTOP)?;
        self.until_threads(|state| state == 'T').await
    }

    /// Nothing of it is heard from now on. What it asked of the kernel before goes on.
    pub(super) fn hush(&mut self) -> Result<()> {
        self.send(Signal::SIGSTOP)
    }

    pub(super) async fn resume(&mut self) -> Result<()> {
        self.send(Signal::SIGCONT)?;
        self.until_threads(|state| state != 'T').await
    }

    fn send(&mut self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else { bail!("{} does not run", self.name) };
        kill(Pid::from_raw(child.id().cast_signed()), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    async fn until_threads(&mut self, are: impl Fn(char) -> bool) -> Result<()> {
        let deadline = Instant::now() + SIGNAL_MAX;
        loop {
            if let Some(status) = self.exit_status()? {
                bail!("{} has ended: {}", self.name, how_it_ended(status));
            }
            if thread_states(self.pid().unwrap_or_default()).into_iter().all(&are) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} does not heed its signal", self.name);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The last lines of its log.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// `killed by SIGKILL`, `exit code 1`.
pub(super) fn how_it_ended(status: ExitStatus) -> String {
    let signal = status.signal().and_then(|signal| Signal::try_from(signal).ok());
    match (signal, status.code()) {
        (Some(signal), _) => format!("killed by {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

/// The state of each thread, as `/proc` has it: `R`, `S`, `T` …
fn thread_states(pid: u32) -> Vec<char> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    stats.filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}
