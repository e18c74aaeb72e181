//! What comes after a run that ends the cluster for good, or begins another: its clients are done, and every member has
//! told its log. What is seen is told as sights.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, sleep};

use super::{DEADLINE, Stage};
use crate::client::{Bare, Target};
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::history::{Asked, Event, Heard, Op, Outcome, Put, Range, Sight, Txn};
use crate::scenario::Drill;
use crate::workloads::{PREFIX, prefix};

/// How long members may take to find out that a majority is gone.
const FOUND_OUT: Duration = Duration::from_secs(8);
/// For how long they are asked then.
const ASKED_FOR: Duration = Duration::from_secs(6);
/// Longer than a server tries.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long a recovered or restored cluster may take.
const SERVES_MAX: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How far before a snapshot its past is read, too.
const LOOK_BACK: [u64; 4] = [0, 1, 7, 60];
const CLUSTER_NAME: &str = "chaos";

pub(super) async fn perform(stage: &Stage, cluster: &mut Cluster, seed: u64) -> Result<()> {
    match stage.scenario.drill {
        Some(Drill::LoseQuorum) => lose_quorum(stage, cluster, seed).await,
        Some(Drill::Restore) => restore(stage, cluster).await,
        None => Ok(()),
    }
}

/// All but one lose their data; the one that is left becomes a cluster of its own.
async fn lose_quorum(stage: &Stage, cluster: &mut Cluster, seed: u64) -> Result<()> {
    stage.phase("quorum lost");
    let members = cluster.members();
    let dice = Dice::of(seed, "survivor", 0);
    let survivor = dice.pick(&members).context("there is nobody")?.clone();
    let wiped: Vec<String> = members.iter().filter(|member| **member != survivor).cloned().collect();
    let acknowledged = stage.arena.recorder.newest();
    let before = cluster.endpoint(&survivor)?.status().await?.header.map_or(0, |header| header.cluster_id);
    for member in &wiped {
        cluster.kill(member).await?;
        cluster.wipe(member)?;
    }
    for member in &wiped {
        cluster.start_member(member).await?;
    }
    sleep(FOUND_OUT).await;
    let until = Instant::now() + ASKED_FOR;
    while Instant::now() < until {
        for member in &members {
            let target = Target::at(member, cluster.endpoint(member)?.address()?);
            ask_deserted(stage, &target, *member == survivor).await;
        }
        sleep(LOOK_EVERY).await;
    }
    stage.phase("recovery");
    recover(stage, cluster, &survivor, (acknowledged, before)).await
}

/// One of each kind of call.
async fn ask_deserted(stage: &Stage, target: &Target, survives: bool) {
    let key = format!("{PREFIX}deserted");
    let put = || Op::Put(Put { key: key.clone(), value: "written".to_owned(), lease: 0, previous: false });
    let read = || Range { key: key.clone(), ..Range::default() };
    let calls = [
        (Asked::Put, put()),
        (Asked::Txn, Op::Txn(Txn { compare: Vec::new(), then: vec![put()], otherwise: Vec::new() })),
        (Asked::Grant, Op::Grant { id: 0, ttl_s: 60 }),
        (Asked::Read, Op::Range(read())),
        (Asked::OldRead, Op::Range(Range { serializable: true, ..read() })),
        (Asked::Leader, Op::Status),
    ];
    for (asked, op) in calls {
        let (heard, said) = match Bare::new(target, if survives { PATIENCE } else { DEADLINE })
            .call(&op)
            .await
        {
            Outcome::Ok { answer: crate::history::Answer::Status { leader: 0, .. }, .. } => {
                (Heard::Refusal, "nobody".to_owned())
            }
            Outcome::Ok { answer, .. } => (Heard::Yes, format!("{answer:?}")),
            Outcome::Refused(failure) if failure.code == crate::client::TIMEOUT => {
                (Heard::Nothing, failure.message)
            }
            Outcome::Refused(failure) => (Heard::Refusal, format!("{}: {}", failure.code, failure.message)),
            Outcome::Unknown(failure) => (Heard::Nothing, format!("{}: {}", failure.code, failure.message)),
        };
        tell(stage, Sight::Deserted { member: target.member.clone(), survives, asked, heard, said });
    }
}

