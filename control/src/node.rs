//! The role `navarch agent`: one node, or many hollow ones.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::{AgentConfig, AgentTls};
use anyhow::{Context, Result, bail};
use base::{Clock, Entropy, SystemClock, SystemEntropy, Tasks};
use tokio_util::sync::CancellationToken;

use crate::cli::{AgentArgs, RuntimeChoice};
use crate::signals::Signals;
use crate::telemetry::{self, RenderMetrics};

/// How long an agent may take to stop; its pods stay.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Moves this process, while it has one thread, to the namespace that it was told.
pub(crate) fn enter_namespace(args: &AgentArgs) -> Result<()> {
    let Some(netns) = &args.netns else { return Ok(()) };
    match agent::network::uplink::enter(netns) {
        // What is gone needs no cleaning from inside.
        Err(_) if args.purge => Ok(()),
        entered => entered.with_context(|| format!("cannot enter --netns {netns}")),
    }
}

pub(crate) async fn run(args: AgentArgs) -> Result<()> {
    let _last_words = telemetry::start_logging(&args.log, args.log_format)?;
    if args.purge {
        return agent::purge(&config(&args, &args.name, &args.certificate, &args.key)?)
            .await
            .context("cannot remove what this agent made");
    }
    let render_metrics = telemetry::start_metrics()?;
    agent::metrics::describe();
    let tasks = Tasks::new(CancellationToken::new());
    Signals::listen()?.stop(&tasks);
    for node in nodes(&args)? {
        tasks.spawn(node.node_name.clone(), one(node, render_metrics.clone(), tasks.stop().clone()));
    }
    tasks.join(STOP_GRACE + args.shutdown().grace).await.map_err(anyhow::Error::from)
}

async fn one(
    config: AgentConfig,
    render_metrics: RenderMetrics,
    stop: CancellationToken,
) -> Result<(), agent::AgentError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    agent::run(config, clock, entropy, render_metrics, stop).await
}

fn nodes(args: &AgentArgs) -> Result<Vec<AgentConfig>> {
    if args.hollow_nodes == 0 {
        return Ok(vec![config(args, &args.name, &args.certificate, &args.key)?]);
    }
    if args.runtime != RuntimeChoice::Hollow {
        bail!("--hollow-nodes goes with --runtime hollow");
    }
    let beside = args.certificate.parent().unwrap_or(Path::new("."));
    (1..=args.hollow_nodes)
        .map(|number| {
            let name = format!("{}-{number}", args.name);
            let files = (beside.join(format!("{name}.crt")), beside.join(format!("{name}.key")));
            let mut config = config(args, &name, &files.0, &files.1)?;
            // Agents try servers in order: these are to be every server's.
            let first = usize::from(number) % config.servers.len().max(1);
            config.servers.rotate_left(first);
            Ok(config)
        })
        .collect()
}

fn config(args: &AgentArgs, name: &str, certificate: &Path, key: &Path) -> Result<AgentConfig> {
    let read = |flag: &str, path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read the file of --{flag}, {}", path.display()))
    };
    let data_dir = if args.hollow_nodes == 0 { args.data_dir.clone() } else { args.data_dir.join(name) };
    let runtime = match args.runtime {
        RuntimeChoice::Auto => agent::RuntimeChoice::Auto,
        RuntimeChoice::Containerd => agent::RuntimeChoice::Containerd,
        RuntimeChoice::Builtin => agent::RuntimeChoice::Builtin,
        RuntimeChoice::Hollow => agent::RuntimeChoice::Hollow,
    };
    Ok(AgentConfig {
        node_name: name.to_owned(),
        servers: args.servers.clone(),
        tls: AgentTls {
            ca: read("ca", &args.ca)?,
            certificate: read("certificate", certificate)?,
            key: read("key", key)?,
        },
        data_dir: std::path::absolute(data_dir).context("--data-dir is no path")?,
        runtime,
        hosts_dirs: args.hosts_dir.clone(),
        cgroup_root: args.cgroup_root.clone(),
        node_ip: node_ip(args)?,
        labels: BTreeMap::new(),
        manifests_dir: args.pod_manifest_path.clone(),
        reclaim: args.reclaim.policy(),
        shutdown: args.shutdown(),
        executable: std::env::current_exe().context("cannot find this program's own file")?,
        purge_on_stop: false,
    })
}

fn node_ip(args: &AgentArgs) -> Result<Ipv4Addr> {
    match (args.node_ip, args.runtime) {
        (Some(address), _) => Ok(address),
        (None, RuntimeChoice::Hollow) => Ok(Ipv4Addr::LOCALHOST),
        (None, RuntimeChoice::Auto | RuntimeChoice::Containerd | RuntimeChoice::Builtin) => {
            bail!("--node-ip is missing: the address where other nodes reach this one")
        }
    }
}
