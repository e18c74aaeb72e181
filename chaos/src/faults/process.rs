//! Processes that die and processes that stand still.

use anyhow::Result;

use crate::cluster::Cluster;
use crate::history::Step;

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
