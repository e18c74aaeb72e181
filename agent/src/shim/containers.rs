//! The containers of one pod: how each is started, ended and told of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Clock, Tasks, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::exits::Exits;
use super::output::{Outlet, Stream};
use super::protocol::Answer;
use super::records::{self, ContainerDir, Ended, Started};
use super::spawn::{Pids, Spawner};
use super::stdio::{self, Ours, Sink, Terminal};
use crate::cgroups::ContainerCgroup;
use crate::container::spec::{ContainerSpec, Launch, PidNamespace, StartFailure};
use crate::runtime::Streams;

/// Output may be held open by a process that has left the container: it is not waited for longer.
const LAST_OUTPUT: Duration = Duration::from_secs(10);
/// What a container that could not be started exits with.
const NOT_STARTED: i32 = 128;

/// What all containers of the pod share.
pub(super) struct Containers {
    pub(super) dir: PathBuf,
    pub(super) spawner: Spawner,
    pub(super) exits: Arc<Exits>,
    /// The first process of the PID namespace that they share, if they do.
    pub(super) reaper: Option<i32>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Tasks,
    pub(super) runs: Mutex<BTreeMap<String, Arc<Run>>>,
    /// Those that were asked to start: each is started once, whoever asks again.
    pub(super) asked: Mutex<BTreeSet<String>>,
}

/// A container that was started.
pub(super) struct Run {
    pub(super) spec: ContainerSpec,
    pub(super) pid: i32,
    pub(super) outlet: Arc<Outlet>,
    /// `None` when it was closed; out while a session writes to it.
    pub(super) stdin: Mutex<Option<Sink>>,
    pub(super) terminal: Option<Terminal>,
    /// True once it has ended, all its output is logged, and its end is on disk.
    ended: watch::Receiver<bool>,
}

impl Run {
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    pub(super) async fn wait(&self) {
        let mut ended = self.ended.clone();
        // The sender sets it before it goes.
        let _gone = ended.wait_for(|ended| *ended).await;
    }
}

impl Containers {
    pub(super) fn run(&self, id: &str) -> Option<Arc<Run>> {
        self.lock().get(id).cloned()
    }

    /// The run, if it goes on.
    pub(super) fn running(&self, id: &str) -> Result<Arc<Run>, Answer> {
        let run = self.run(id).filter(|run| !run.has_ended());
        run.ok_or_else(|| Answer::Refused(format!("container {id} is not running")))
    }