async fn recover(
    stage: &Stage,
    cluster: &mut Cluster,
    survivor: &str,
    (acknowledged, before): (u64, u64),
) -> Result<()> {
    ensure!(cluster.recover_data(survivor, CLUSTER_NAME).await.is_err(), "a directory in use was recovered");
    cluster.kill(survivor).await?;
    ensure!(
        cluster.recover_data(survivor, "yes").await.is_err(),
        "it was recovered though the cluster's name was not typed"
    );
    let said = cluster.recover_data(survivor, CLUSTER_NAME).await?;
    let number_after = |words: &str| {
        let rest = said.split_once(words).map_or("", |(_, rest)| rest);
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap_or(0)
    };
    let (known, begins) = (number_after("known here:  revision "), number_after("begins at revision "));
    cluster.start_member(survivor).await?;
    cluster.wait_ready(survivor, SERVES_MAX).await?;
    let after = cluster.endpoint(survivor)?.status().await?.header.map_or(0, |header| header.cluster_id);
    tell(stage, Sight::Recovered { said, acknowledged, known, before, after, begins });
    let target = Target::at(survivor, cluster.endpoint(survivor)?.address()?);
    // Whoever knew what is lost, whoever knew all that is left, and whoever was far behind.
    for from in [known + 3, known + 1, known.saturating_sub(5)] {
        let heard = Bare::new(&target, PATIENCE).watch(&prefix(PREFIX), from).await;
        let (canceled, compacted) =
            heard.map_or((false, 0), |answer| (answer.canceled.is_some(), answer.compacted));
        tell(stage, Sight::Resumed { from, canceled, compacted });
    }
    tell_state(stage, &target, known, 0).await
}

/// Every snapshot becomes a cluster of its own, in the place of the one before.
async fn restore(stage: &Stage, cluster: &mut Cluster) -> Result<()> {
    stage.phase("restore");
    let members = cluster.members();
    let mut files = Vec::new();
    for file in cluster.backups().to_vec() {
        let status = cluster.snapshot_status(&file).await?;
        let field = |name: &str| status[name].as_u64().with_context(|| format!("no {name} in {status}"));
        let (revision, compacted) = (field("revision")?, field("compactedRevision")?);
        tell_hashes(stage, cluster, &members, (revision, "")).await?;
        files.push((file, revision, compacted));
    }
    ensure!(!files.is_empty(), "there is no snapshot to restore");
    for (number, (file, revision, compacted)) in (1..).zip(files) {
        for member in &members {
            if cluster.is_running(member)? {
                cluster.stop(member).await?;
            }
            cluster.restore_data(member, &file).await?;
        }
        for member in &members {
            cluster.start_member(member).await?;
        }
        for member in &members {
            cluster.wait_ready(member, SERVES_MAX).await?;
        }
        tell_hashes(stage, cluster, &members, (revision, &format!(" from snapshot {number}"))).await?;
        for member in &members {
            let target = Target::at(member, cluster.endpoint(member)?.address()?);
            for at in LOOK_BACK.map(|back| revision.saturating_sub(back)) {
                if at > compacted.max(1) {
                    tell_state(stage, &target, at, at).await?;
                }
            }
        }
    }
    Ok(())
}

async fn tell_hashes(
    stage: &Stage,
    cluster: &Cluster,
    members: &[String],
    (revision, suffix): (u64, &str),
) -> Result<()> {
    for member in members {
        let target = Target::at(format!("{member}{suffix}"), cluster.endpoint(member)?.address()?);
        let told = super::finish::hash(&target, revision).await?;
        stage.arena.recorder.history.record(0, told);
    }
    Ok(())
}

/// What a member has below the prefix; `at` zero is now.
async fn tell_state(stage: &Stage, target: &Target, revision: u64, at: u64) -> Result<()> {
    let everything = Op::Range(Range { revision: at, ..prefix(PREFIX) });
    let until = Instant::now() + SERVES_MAX;
    loop {
        match Bare::new(target, DEADLINE).call(&everything).await {
            Outcome::Ok { header, answer: crate::history::Answer::Range { kvs, .. } } => {
                let (member, cluster) = (target.member.clone(), header.cluster);
                tell(stage, Sight::Restored { member, revision, cluster, kvs });
                return Ok(());
            }
            other if Instant::now() > until => {
                anyhow::bail!("{} does not tell its state: {other:?}", target.member);
            }
            _ => sleep(LOOK_EVERY).await,
        }
    }
}

fn tell(stage: &Stage, sight: Sight) {
    stage.arena.recorder.history.record(0, Event::Sight(sight));
}
