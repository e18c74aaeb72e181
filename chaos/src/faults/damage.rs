//! Files that are not as they were written, and disks that are empty.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::disk::{join, skipped};
use super::{identity, process};
use crate::cluster::{Cluster, Part, System};
use crate::dice::Dice;
use crate::history::{CameTo, Sight, Step};

/// How long a member may take to have everything again.
const VOTES_MAX: Duration = Duration::from_secs(30);
/// How long a server on a damaged log is looked at, until it says who it is.
const LOOK_MAX: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The last write of a log cannot be told from one that was torn; it is in this part of the file if the file is as long.
const END_PER_CENT: u64 = 15;
const LONG_BYTES: u64 = 64 * 1024;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Damage {
    /// Turns single bits.
    Flip { bits: u32 },
    /// Overwrites a piece with zeros.
    Zero { bytes: u32 },
    /// Cuts off the end of what was written.
    Truncate,
}

/// Damages a file of the member while it does not run, and starts it. Where is chance's choice, from a seed.
pub(super) async fn damage(
    cluster: &mut Cluster,
    (member, part): (&str, Part),
    damage: Damage,
    seed: u64,
) -> Result<Step> {
    let dice = Dice::new(seed);
    // A member that does not answer has no number to be known by.
    let before = identity::standing(cluster, member).await.map(|(id, _)| id).ok();
    if cluster.is_running(member)? {
        cluster.kill(member).await?;
    }
    let files = cluster.files(member, part)?;
    let done = match dice.pick(&files) {
        Some(file) => apply(file, damage, &dice)?,
        None => None,
    };
    process::start(cluster, &[member.to_owned()]).await?;
    let Some(Done { told, used }) = done else {
        return Ok(skipped("it has written nothing of the kind yet"));
    };
    if let Some(before) = before.filter(|_| part == Part::Log && used >= LONG_BYTES) {
        look(cluster, member, before).await?;
    }
    Ok(Step::Installed { evidence: format!("{member}: {told}") })
}

/// What becomes of a server that was started on a damaged log, and was the member of this number.
async fn look(cluster: &mut Cluster, member: &str, before: u64) -> Result<()> {
    let began = Instant::now();
    let mut came_to = CameTo::Waits;
    while came_to == CameTo::Waits && began.elapsed() < LOOK_MAX {
        sleep(LOOK_EVERY).await;
        if !cluster.is_running(member)? {
            came_to = CameTo::Ended;
        } else if let Ok((now, _)) = identity::standing(cluster, member).await {
            came_to = if now == before { CameTo::Served } else { CameTo::AnotherMember };
        }
    }
    let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let said = cluster.last_words(member)?;
    cluster.see(Sight::Damaged { member: member.to_owned(), came_to, after_ms, said });
    Ok(())
}

/// A member that refused to start on what is left starts with nothing. One that came back as another is waited for.
pub(super) async fn recover(cluster: &mut Cluster, member: &str) -> Result<String> {
    if cluster.is_running(member)? {
        match cluster.wait_ready(member, VOTES_MAX).await {
            Ok(took) => return Ok(format!("{member} votes after {} ms", took.as_millis())),
            Err(error) if cluster.is_running(member)? => return Err(error),
            Err(_) => {}
        }
    }
    if cluster.options().system == System::Etcd {
        return super::members::replace(cluster, member).await;
    }
    cluster.wipe(member)?;
    Ok(format!("{member} had given up, its disk is empty, {}", come_back(cluster, member).await?))
}

/// Starts a member that has forgotten everything, and waits until it votes: before that it counts as broken, and another
/// that is struck may be one too many for ever.
pub(super) async fn come_back(cluster: &mut Cluster, member: &str) -> Result<String> {
    let started = process::start(cluster, &[member.to_owned()]).await?;
    let took = cluster.wait_ready(member, VOTES_MAX).await?;
    Ok(join(started, &format!("votes after {} ms", took.as_millis())))
}

/// Kills the member, and empties its disk. It comes back with its old name when it is started.
pub(super) async fn wipe(cluster: &mut Cluster, member: &str) -> Result<Step> {
    if cluster.options().system == System::Etcd {
        return Ok(skipped("etcd's members cannot come back from an empty disk"));
    }
    if cluster.is_running(member)? {
        cluster.kill(member).await?;
    }
    cluster.wipe(member)?;
    Ok(Step::Installed { evidence: format!("the disk of {member} is empty") })
}

/// What was done to a file.
struct Done {
    told: String,
    /// How much of the file had been written.
    used: u64,
}

/// Says what was done, if there was anything to damage. The end is spared.
fn apply(file: &Path, damage: Damage, dice: &Dice) -> Result<Option<Done>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    // Files are prepared larger than they are used, with zeros.
    let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return Ok(None) };
    let used = last as u64 + 1;
    let spared = if used >= LONG_BYTES { used * END_PER_CENT / 100 } else { 0 };
    let within = used - spared;
    let open = OpenOptions::new().write(true).open(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let told = match damage {
        Damage::Flip { bits } => {
            for _ in 0..bits {
                let at = dice.below(within);
                let mut byte = [0];
                OpenOptions::new().read(true).open(file)?.read_exact_at(&mut byte, at)?;
                open.write_all_at(&[byte[0] ^ 1 << dice.below(8)], at)?;
            }
            format!("{bits} of {used} bytes of {name} have a bit turned")
        }
        Damage::Zero { bytes } => {
            let at = dice.below(within);
            let length = u64::from(bytes).min(used - at);
            open.write_all_at(&vec![0; usize::try_from(length)?], at)?;
            format!("{length} bytes of {name} from {at} on are zero")
        }
        Damage::Truncate => {
            let length = dice.below(within);
            open.set_len(length)?;
            format!("{name} ends after {length} of {used} bytes")
        }
    };
    open.sync_all()?;
    Ok(Some(Done { told, used }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(damage: Damage) -> (Vec<u8>, Option<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let written: Vec<u8> = [[0xaa; 1000].as_slice(), [0; 3000].as_slice()].concat();
        fs::write(file.path(), &written).unwrap();
        let done = apply(file.path(), damage, &Dice::new(1)).unwrap();
        (fs::read(file.path()).unwrap(), done.map(|done| done.told))
    }

    #[test]
    fn only_what_was_written_is_damaged() {
        let (bytes, _) = damaged(Damage::Flip { bits: 5 });
        let turned: u32 = bytes[..1000].iter().map(|byte| (byte ^ 0xaa).count_ones()).sum();
        assert_eq!((turned, bytes.len()), (5, 4000));
        assert!(bytes[1000..].iter().all(|byte| *byte == 0));
        let (bytes, _) = damaged(Damage::Zero { bytes: 10 });
        assert_eq!(bytes[..1000].iter().filter(|byte| **byte == 0).count(), 10);
        assert!(damaged(Damage::Truncate).0.len() < 1000);
    }

    #[test]
    fn an_empty_file_cannot_be_damaged() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(apply(file.path(), Damage::Truncate, &Dice::new(1)).unwrap().is_none());
    }
}