    pub(super) async fn start(&self, id: &str) -> Answer {
        if !self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned()) {
            return Answer::Refused(format!("container {id} was started before"));
        }
        let dir = ContainerDir::new(&self.dir, id);
        let spec: ContainerSpec = match records::read(&dir.spec()) {
            Ok(spec) => spec,
            Err(error) => return Answer::Refused(format!("cannot read what container {id} is: {error}")),
        };
        let started_at = self.clock.now();
        match self.launch(spec, &dir, started_at).await {
            Ok(()) => Answer::Done,
            Err(failure) => {
                let ended = Ended {
                    code: NOT_STARTED,
                    started_at: None,
                    finished_at: self.clock.now(),
                    reason: "StartError".to_owned(),
                    message: failure.message.clone(),
                };
                if let Err(error) = records::write(&dir.ended(), &ended) {
                    tracing::error!(%error, %id, "cannot note how a container ended");
                }
                Answer::NotStarted(failure)
            }
        }
    }

    async fn launch(
        &self,
        spec: ContainerSpec,
        dir: &ContainerDir,
        now: Timestamp,
    ) -> Result<(), StartFailure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| StartFailure {
            code: NOT_STARTED,
            message: format!("{what}: {error}"),
        };
        let streams =
            Streams { stdin: spec.stdin, stdout: true, stderr: !spec.process.tty, tty: spec.process.tty };
        let outlet = Outlet::open(spec.log.clone(), self.clock.clone())
            .map_err(|error| failed("cannot open the container's log", &error))?;
        let (given, ours) =
            stdio::open(streams).map_err(|error| failed("cannot make the container's streams", &error))?;
        let pids = self.pids(&spec)?;
        let launch = Launch::Container(Box::new(spec.clone()));
        let launched = self.spawner.spawn(&launch, pids, given);
        let launched = launched.map_err(|error| failed(&crate::causes::in_full(&error), &"not started"))?;
        let pid = launched.pid;
        let exit = self.exits.of(pid);
        launched.outcome().await?;
        let ours = ours.arrived().map_err(|error| {
            // It runs, and nobody can ever reach it.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            failed("cannot take the container's terminal over", &error)
        })?;
        records::write(&dir.started(), &Started { pid, at: now })
            .map_err(|error| failed("cannot note that the container was started", &error))?;
        let (told, ended) = watch::channel(false);
        let Ours { stdin, stdout, stderr, terminal, .. } = ours;
        let run = Run { spec, pid, outlet, stdin: Mutex::new(stdin), terminal, ended };
        let run = Arc::new(run);
        self.lock().insert(run.spec.id.clone(), run.clone());
        let (dir, clock) = (dir.clone(), self.clock.clone());
        self.tasks.spawn_infallible("container", async move {
            let drained = async {
                let outlet = &run.outlet;
                let drain = async |source, stream| {
                    if let Some(source) = source {
                        outlet.drain(source, stream).await;
                    }
                };
                tokio::join!(drain(stdout, Stream::Stdout), drain(stderr, Stream::Stderr));
            };
            let ended = follow(&run.spec, exit, drained, now, clock.as_ref()).await;
            if let Err(error) = records::write(&dir.ended(), &ended) {
                tracing::error!(%error, id = %run.spec.id, "cannot note how a container ended");
            }
            run.outlet.close();
            told.send_replace(true);
        });
        Ok(())
    }

    fn pids(&self, spec: &ContainerSpec) -> Result<Pids, StartFailure> {
        let missing = |what: &str| StartFailure { code: NOT_STARTED, message: what.to_owned() };
        Ok(match &spec.pid_namespace {
            PidNamespace::Own => Pids::Own,
            PidNamespace::Node => Pids::Node,
            PidNamespace::Pod => Pids::Of(self.reaper.ok_or_else(|| missing("the pod shares no processes"))?),
            PidNamespace::Target(id) => {
                let target =
                    self.running(id).map_err(|_| missing("the container to look into is not running"))?;
                Pids::Of(target.pid)
            }
        })
    }

    /// Asks it to end, then makes it.
    pub(super) async fn stop(&self, id: &str, grace: Duration) -> Answer {
        let Some(run) = self.run(id) else { return Answer::Done };
        let asked: Signal = run.spec.stop_signal.parse().unwrap_or(Signal::SIGTERM);
        self.signal(&run, asked);
        if !grace.is_zero() && timeout(grace, run.wait()).await.is_ok() {
            return Answer::Done;
        }
        self.kill(&run).await;
        run.wait().await;
        Answer::Done
    }

    pub(super) async fn stop_all(&self) {
        let runs: Vec<Arc<Run>> = self.lock().values().cloned().collect();
        futures::future::join_all(runs.iter().map(|run| self.kill(run))).await;
        for run in &runs {
            run.wait().await;
        }
    }

    async fn kill(&self, run: &Run) {
        self.signal(run, Signal::SIGKILL);
        // A shim that waits for a process that cannot be killed is of more use than one that does not.
        let _all = ContainerCgroup::of(&run.spec.cgroups).kill().await;
    }

    fn signal(&self, run: &Run, signal: Signal) {
        if self.exits.is_awaited(run.pid)
            && let Err(error) = kill(Pid::from_raw(run.pid), signal)
        {
            tracing::debug!(%error, id = %run.spec.id, %signal, "cannot signal a container");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From the start of a container to the end of all that it has left.
async fn follow(
    spec: &ContainerSpec,
    exit: oneshot::Receiver<i32>,
    drained: impl Future<Output = ()>,
    started_at: Timestamp,
    clock: &dyn Clock,
) -> Ended {
    let cgroup = ContainerCgroup::of(&spec.cgroups);
    let mut drained = std::pin::pin!(drained);
    let mut exit = std::pin::pin!(exit);
    let mut is_drained = false;
    let code = loop {
        tokio::select! {
            biased;
            code = &mut exit => break code.unwrap_or(NOT_STARTED),
            () = &mut drained, if !is_drained => is_drained = true,
        }
    };
    let finished_at = clock.now();
    // Only the kernel ends the rest, and only with a PID namespace of the container's own.
    let _all = cgroup.kill().await;
    if !is_drained && timeout(LAST_OUTPUT, drained).await.is_err() {
        tracing::warn!(id = %spec.id, "a container's output is still open after its end");
    }
    let reason = match code {
        0 => "Completed",
        _ if cgroup.oom_kills() > 0 => "OOMKilled",
        _ => "Error",
    };
    Ended {
        code,
        started_at: Some(started_at),
        finished_at,
        reason: reason.to_owned(),
        message: String::new(),
    }
}

/// The folder of what processes are told when they start.
pub(super) fn make_launches(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
