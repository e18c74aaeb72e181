//! A whole agent: gateway client, network, container runtime, pods, node status, tunnels. Wiring only.

use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Entropy, Tasks};
use k8s_openapi::api::core::v1::ContainerImage;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::assembly::{AgentError, RunningPods, check, purge_pods, start_pods};
use crate::config::{AgentConfig, Paths, RuntimeChoice};
use crate::gateway::{self, GatewaySettings, Identity};
use crate::logs::Logs;
use crate::metrics::RenderMetrics;
use crate::network::{self, NetworkSettings};
use crate::node::{self, NodeSettings, RuntimeHealth};
use crate::shutdown::shut_down;
use crate::statics;
use crate::streams::Sessions;
use crate::tunnel::{self, NodeApi, TunnelSettings};
use crate::usage;

/// How long the parts of an agent may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Why a node that goes down takes no more pods.
const LEAVING: &str = "node is shutting down";
/// How often the list of images is read for the node's status.
const IMAGES_PERIOD: Duration = Duration::from_secs(60);

/// Runs a node until `stop`. Pods and containerd outlive it, unless `config.purge_on_stop`.
///
/// # Errors
/// At once when the machine lacks something; later only when a part of the agent fails.
pub async fn run(
    config: AgentConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    render_metrics: RenderMetrics,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    // Pods that are to end first need everything else until then.
    let own = if config.shutdown.is_on() { CancellationToken::new() } else { stop.child_token() };
    let tasks = Tasks::new(own);
    let started = start(&config, (clock, entropy), render_metrics, &tasks, &stop).await;
    if started.is_err() {
        tasks.stop().cancel();
    }
    let ended = tasks.join(STOP_GRACE + config.shutdown.grace).await;
    started?;
    ended?;
    if config.purge_on_stop && config.runtime.is_real() {
        purge(&config).await?;
    }
    Ok(())
}

/// Removes everything that an agent has left: pods, containerd, network, folders, cgroups. For an agent
/// that does not run, in the network namespace that it ran in. What is already gone is no error.
///
/// # Errors
/// When something is left; everything that could be removed is.
pub async fn purge(config: &AgentConfig) -> Result<(), AgentError> {
    if !config.runtime.is_real() {
        return Ok(());
    }
    let pods = purge_pods(config).await;
    network::purge(&network_settings(config, &Paths::new(&config.data_dir))).await?;
    pods
}

async fn start(
    config: &AgentConfig,
    (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
    render_metrics: RenderMetrics,
    tasks: &Tasks,
    leaving: &CancellationToken,
) -> Result<(), AgentError> {
    let paths = Paths::new(&config.data_dir);
    if config.runtime.is_real() {
        check(config)?;
    }
    let gateway_settings = GatewaySettings {
        node_name: config.node_name.clone(),
        servers: config.servers.clone(),
        identity: identity(config),
    };
    let gateway = gateway::start(gateway_settings, &entropy, tasks)?;
    let network = match config.runtime {
        RuntimeChoice::Hollow => network::absent(),
        RuntimeChoice::Auto | RuntimeChoice::Containerd | RuntimeChoice::Builtin => {
            network::start(network_settings(config, &paths), gateway.desired.clone(), tasks)?
        }
    };
    let (mut desired, mut reports) = (gateway.desired.clone(), gateway.reports.clone());
    if let Some(folder) = &config.manifests_dir {
        let joined = statics::start(&config.node_name, folder.clone(), desired, reports, tasks);
        (desired, reports) = (joined.desired, joined.reports);
    }
    let sources = (clock.clone(), entropy.clone());
    let tokens = Arc::new(gateway.tokens);
    let pods = start_pods(config, desired.clone(), reports.clone(), tokens, sources, tasks).await?;
    info!(node = %config.node_name, runtime = %pods.runtime_version, "the agent runs");
    let sessions = Sessions::new(pods.runtime.clone(), desired.clone(), config.node_ip, tasks.clone());
    let (health, runtime_health) = watch::channel(RuntimeHealth::default());
    let (circumstances, probe_counts) = (pods.circumstances.clone(), pods.probe_counts.clone());
    let pods = Arc::new(pods);
    let told = tell_health(pods.clone(), health, leaving.clone(), tasks.stop().clone());
    tasks.spawn_infallible("runtime health", told);
    if config.shutdown.is_on() {
        let (policy, desired) = (config.shutdown, desired.clone());
        let (leaving, stop) = (leaving.clone(), tasks.stop().clone());
        tasks.spawn_infallible("shutdown", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = leaving.cancelled() => {
                    shut_down(&pods, &desired, policy).await;
                    stop.cancel();
                }
            }
        });
    }
    let settings = NodeSettings {
        node_name: config.node_name.clone(),
        node_ip: config.node_ip,
        data_dir: config.data_dir.clone(),
        labels: config.labels.clone(),
        thresholds: config.reclaim.thresholds.clone(),
    };
    node::start(settings, (runtime_health, network), reports, circumstances, clock.clone(), tasks);
    if config.runtime.is_real() {
        let usage = usage::start(&config.node_name, sessions.runtime(), clock.clone(), tasks);
        let logs = Logs::new(paths.logs_dir(), desired, gateway.statuses.clone(), clock);
        let api = NodeApi::new(logs, sessions, usage, probe_counts, render_metrics);
        let settings = TunnelSettings { servers: config.servers.clone(), identity: identity(config) };
        tunnel::start(settings, &api, &entropy, tasks)?;
    }
    Ok(())
}

/// Puts together what the node's status says of the runtime.
async fn tell_health(
    pods: Arc<RunningPods>,
    health: watch::Sender<RuntimeHealth>,
    leaving: CancellationToken,
    stop: CancellationToken,
) {
    let mut of_runtime = pods.health.clone();
    loop {
        let problem = of_runtime.borrow_and_update().clone();
        let problem = if leaving.is_cancelled() { Some(LEAVING.to_owned()) } else { problem };
        let images = match pods.runtime.images().await {
            Ok(images) => images
                .into_iter()
                .map(|image| ContainerImage {
                    names: Some(image.names),
                    size_bytes: i64::try_from(image.size).ok(),
                })
                .collect(),
            Err(_) => health.borrow().images.clone(),
        };
        health.send_replace(RuntimeHealth { version: pods.runtime_version.clone(), problem, images });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = leaving.cancelled(), if !leaving.is_cancelled() => {}
            changed = of_runtime.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(IMAGES_PERIOD) => {}
        }
    }
}

fn identity(config: &AgentConfig) -> Identity {
    Identity {
        ca: config.tls.ca.clone(),
        certificate: config.tls.certificate.clone(),
        key: config.tls.key.clone(),
    }
}

fn network_settings(config: &AgentConfig, paths: &Paths) -> NetworkSettings {
    NetworkSettings {
        node_name: config.node_name.clone(),
        node_ip: config.node_ip,
        executable: config.executable.clone(),
        cni_conf_dir: paths.cni_conf_dir(),
        cni_bin_dir: paths.cni_bin_dir(),
        cni_state_dir: paths.cni_state_dir(),
    }
}
