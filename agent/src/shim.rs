//! The shim of one pod of the built-in runtime: a process with a single thread that is the parent of the pod's
//! containers, keeps its namespaces, writes its logs and notes how each container ended. It outlives the agent,
//! which asks it for everything over a socket, and ends when it is asked to.
//!
//! It trusts its configuration and its socket's peer: both are root's alone.

mod containers;
mod exits;
mod output;
pub(crate) mod protocol;
pub(crate) mod records;
mod server;
mod spawn;
mod stdio;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Clock, SystemClock, TaskError, Tasks};
use nix::sched::{CloneFlags, unshare};
use thiserror::Error;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::container::sealing;
use crate::container::spec::Launch;
use crate::network;
use containers::Containers;
use exits::Exits;
use records::{ProcessIdentity, ShimConfig};
use spawn::{Given, Pids, SpawnError, Spawner};

/// The word by which this program is a shim; the pod's folder follows.
pub const COMMAND: &str = "pod-shim";
/// What it prints when it can be asked.
pub(crate) const READY: &[u8] = b"ready\n";

/// As the kubelet wishes for what holds a pod together: ended last when memory is short.
const OOM_SCORE_ADJ: i32 = -998;
/// Requests that are being answered when the shim is told to end.
const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// Why a shim ends, in its log.
#[derive(Debug, Error)]
enum ShimError {
    #[error("usage: navarch {COMMAND} FOLDER")]
    Usage,
    #[error("cannot run from a place that cannot be written: {0}")]
    Sealed(String),
    #[error("cannot read {}", path.display())]
    Config { path: PathBuf, source: io::Error },
    #[error("cannot {what}")]
    Prepare { what: &'static str, source: io::Error },
    #[error("cannot set the sysctl {name} to {value:?}")]
    Sysctl { name: String, value: String, source: io::Error },
    #[error("cannot enter the pod's network")]
    Network(#[source] network::NamespaceError),
    #[error("cannot keep the processes that the pod shares")]
    Reaper(#[source] SpawnError),
    #[error(transparent)]
    Task(TaskError),
}

/// A whole life as a shim. To be called before there is a second thread.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let outcome = match arguments {
        [folder] => sealing::restart(&[COMMAND.as_ref(), folder])
            .map_err(|failure| ShimError::Sealed(failure.message))
            .and_then(|()| live(Path::new(folder))),
        _ => Err(ShimError::Usage),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("navarch: {}", crate::causes::in_full(&error));
            ExitCode::FAILURE
        }
    }
}

fn live(folder: &Path) -> Result<(), ShimError> {
    let path = records::shim_config(folder);
    let config: ShimConfig = records::read(&path).map_err(|source| ShimError::Config { path, source })?;
    let prepare = |what| move |source| ShimError::Prepare { what, source };
    let errno = |what| move |errno: nix::Error| ShimError::Prepare { what, source: errno.into() };
    // Already a leader, when it was started by hand from a shell.
    let _leader = nix::unistd::setsid();
    nix::sys::prctl::set_child_subreaper(true).map_err(errno("become the parent of what is left behind"))?;
    // Without the capability for it, the score stays.
    let _stays = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ.to_string());
    enter_namespaces(&config)?;
    containers::make_launches(&config.launches).map_err(prepare("make the folder of launches"))?;
    let event_loop = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(prepare("start an event loop"))?;
    event_loop.block_on(serve(folder, config))
}

fn enter_namespaces(config: &ShimConfig) -> Result<(), ShimError> {
    let errno = |what| move |errno: nix::Error| ShimError::Prepare { what, source: errno.into() };
    if let Some(network) = &config.network {
        network::enter(network).map_err(ShimError::Network)?;
    }
    if config.own_ipc {
        unshare(CloneFlags::CLONE_NEWIPC).map_err(errno("make an IPC namespace"))?;
    }
    if let Some(hostname) = &config.hostname {
        unshare(CloneFlags::CLONE_NEWUTS).map_err(errno("make a UTS namespace"))?;
        nix::unistd::sethostname(hostname).map_err(errno("set the host name"))?;
    }
    for (name, value) in &config.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        std::fs::write(path, value).map_err(|source| ShimError::Sysctl {
            name: name.clone(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(())
}

async fn serve(folder: &Path, config: ShimConfig) -> Result<(), ShimError> {
    let prepare = |what| move |source| ShimError::Prepare { what, source };
    let tasks = Tasks::new(CancellationToken::new());
    let exits = Arc::new(Exits::default());
    let reaping = exits.clone();
    tasks.spawn("reaper", async move { reaping.reap().await });
    let spawner = Spawner::new(config.launches).map_err(prepare("open the own PID namespace"))?;
    let reaper = if config.shared_pids { Some(start_reaper(&spawner).await?) } else { None };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let containers = Arc::new(Containers {
        dir: folder.to_owned(),
        spawner,
        exits,
        reaper,
        clock,
        tasks: tasks.clone(),
        runs: Mutex::default(),
        asked: Mutex::default(),
    });
    let own = i32::try_from(std::process::id()).ok().and_then(ProcessIdentity::of);
    records::write(&records::shim_identity(folder), &own).map_err(prepare("note which process this is"))?;
    let listener = UnixListener::bind(&config.socket).map_err(prepare("listen for the agent"))?;
    tasks.spawn_infallible("server", server::serve(listener, containers, tasks.clone()));
    let mut told = io::stdout();
    told.write_all(READY).and_then(|()| told.flush()).map_err(prepare("tell that it is ready"))?;
    let ended = tasks.join(LEAVE_GRACE).await.map_err(ShimError::Task);
    let _gone = std::fs::remove_file(&config.socket);
    // It is the namespace's: all that is left in it ends with it.
    if let Some(pid) = reaper {
        let _gone =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    ended
}

/// The first process of the PID namespace that all containers of the pod are in.
async fn start_reaper(spawner: &Spawner) -> Result<i32, ShimError> {
    let given = Given { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() };
    let launched = spawner.spawn(&Launch::Reaper, Pids::Own, given).map_err(ShimError::Reaper)?;
    let pid = launched.pid;
    launched.outcome().await.map_err(|failure| ShimError::Prepare {
        what: "keep the processes that the pod shares",
        source: io::Error::other(failure.message),
    })?;
    Ok(pid)
}
