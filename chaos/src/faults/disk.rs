//! Disks that lose their power, are full, refuse writes, or stand still.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::process;
use crate::cluster::{Cluster, Disk, Syncs};
use crate::history::Step;

/// How long a member may take until it syncs something.
const FELT_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

const NO_VOLUME: &str = "the members' disks are folders, not file systems of their own";

/// All at once; they stay dead until they are started.
pub(super) async fn lose_power(cluster: &mut Cluster, members: &[String]) -> Result<Step> {
    if !cluster.has_volumes() {
        return Ok(skipped(NO_VOLUME));
    }
    Ok(match cluster.lose_power(members).await? {
        true => Step::Installed {
            evidence: format!("{}: what was synced is there, what was not is gone", members.join(", ")),
        },
        false => Step::Indeterminate { reason: "what was not synced survived".to_owned() },
    })
}

pub(super) fn fill(cluster: &mut Cluster, member: &str) -> Result<Step> {
    if !cluster.has_volumes() {
        return Ok(skipped(NO_VOLUME));
    }
    let filled = cluster.fill_disk(member)?;
    Ok(Step::Installed { evidence: format!("the last {filled} bytes of {member} are taken") })
}

/// A server that gave up meanwhile is started.
pub(super) async fn empty(cluster: &mut Cluster, member: &str) -> Result<String> {
    let free = cluster.empty_disk(member)?;
    let started = process::start(cluster, &[member.to_owned()]).await?;
    Ok(join(format!("{free} bytes of {member} are free"), &started))
}

pub(super) fn turn_read_only(cluster: &mut Cluster, member: &str) -> Result<Step> {
    if cluster.options().disk != Disk::LoopExt4 {
        return Ok(skipped("only ext4 turns read-only while it is written to"));
    }
    Ok(match cluster.turn_read_only(member)? {
        true => Step::Installed { evidence: format!("the disk of {member} refuses writes") },
        false => Step::Indeterminate { reason: format!("the disk of {member} still takes writes") },
    })
}

/// The server must let go of a disk that is to be mended.
pub(super) async fn repair(cluster: &mut Cluster, member: &str) -> Result<String> {
    if cluster.is_running(member)? {
        cluster.kill(member).await?;
    }
    cluster.repair_disk(member).await?;
    let started = process::start(cluster, &[member.to_owned()]).await?;
    Ok(join(format!("the disk of {member} is mended"), &started))
}

pub(super) async fn freeze(cluster: &mut Cluster, member: &str, longest: Duration) -> Result<Step> {
    if !cluster.has_volumes() {
        return Ok(skipped(NO_VOLUME));
    }
    Ok(match cluster.freeze_disk(member, longest).await? {
        true => Step::Installed { evidence: format!("the disk of {member} stands still") },
        false => Step::Indeterminate { reason: format!("the disk of {member} does not stand still") },
    })
}

pub(super) async fn thaw(cluster: &mut Cluster, member: &str) -> Result<String> {
    cluster.thaw_disk(member).await?;
    let started = process::start(cluster, &[member.to_owned()]).await?;
    Ok(join(format!("the disk of {member} goes on"), &started))
}

/// Installed once the member has felt it.
pub(super) async fn rule_syncs(cluster: &mut Cluster, member: &str, syncs: Syncs) -> Result<Step> {
    if !cluster.options().hold_syncs {
        return Ok(skipped("the members' syncs are not held"));
    }
    let before = cluster.bent_syncs(member)?;
    cluster.rule_syncs(member, syncs)?;
    let deadline = Instant::now() + FELT_WITHIN;
    while Instant::now() < deadline {
        if cluster.bent_syncs(member)? > before {
            return Ok(Step::Installed {
                evidence: format!("{member} has met a sync that was not as usual"),
            });
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(Step::Indeterminate { reason: format!("{member} has synced nothing for {FELT_WITHIN:?}") })
}

/// A server that gave up meanwhile is started.
pub(super) async fn let_sync(cluster: &mut Cluster, member: &str) -> Result<String> {
    cluster.rule_syncs(member, Syncs::Work)?;
    let started = process::start(cluster, &[member.to_owned()]).await?;
    Ok(join(format!("the syncs of {member} work"), &started))
}

pub(super) fn skipped(reason: &str) -> Step {
    Step::Skipped { reason: reason.to_owned() }
}

pub(super) fn join(first: String, second: &str) -> String {
    if second.is_empty() { first } else { format!("{first}, {second}") }
}
