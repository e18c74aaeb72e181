//! Data directories that are not what they claim to be: swapped, cloned, put back from long ago.
//!
//! What came of each is a sight for the checkers; that the servers were started on them is what proves the fault.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};

use super::process;
use crate::cluster::Cluster;
use crate::history::{CameTo, Deceit, Sight, Step};

/// How long an impostor is looked at.
const LOOK_MAX: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is written meanwhile is what an old copy lacks.
const AGE: Duration = Duration::from_millis(1500);
/// How long a member may take until it votes.
const VOTES_MAX: Duration = Duration::from_secs(30);

/// Each of two starts with the data of the other.
pub(super) async fn swap(cluster: &mut Cluster, one: &str, other: &str) -> Result<Step> {
    for member in [one, other] {
        if cluster.is_running(member)? {
            cluster.kill(member).await?;
        }
    }
    cluster.swap_data(one, other)?;
    for member in [one, other] {
        cluster.start_member(member).await?;
    }
    let mut seen = Vec::new();
    for member in [one, other] {
        let came_to = look(cluster, member, member, Deceit::Swapped).await?;
        seen.push(format!("{member} was started on the other's data: {came_to:?}"));
    }
    Ok(Step::Installed { evidence: seen.join(", ") })
}

pub(super) async fn swap_back(cluster: &mut Cluster, one: &str, other: &str) -> Result<String> {
    for member in [one, other] {
        if cluster.is_running(member)? {
            cluster.kill(member).await?;
        }
    }
    cluster.swap_data(one, other)?;
    process::start(cluster, &[one.to_owned(), other.to_owned()]).await
}

/// A second process says that it is the member, on a copy of its data, and at another address.
pub(super) async fn clone(cluster: &mut Cluster, member: &str, twin: &str, in_place: bool) -> Result<Step> {
    if cluster.is_running(member)? {
        cluster.kill(member).await?;
    }
    let copy = cluster.copy_data(member)?;
    cluster.start_member(member).await?;
    cluster.wait_ready(member, VOTES_MAX).await?;
    cluster.start_twin(twin, member, &copy, in_place).await?;
    let came_to = look(cluster, twin, &format!("{twin} as {member}"), Deceit::Cloned).await?;
    Ok(Step::Installed { evidence: format!("{twin} was started on a copy of {member}: {came_to:?}") })
}

/// Removes the copy; whoever it has driven out is started.
pub(super) async fn end_clone(cluster: &mut Cluster, member: &str, twin: &str) -> Result<String> {
    if cluster.members().iter().any(|known| known == twin) {
        if cluster.is_running(twin)? {
            cluster.kill(twin).await?;
        }
        cluster.forget_member(twin)?;
    }
    let started = process::start(cluster, &[member.to_owned()]).await?;
    Ok(super::disk::join(format!("{twin} is gone"), &started))
}

/// The member has its data of some time ago again.
pub(super) async fn put_back(cluster: &mut Cluster, member: &str) -> Result<Step> {
    if cluster.is_running(member)? {
        cluster.kill(member).await?;
    }
    let copy = cluster.copy_data(member)?;
    cluster.start_member(member).await?;
    cluster.wait_ready(member, VOTES_MAX).await?;
    sleep(AGE).await;
    let (id, leader) = standing(cluster, member).await?;
    cluster.kill(member).await?;
    cluster.put_data(member, &copy)?;
    let began = Instant::now();
    cluster.start_member(member).await?;
    let votes = cluster.wait_ready(member, VOTES_MAX).await;
    let is_running = cluster.is_running(member)?;
    let came_to = match (votes.is_ok(), is_running) {
        (true, _) => {
            let (now, led_by) = standing(cluster, member).await?;
            if leader != led_by {
                // Only a leader knows what it was told, and this one was told nothing.
                let reason = format!("{member} has old data, and the leader that knew has gone");
                return Ok(Step::Indeterminate { reason });
            }
            if now == id { CameTo::Served } else { CameTo::AnotherMember }
        }
        (false, true) => CameTo::Waits,
        (false, false) => CameTo::Ended,
    };
    tell(cluster, member, member, (Deceit::Outdated, came_to), began)?;
    Ok(Step::Installed { evidence: format!("{member} was started on data from before: {came_to:?}") })
}

/// The member's number, and its leader's.
pub(super) async fn standing(cluster: &Cluster, member: &str) -> Result<(u64, u64)> {
    let status = cluster.endpoint(member)?.status().await?;
    let id = status.header.context("a status without a header")?.member_id;
    Ok((id, status.leader))
}

/// What becomes of a process that should give up.
async fn look(cluster: &mut Cluster, host: &str, name: &str, deceit: Deceit) -> Result<CameTo> {
    let began = Instant::now();
    let mut came_to = CameTo::Waits;
    while began.elapsed() < LOOK_MAX {
        if !cluster.is_running(host)? {
            came_to = CameTo::Ended;
            break;
        }
        if came_to == CameTo::Waits && cluster.endpoint(host)?.status().await.is_ok() {
            came_to = CameTo::Served;
        }
        sleep(LOOK_EVERY).await;
    }
    tell(cluster, host, name, (deceit, came_to), began)?;
    Ok(came_to)
}

fn tell(
    cluster: &mut Cluster,
    host: &str,
    name: &str,
    (deceit, came_to): (Deceit, CameTo),
    began: Instant,
) -> Result<()> {
    let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let said = cluster.last_words(host)?;
    cluster.see(Sight::Impostor { member: name.to_owned(), deceit, came_to, after_ms, said });
    Ok(())
}
