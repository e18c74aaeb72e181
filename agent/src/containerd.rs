//! The node's own containerd: started, watched, adopted, stopped.
//!
//! It runs in its own process group and outlives the agent: after `kill -9` of the agent, containers and
//! their shims go on, and the next agent adopts the daemon through its socket. When the daemon dies, the
//! supervisor starts it again; containers do not notice. Only [`Containerd::stop`] ends it.

mod config;
mod process;

pub(crate) use process::find_program;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Paths;
use crate::runtime::cri::CriRuntime;
use process::Daemon;

/// How long a daemon may take until its CRI service answers; on a busy machine it is seconds.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_POLL: Duration = Duration::from_millis(50);
/// An adopted daemon is not our child, so its end cannot be waited for, only looked for.
const ADOPTED_POLL: Duration = Duration::from_secs(1);
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Error)]
pub enum ContainerdError {
    #[error("{program} is not installed: apt-get install {package}")]
    Missing { program: &'static str, package: &'static str },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot start containerd")]
    Start(#[source] std::io::Error),
    #[error("containerd does not answer after {} s; its log is {}", START_TIMEOUT.as_secs(), log.display())]
    Silent { log: PathBuf },
    #[error("containerd ended at once; its log is {}", log.display())]
    Ended { log: PathBuf },
}

/// Whether this machine has what [`Containerd::start`] starts.
pub fn is_installed() -> bool {
    ["containerd", "runc", "ctr"].iter().all(|program| find_program(program).is_some())
}

/// A running containerd. Dropping it leaves the daemon alone.
pub struct Containerd {
    paths: Paths,
    runtime: Arc<CriRuntime>,
    daemon: Daemon,
}

impl Containerd {
    /// Starts the daemon, or adopts the one that an earlier agent has left. `hosts_dirs` are where it is written how to
    /// reach registries; an adopted daemon goes by those that it was started with.
    ///
    /// # Errors
    /// When a program is missing, or the daemon does not come up.
    pub async fn start(paths: &Paths, hosts_dirs: &[PathBuf]) -> Result<Self, ContainerdError> {
        process::require("containerd", "containerd")?;
        process::require("runc", "runc")?;
        process::require("ctr", "containerd")?;
        process::require("busybox", "busybox-static")?;
        config::write(paths, hosts_dirs)?;
        let runtime = Arc::new(CriRuntime::new(paths.containerd_socket()));
        if let Some(daemon) = Daemon::adopt(paths) {
            info!(pid = daemon.pid(), "adopted the running containerd");
            let mut adopted = Self { paths: paths.clone(), runtime, daemon };
            match adopted.wait_until_ready().await {
                Ok(()) => return Ok(adopted),
                Err(error) => warn!(%error, "the containerd found is of no use, replacing it"),
            }
            adopted.daemon.stop(STOP_TIMEOUT).await;
            return Self::launch(paths, adopted.runtime).await;
        }
        Self::launch(paths, runtime).await
    }

    async fn launch(paths: &Paths, runtime: Arc<CriRuntime>) -> Result<Self, ContainerdError> {
        let daemon = Daemon::spawn(paths)?;
        info!(pid = daemon.pid(), "started containerd");
        let mut started = Self { paths: paths.clone(), runtime, daemon };
        started.wait_until_ready().await?;
        Ok(started)
    }

    pub fn runtime(&self) -> Arc<CriRuntime> {
        self.runtime.clone()
    }

    /// Keeps the daemon running until `stop`, then leaves it to itself.
    pub async fn supervise(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.daemon.ended(ADOPTED_POLL) => {}
            }
            warn!("containerd has ended, starting it again");
            metrics::counter!(crate::metrics::CONTAINERD_RESTARTS).increment(1);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RESTART_PAUSE) => {}
            }
            match Daemon::spawn(&self.paths) {
                Ok(daemon) => self.daemon = daemon,
                Err(error) => warn!(%error, "cannot start containerd, trying again"),
            }
        }
    }

    /// Ends the daemon. What runs in containers is not its concern: stop that first.
    pub async fn stop(mut self) {
        self.daemon.stop(STOP_TIMEOUT).await;
    }

    async fn wait_until_ready(&mut self) -> Result<(), ContainerdError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match tokio::time::timeout(Duration::from_secs(2), self.runtime.version()).await {
                Ok(Ok(version)) => {
                    info!(%version, "containerd is ready");
                    return Ok(());
                }
                Ok(Err(_)) | Err(_) if !self.daemon.is_alive() => {
                    return Err(ContainerdError::Ended { log: config::log_path(&self.paths) });
                }
                Ok(Err(_)) | Err(_) if Instant::now() >= deadline => {
                    return Err(ContainerdError::Silent { log: config::log_path(&self.paths) });
                }
                Ok(Err(_)) | Err(_) => tokio::time::sleep(ANSWER_POLL).await,
            }
        }
    }
}

/// Stops a daemon that an agent has left running, when there is one, and shims that have lost theirs.
pub async fn stop_left_running(paths: &Paths) {
    if let Some(mut daemon) = Daemon::adopt(paths) {
        daemon.stop(STOP_TIMEOUT).await;
    }
    if process::kill_shims(&paths.containerd_socket()) {
        warn!("ended shims that a lost containerd has left");
    }
}
