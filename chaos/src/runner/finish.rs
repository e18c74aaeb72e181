//! The end of a run: every member must have everything, what is unknown is asked again, and all of it is told.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;

use super::collector::Collector;
use super::{DEADLINE, Stage};
use crate::check::{course, kubernetes};
use crate::client::{Asker, Client, Recorder, Target, Unresolved};
use crate::cluster::Cluster;
use crate::history::{Event, Landed, Op, Range};
use crate::scenario::{Plan, Strike};
use crate::workloads::{self, Workload};

/// How long members may take to have everything once all is mended.
pub(super) const CONVERGE_TIME_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long controllers may take to bring about what was asked for last.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);
const SETTLE_LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often an unknown call is asked again.
const RESOLVE_TRIES: u64 = 3;
/// The store keeps an answer for five minutes; what is older would be done a second time.
const RESOLVE_AGE_MAX: Duration = Duration::from_secs(4 * 60);
/// Words in a server's log that end a run.
const CRASH_WORDS: &[&str] = &["panicked at", "invariant", "panic:", "fatal error:", "SIGSEGV"];

/// What the store says of itself, and its revision, before anything is done.
pub(super) async fn first_look(target: &Target) -> Result<(String, u64)> {
    let status = status(target).await?;
    let revision = status.header.map_or(0, |header| u64::try_from(header.revision).unwrap_or(0));
    Ok((status.version, revision))
}

async fn status(target: &Target) -> Result<pb::StatusResponse> {
    let asked = MaintenanceClient::new(target.connect());
    let answer = async move { asked.clone().status(pb::StatusRequest {}).await };
    let answer = tokio::time::timeout(DEADLINE, answer).await.context("no answer in time")?;
    Ok(answer.with_context(|| format!("{} does not tell its status", target.member))?.into_inner())
}

pub(super) fn keep_schedule(folder: &Path, plan: &Plan, done: Vec<Strike>) -> Result<()> {
    let schedule = Plan { strikes: done, ..plan.clone() };
    let mut text = serde_json::to_string_pretty(&schedule).context("cannot write a schedule")?;
    text.push('\n');
    fs::write(folder.join("schedule.json"), text).context("cannot write schedule.json")
}

/// All phases after the clients are done.
pub(super) async fn finish(stage: &Stage) -> Result<()> {
    if stage.scenario.hollow_nodes > 0 {
        stage.phase(kubernetes::SETTLE);
        settle(stage).await;
    }
    stage.phase("converge");
    let recorder = &stage.arena.recorder;
    recorder.history.record(0, converge(stage).await);
    stage.phase("resolve");
    resolve(recorder, &stage.arena.targets).await;
    stage.phase("final");
    final_reads(stage).await;
    stage.end_looks().await?;
    tell_logs(stage).await;
    Ok(())
}

/// Waits until every Deployment is as it was asked to be; what is not in the end, the checker says.
async fn settle(stage: &Stage) {
    let until = tokio::time::Instant::now() + SETTLE_TIME_MAX;
    let is_settled = |collector: &Collector| {
        collector.look(|changes| kubernetes::deployments(changes).iter().all(|(_, lacks)| lacks.is_none()))
    };
    while !stage.collectors.iter().all(is_settled) && tokio::time::Instant::now() < until {
        tokio::time::sleep(SETTLE_LOOK_EVERY).await;
    }
    // What was written meanwhile belongs to the log that is told.
    for target in stage.arena.targets.iter() {
        let mut client = Client::new(stage.arena.recorder.clone(), target.clone(), "settle", DEADLINE);
        client.ask(Op::Status).await;
    }
}

