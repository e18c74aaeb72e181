//! Container runtime, images and pods of a node, put together and taken down. Knows no control plane.

use std::sync::Arc;

use base::{Clock, Entropy, SystemClock, SystemEntropy, TaskError, Tasks};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::causes::in_full;
use crate::cgroups::Cgroups;
use crate::config::{AgentConfig, Backend, Paths};
use crate::containerd::{self, Containerd, ContainerdError};
use crate::desired::{Desired, Reports};
use crate::gateway::{GatewayError, IdentityError};
use crate::images::{self, ImageError};
use crate::logs::rotation::Rotation;
use crate::network::NetworkError;
use crate::node;
use crate::pods::{Circumstances, Eviction, Host, Node, Pods};
use crate::probes::ProbeCounts;
use crate::reclaim::Reclaimer;
use crate::runtime::builtin::{self, BuiltinError, BuiltinRuntime};
use crate::runtime::hollow::HollowRuntime;
use crate::runtime::measured::Measured;
use crate::runtime::{Runtime, RuntimeError, Which};
use crate::tokens::{TokenSource, Tokens};

/// Evictions that wait for the manager of the pods, which takes them at once.
const EVICTIONS_WAITING_MAX: usize = 64;

/// Why an agent cannot start; each says what to do about it.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error("an agent that runs containers must be root")]
    NotRoot,
    #[error("the data folder must be an absolute path: {0}")]
    RelativeDataDir(String),
    #[error("the cgroup root must be a path like /navarch-agent-1: {0}")]
    CgroupRoot(String),
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error("cannot start the built-in runtime")]
    Builtin(#[from] BuiltinError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("a part of the agent has failed")]
    Task(#[from] TaskError),
    #[error("something of this agent could not be removed: {0}")]
    LeftOver(String),
}

/// The pods of a node and what runs them.
pub struct RunningPods {
    /// The runtime's problem; `None` while it answers.
    pub health: watch::Receiver<Option<String>>,
    pub runtime: Arc<dyn Runtime>,
    /// `containerd://1.6.20`.
    pub runtime_version: String,
    pub(crate) evictions: mpsc::Sender<Eviction>,
    /// What new pods are judged by.
    pub(crate) circumstances: watch::Sender<Circumstances>,
    pub(crate) probe_counts: ProbeCounts,
}

/// Starts or adopts the container runtime, makes the images that are missing, and runs what is desired.
/// Works without a control plane: `desired` may come from anywhere.
///
/// # Errors
/// When the machine lacks something that containers need.
pub async fn start_pods(
    config: &AgentConfig,
    desired: watch::Receiver<Arc<Desired>>,
    reports: Reports,
    tokens: Arc<dyn TokenSource>,
    (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
    tasks: &Tasks,
) -> Result<RunningPods, AgentError> {
    let paths = Paths::new(&config.data_dir);
    let backend = config.runtime.backend(&paths, containerd::is_installed());
    let (runtime, version) =
        start_runtime(backend, config, &paths, (clock.clone(), entropy.clone()), tasks).await?;
    let log_paths = paths.clone();
    let host = match backend {
        Backend::Hollow => None,
        Backend::Containerd | Backend::Builtin => {
            Some(Host::new(paths, Cgroups::detect(&config.cgroup_root)))
        }
    };
    let probe_counts = ProbeCounts::default();
    let node = Arc::new(Node {
        probe_counts: probe_counts.clone(),
        name: config.node_name.clone(),
        ip: config.node_ip.to_string(),
        runtime: runtime.clone(),
        host,
        allocatable: node::allocatable(&config.data_dir, &config.reclaim.thresholds),
        reports,
        tokens: Tokens::new(tokens, clock.clone(), entropy.clone()),
        clock,
        entropy,
        tasks: tasks.clone(),
    });
    let (problem, health) = watch::channel(None);
    let (evictions, evicted) = mpsc::channel(EVICTIONS_WAITING_MAX);
    if backend != Backend::Hollow {
        let (policy, data_dir) = (config.reclaim.clone(), config.data_dir.clone());
        let reclaimer = Reclaimer::new(node.clone(), desired.clone(), evictions.clone(), policy, data_dir);
        tasks.spawn_infallible("reclaim", reclaimer.run(tasks.stop().clone()));
        let rotation = Rotation { paths: log_paths, runtime: runtime.clone(), clock: node.clock.clone() };
        tasks.spawn_infallible("log rotation", rotation.run(tasks.stop().clone()));
    }
    let stop = tasks.stop().clone();
    let (circumstances, judged_by) = watch::channel(Circumstances::default());
    tasks.spawn_infallible("pods", Pods::new(node, desired, evicted, judged_by, problem).run(stop));
    Ok(RunningPods { health, runtime, runtime_version: version, evictions, circumstances, probe_counts })
}

/// The runtime and its version, `containerd://1.6.20`.
async fn start_runtime(
    backend: Backend,
    config: &AgentConfig,
    paths: &Paths,
    (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
    tasks: &Tasks,
) -> Result<(Arc<dyn Runtime>, String), AgentError> {
    match backend {
        Backend::Hollow => {
            Ok((Arc::new(HollowRuntime::new(clock, &config.node_name)), "hollow://1".to_owned()))
        }
        Backend::Containerd => {
            check(config)?;
            let started = Containerd::start(paths, &config.hosts_dirs).await?;
            let runtime = started.runtime();
            images::ensure(paths, runtime.as_ref()).await?;
            let version = runtime.version().await.unwrap_or_else(|_| "containerd://unknown".to_owned());
            tasks.spawn_infallible("containerd", started.supervise(tasks.stop().clone()));
            Ok((Arc::new(Measured::over(runtime)), version))
        }
        Backend::Builtin => {
            check(config)?;
            let runtime = open_builtin(config, paths, (clock, entropy)).await?;
            images::ensure_stored(runtime.image_store()).await?;
            images::import_from(&paths.images_dir(), runtime.image_store()).await;
            Ok((Arc::new(Measured::over(Arc::new(runtime))), builtin::VERSION.to_owned()))
        }
    }
}

async fn open_builtin(
    config: &AgentConfig,
    paths: &Paths,
    sources: (Arc<dyn Clock>, Arc<dyn Entropy>),
) -> Result<BuiltinRuntime, AgentError> {
    let (executable, paths) = (config.executable.clone(), paths.clone());
    let cgroups = Cgroups::detect(&config.cgroup_root);
    let hosts_dirs = config.hosts_dirs.clone();
    let opened = tokio::task::spawn_blocking(move || {
        BuiltinRuntime::open(&paths, cgroups, &executable, hosts_dirs, sources)
    });
    opened.await.unwrap_or(Err(BuiltinError::Panicked)).map_err(AgentError::Builtin)
}

/// Stops every pod and containerd, and removes what they left: mounts, cgroups, folders. For an agent that
/// is not running any more; nothing of it stays.
///
/// # Errors
/// When something cannot be removed; everything else is.
pub async fn purge_pods(config: &AgentConfig) -> Result<(), AgentError> {
    check(config)?;
    let paths = Paths::new(&config.data_dir);
    let mut left = Vec::new();
    if paths.containerd_dir().exists() {
        match Containerd::start(&paths, &config.hosts_dirs).await {
            Ok(daemon) => {
                if let Err(error) = stop_all(daemon.runtime().as_ref()).await {
                    warn!(%error, "cannot stop all pods the gentle way");
                }
                daemon.stop().await;
            }
            Err(error) => warn!(%error, "cannot start containerd to stop its pods"),
        }
        containerd::stop_left_running(&paths).await;
    }
    if paths.builtin_dir().exists() {
        let sources: (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        match open_builtin(config, &paths, sources).await {
            Ok(runtime) => {
                if let Err(error) = stop_all(&runtime).await {
                    warn!(%error, "cannot stop all pods the gentle way");
                }
            }
            Err(error) => warn!(error = %in_full(&error), "cannot read what the built-in runtime runs"),
        }
    }
    let cgroups = Cgroups::detect(&config.cgroup_root);
    let mut gone = false;
    for _ in 0..50 {
        gone = cgroups.purge();
        if gone {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    if !gone {
        left.push(format!("cgroups below {}", config.cgroup_root));
    }
    for dir in paths.own_dirs() {
        if !crate::volumes::clean_up(&dir) {
            left.push(dir.display().to_string());
        }
    }
    // Shared by all agents: goes with the last one.
    let _in_use = std::fs::remove_dir("/run/navarch");
    if left.is_empty() { Ok(()) } else { Err(AgentError::LeftOver(left.join(", "))) }
}

async fn stop_all(runtime: &dyn Runtime) -> Result<(), RuntimeError> {
    let pods = runtime.observe(Which::All).await?;
    info!(pods = pods.len(), "stopping all pods");
    let stops = pods.values().map(|pod| async move {
        for sandbox in &pod.sandboxes {
            runtime.stop_sandbox(&sandbox.id).await?;
            runtime.remove_sandbox(&sandbox.id).await?;
        }
        Ok(())
    });
    futures::future::try_join_all(stops).await.map(drop)
}

/// What must hold before anything is touched.
pub(crate) fn check(config: &AgentConfig) -> Result<(), AgentError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(AgentError::NotRoot);
    }
    if !config.data_dir.is_absolute() {
        return Err(AgentError::RelativeDataDir(config.data_dir.display().to_string()));
    }
    let root = config.cgroup_root.trim_matches('/');
    if root.is_empty() || root.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(AgentError::CgroupRoot(config.cgroup_root.clone()));
    }
    Ok(())
}
