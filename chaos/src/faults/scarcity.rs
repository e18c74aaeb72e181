//! Servers that do not get what they need of their machine.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::disk::{join, skipped};
use super::process;
use crate::cluster::Cluster;
use crate::history::Step;

/// How long a server may take until it has said more than anybody holds for it.
const FELT_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Nobody takes what it logs.
pub(super) async fn block_log(cluster: &mut Cluster, member: &str) -> Result<Step> {
    if !cluster.options().gate_logs {
        return Ok(skipped("the members' logs are files"));
    }
    cluster.take_log(member, false)?;
    let until = Instant::now() + FELT_WITHIN;
    while Instant::now() < until {
        if cluster.waits_for_reader(member)? {
            return Ok(Step::Installed { evidence: format!("{member} waits for somebody to take its log") });
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(Step::Indeterminate { reason: format!("{member} has logged too little to be held up") })
}

pub(super) async fn take_log(cluster: &mut Cluster, member: &str) -> Result<String> {
    cluster.take_log(member, true)?;
    let started = process::start(cluster, &[member.to_owned()]).await?;
    Ok(join(format!("the log of {member} is taken"), &started))
}

/// It may open hardly any file or connection more.
pub(super) fn limit_files(cluster: &mut Cluster, member: &str) -> Result<Step> {
    if !cluster.is_running(member)? {
        return Ok(skipped("it does not run"));
    }
    let (open, most) = cluster.limit_files(member)?;
    Ok(Step::Installed { evidence: format!("{member} has {open} files open, and may have {most}") })
}

pub(super) async fn free_files(cluster: &mut Cluster, member: &str) -> Result<String> {
    if cluster.is_running(member)? {
        cluster.free_files(member)?;
    }
    let started = process::start(cluster, &[member.to_owned()]).await?;
    Ok(join(format!("{member} may open files"), &started))
}

/// It may use no memory beyond this; installed once it has wanted to.
pub(super) async fn limit_memory(cluster: &mut Cluster, member: &str, left_bytes: u64) -> Result<Step> {
    if !cluster.options().own_memory {
        return Ok(skipped("the members' memory is not their own"));
    }
    if !cluster.is_running(member)? {
        return Ok(skipped("it does not run"));
    }
    let before = cluster.squeezed(member)?;
    let (used, most) = cluster.limit_memory(member, left_bytes)?;
    let until = Instant::now() + FELT_WITHIN;
    while Instant::now() < until {
        if cluster.squeezed(member)?.met > before.met {
            let evidence =
                format!("{member} used {} KiB, may use {} and wanted more", used / 1024, most / 1024);
            return Ok(Step::Installed { evidence });
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(Step::Indeterminate { reason: format!("{member} has wanted no more memory for {FELT_WITHIN:?}") })
}

/// A server that was killed meanwhile is started.
pub(super) async fn free_memory(cluster: &mut Cluster, member: &str) -> Result<String> {
    cluster.free_memory(member)?;
    let squeezed = cluster.squeezed(member)?;
    let started = process::start(cluster, &[member.to_owned()]).await?;
    let told = format!(
        "{member} may use memory; it has met limits {} times, and was killed for it {} times",
        squeezed.met, squeezed.kills
    );
    Ok(join(told, &started))
}