/// Whether every member gets as far as any was when the clients were done.
async fn converge(stage: &Stage) -> Event {
    let wanted = stage.arena.recorder.newest();
    let within = tokio::time::Instant::now() + CONVERGE_TIME_MAX;
    let mut behind = Vec::new();
    while tokio::time::Instant::now() < within {
        behind.clear();
        for target in stage.arena.targets.iter() {
            let revision = first_look(target).await.map_or(0, |(_, revision)| revision);
            if revision < wanted {
                behind.push(format!("{} is at {revision}", target.member));
            }
        }
        if behind.is_empty() {
            return course::converged(wanted);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    course::unconverged(&format!("{} of {wanted}", behind.join(", ")))
}

/// Asks again, under the same request ids, what nobody knows the outcome of.
async fn resolve(recorder: &Recorder, targets: &[Target]) {
    let mut asker = Asker::new(recorder.clone(), targets[0].clone(), DEADLINE);
    for round in 0..RESOLVE_TRIES {
        let (again, old): (Vec<Unresolved>, Vec<Unresolved>) =
            recorder.take_unresolved().into_iter().partition(|call| call.since.elapsed() < RESOLVE_AGE_MAX);
        if !old.is_empty() {
            let text = format!("{} calls are too old to be asked again", old.len());
            recorder.history.record(0, Event::Note { text });
        }
        for (number, call) in again.into_iter().enumerate() {
            let at = usize::try_from(round).unwrap_or(0) + number;
            asker.turn_to(targets[at % targets.len()].clone());
            // What it comes to is in the history.
            let _outcome = asker.ask_again(call).await;
        }
    }
}

/// Of every member, with consensus and without.
pub(super) async fn final_reads(stage: &Stage) {
    for work in &stage.tasks {
        let Some(workload) = Workload::named(work.workload) else { continue };
        for target in stage.arena.targets.iter() {
            let mut client =
                Client::new(stage.arena.recorder.clone(), target.clone(), workload.name, DEADLINE);
            for op in (workload.final_reads)() {
                let serializable = match &op {
                    Op::Range(range) => Some(Op::Range(Range { serializable: true, ..range.clone() })),
                    _ => None,
                };
                client.ask(op).await;
                if let Some(op) = serializable {
                    client.ask(op).await;
                }
            }
        }
    }
}

/// Every member's log, and its hash at a revision that all of them have.
async fn tell_logs(stage: &Stage) {
    let recorder = &stage.arena.recorder;
    if stage.tasks.iter().any(|work| work.workload == "accounts") {
        for target in stage.arena.targets.iter() {
            workloads::tell_accounts(recorder, target).await;
        }
    }
    let newest = recorder.newest();
    for collector in &stage.collectors {
        if !collector.reaches(newest, CONVERGE_TIME_MAX).await {
            let text = format!("the log of {} was not heard up to {newest}", collector.member);
            recorder.history.record(0, Event::Note { text });
        }
        collector.tell(recorder);
    }
    for target in stage.arena.targets.iter() {
        let told = hash(target, newest).await;
        // Without a hash the members cannot be compared, which the checker says.
        let told = told.unwrap_or_else(|error| Event::Note { text: format!("{error:#}") });
        recorder.history.record(0, told);
    }
}

pub(super) async fn hash(target: &Target, revision: u64) -> Result<Event> {
    let mut asked = MaintenanceClient::new(target.connect());
    let request = pb::HashKvRequest { revision: i64::try_from(revision).unwrap_or(i64::MAX) };
    let answer = tokio::time::timeout(CONVERGE_TIME_MAX, asked.hash_kv(request)).await;
    let answer = answer.context("no answer in time").and_then(|answer| Ok(answer?.into_inner()));
    let answer = answer.with_context(|| format!("{} does not tell its hash", target.member))?;
    Ok(Event::Hash {
        member: target.member.clone(),
        revision,
        compacted: u64::try_from(answer.compact_revision).unwrap_or(0),
        hash: u64::from(answer.hash),
    })
}

/// What the servers said of themselves: nothing of a crash, or which line.
pub(super) fn read_server_logs(recorder: &Recorder, cluster: &Cluster) -> Result<()> {
    for member in cluster.members() {
        let bytes = fs::read(cluster.log(&member)?).with_context(|| format!("cannot read {member}'s log"))?;
        let text = String::from_utf8_lossy(&bytes);
        for line in text.lines() {
            if let Some(landed) = Landed::heard(&member, line) {
                recorder.history.record(0, Event::Landed(landed));
            }
        }
        recorder.history.record(0, course::log(&member, crash(&text)));
    }
    Ok(())
}

fn crash(log: &str) -> Option<&str> {
    log.lines().find(|line| CRASH_WORDS.iter().any(|word| line.contains(word)))
}

/// A run that passed needs no data any more; the logs stay.
pub(super) fn forget_disks(servers: &Path) {
    for entry in fs::read_dir(servers).into_iter().flatten().flatten() {
        // What cannot be removed stays: it is in nobody's way.
        let _stays = fs::remove_dir_all(entry.path().join("disk"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_found_in_a_log() {
        assert_eq!(crash("INFO a leader was elected\nWARN slow"), None);
        let log = "INFO fine\nthread 'store' panicked at store/src/hub.rs:1:2:\nINFO";
        assert_eq!(crash(log), Some("thread 'store' panicked at store/src/hub.rs:1:2:"));
    }
}
