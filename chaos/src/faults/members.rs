//! What operators do while other things go wrong: members come and go, leaders change, history is forgotten.

use anyhow::Result;

use crate::cluster::Cluster;
use crate::history::Step;

pub(super) async fn remove(cluster: &mut Cluster, member: &str) -> Result<Step> {
    Ok(Step::Installed { evidence: cluster.remove_member(member).await? })
}

/// For a member whose data is lost for good, and that its system does not take back by itself.
pub(super) async fn replace(cluster: &mut Cluster, member: &str) -> Result<String> {
    let removed = cluster.remove_member(member).await?;
    Ok(format!("{removed}; {}", cluster.join_member(member).await?))
}

/// One member more than there were.
pub(super) async fn grow(cluster: &mut Cluster, member: &str) -> Result<Step> {
    cluster.add_member(member).await?;
    Ok(Step::Installed { evidence: cluster.join_member(member).await? })
}

/// Removes the member that `grow` added, as far as it came.
pub(super) async fn shrink(cluster: &mut Cluster, member: &str) -> Result<String> {
    if !cluster.members().iter().any(|known| known == member) {
        return Ok(format!("{member} is not there"));
    }
    let told = match cluster.is_listed(member).await? {
        true => cluster.remove_member(member).await?,
        false => format!("{member} was no member yet"),
    };
    cluster.forget_member(member)?;
    Ok(told)
}

pub(super) async fn move_leader(cluster: &mut Cluster, to: &str) -> Result<Step> {
    cluster.move_leader(to).await?;
    let leader = cluster.leader(std::time::Duration::from_secs(10)).await?;
    Ok(match leader == to {
        true => Step::Installed { evidence: format!("{to} leads") },
        false => Step::Indeterminate { reason: format!("{leader} leads instead of {to}") },
    })
}

pub(super) async fn compact(cluster: &mut Cluster) -> Result<Step> {
    let revision = cluster.compact().await?;
    Ok(Step::Installed { evidence: format!("compacted at revision {revision}") })
}

pub(super) async fn defragment(cluster: &mut Cluster, member: &str) -> Result<Step> {
    cluster.defragment(member).await?;
    Ok(Step::Installed { evidence: format!("{member} has defragmented its tables") })
}

pub(super) async fn back_up(cluster: &mut Cluster, member: &str) -> Result<Step> {
    let (file, bytes) = cluster.back_up(member).await?;
    let status = cluster.snapshot_status(&file).await?;
    let revision = &status["revision"];
    Ok(Step::Installed {
        evidence: format!("{member} gave a snapshot of {bytes} bytes, of revision {revision}"),
    })
}

pub(super) async fn snapshot(cluster: &mut Cluster, member: &str) -> Result<Step> {
    let bytes = cluster.take_snapshot(member).await?;
    Ok(Step::Installed { evidence: format!("{member} gave a snapshot of {bytes} bytes") })
}
