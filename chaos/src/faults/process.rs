//! Processes that die and processes that stand still.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::history::Step;

/// How long a member may take to serve after a restart that was in order.
const SERVES_MAX: Duration = Duration::from_secs(30);

/// All at once, as far as one after the other is.
pub(super) async fn kill(cluster: &mut Cluster, members: &[String]) -> Result<Step> {
    let mut seen = Vec::new();
    for member in members {
        if cluster.is_running(member)? {
            seen.push(format!("{member} {}", cluster.kill(member).await?));
        }
    }
    Ok(match seen.is_empty() {
        true => Step::Skipped { reason: "none of them runs".to_owned() },
        false => Step::Installed { evidence: seen.join(", ") },
    })
}

/// Starts those that do not run; they need not serve yet, which may take a majority.
pub(super) async fn start(cluster: &mut Cluster, members: &[String]) -> Result<String> {
    let mut seen = Vec::new();
    for member in members {
        if !cluster.is_running(member)? {
            cluster.start_member(member).await?;
            seen.push(format!("{member} runs as {}", cluster.pid(member)?.unwrap_or_default()));
        }
    }
    Ok(seen.join(", "))
}

pub(super) async fn pause(cluster: &mut Cluster, members: &[String]) -> Result<Step> {
    let mut seen = Vec::new();
    for member in members {
        if cluster.is_running(member)? {
            cluster.pause(member).await?;
            seen.push(format!("{member} stands still"));
        }
    }
    Ok(match seen.is_empty() {
        true => Step::Skipped { reason: "none of them runs".to_owned() },
        false => Step::Installed { evidence: seen.join(", ") },
    })
}

pub(super) async fn resume(cluster: &mut Cluster, members: &[String]) -> Result<String> {
    let mut seen = Vec::new();
    for member in members {
        if cluster.is_running(member)? {
            cluster.resume(member).await?;
            seen.push(format!("{member} goes on"));
        }
    }
    Ok(seen.join(", "))
}

/// One after the other, each when the one before serves.
pub(super) async fn restart(cluster: &mut Cluster, members: &[String]) -> Result<Step> {
    let mut seen = Vec::new();
    for member in members {
        if cluster.is_running(member)? {
            let ended = cluster.stop(member).await?;
            cluster.start_member(member).await?;
            let took = cluster.wait_ready(member, SERVES_MAX).await?;
            seen.push(format!("{member} {ended}, serves {} ms after its start", took.as_millis()));
        }
    }
    Ok(match seen.is_empty() {
        true => Step::Skipped { reason: "none of them runs".to_owned() },
        false => Step::Installed { evidence: seen.join(", ") },
    })
}

/// Ends with the member started.
pub(super) async fn crash_loop(
    cluster: &mut Cluster,
    member: &str,
    times: u32,
    pause: Duration,
) -> Result<Step> {
    let mut killed = 0;
    for _ in 0..times {
        // It may have given up by itself.
        if cluster.is_running(member)? {
            cluster.kill(member).await?;
            killed += 1;
        }
        cluster.start_member(member).await?;
        sleep(pause).await;
    }
    Ok(Step::Installed { evidence: format!("{member} was killed {killed} times, and started {times} times") })
}
