//! `navarch down`: stops every process of a folder's cluster and removes what it made on this machine.
//!
//! Every step works after a crash at any point, and again after itself.

use std::time::Duration;

use agent::network::uplink::{Attachment, Uplink};
use anyhow::{Context, Result, bail};

use super::layout::{HOLLOW, Layout, agent_name, server_name};
use super::process::Process;
use crate::cli::DownArgs;

/// How long a process may take to stop by itself.
const STOP_GRACE: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: &DownArgs) -> Result<()> {
    let layout = Layout::load(&args.dir)?;
    teardown(&layout).await?;
    if args.purge {
        std::fs::remove_dir_all(&layout.dir)
            .with_context(|| format!("cannot delete {}", layout.dir.display()))?;
    }
    Ok(())
}

/// Agents first, with their pods; then the servers, then the network.
pub(crate) async fn teardown(layout: &Layout) -> Result<()> {
    let mut failures = Vec::new();
    let mut note = |what: String, result: Result<()>| {
        if let Err(error) = result {
            failures.push(format!("{what}: {error:#}"));
        }
    };
    let agents = layout.agent_numbers().map(agent_name);
    for name in agents.chain([HOLLOW.to_owned()]) {
        note(name.clone(), Process::of(layout, &name).stop(STOP_GRACE).await);
    }
    for agent in layout.agent_numbers() {
        note(agent_name(agent), purge(layout, agent).await);
    }
    for server in layout.server_numbers() {
        note(server_name(server), Process::of(layout, &server_name(server)).stop(STOP_GRACE).await);
    }
    if layout.shape.agents > 0 {
        note("the network".to_owned(), remove_network(layout).await);
    }
    if !failures.is_empty() {
        bail!(
            "not everything could be stopped and removed; try `navarch down` again\n{}",
            failures.join("\n")
        );
    }
    Ok(())
}

/// The bridge and the agents' namespaces.
pub(crate) fn network(layout: &Layout) -> Result<Uplink> {
    let attachments = layout
        .agent_numbers()
        .map(|agent| Attachment { netns: layout.netns(agent), address: layout.agent_address(agent) });
    Ok(Uplink { bridge: layout.bridge(), address: layout.host_address(), attachments: attachments.collect() })
}

async fn remove_network(layout: &Layout) -> Result<()> {
    network(layout)?.remove().await.context("cannot remove it")
}

/// Runs `navarch agent --purge` as the agent itself ran, in its namespace.
async fn purge(layout: &Layout, agent: u16) -> Result<()> {
    let process = Process::of(layout, &agent_name(agent));
    if !process.config_file().exists() {
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let output = tokio::process::Command::new(program)
        .arg("agent")
        .arg("--config")
        .arg(process.config_file())
        .args(["--purge", "--log", "warn"])
        .output()
        .await
        .context("cannot run navarch agent --purge")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
