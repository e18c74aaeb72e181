//! A run on a cluster that belongs to somebody: it works below a prefix of its own, breaks only what was allowed and
//! heals by itself, and leaves nothing behind.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, FINISH_TIME_MAX, Judgement, Machine, Setting, Stage, finish, folder, judge};
use crate::check::course;
use crate::client::Client;
use crate::history::{self, Begin, Event, Op, Put, Step};
use crate::live::{Live, LiveNemesis, OWN, Site};
use crate::scenario::{Plan, Scenario, Stroke};
use crate::workloads::PREFIX;

/// Reads of the past go back by no more than this, and there was nothing of ours.
const PAST: u64 = 1000;

/// Does what the plan says on a cluster that runs already, and judges it. When `stop` is cancelled it mends, cleans up and
/// says that it was stopped.
///
/// # Errors
/// When the cluster is not as was said, or there is not even a history to judge; and when something was left behind.
pub async fn run_live(
    scenario: &Scenario,
    plan: &Plan,
    live: &Live,
    machine: &Machine<'_>,
    stop: &CancellationToken,
) -> Result<Judgement> {
    let site = live.find().await?;
    let folder = folder(plan, machine)?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("run");
    let prefix = format!("{OWN}{name}-{}/", machine.entropy.name_suffix(5));
    (machine.watch)(&format!("{} of cluster {}, below {prefix}", site.version, site.name));
    let run = Run { scenario, plan, live, site: &site, stop };
    let performed = run.perform(machine, &folder, &prefix).await;
    site.empty(&prefix).await?;
    let trouble = performed.err().map(|error| format!("{error:#}"));
    fs::write(folder.join("schedule.json"), serde_json::to_string_pretty(plan)?)
        .context("cannot write schedule.json")?;
    let summary = judge(&folder, trouble.as_deref())?;
    Ok(Judgement { folder, summary })
}

struct Run<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    live: &'a Live,
    site: &'a Site,
    stop: &'a CancellationToken,
}

impl Run<'_> {
    /// Everything but the judgement.
    async fn perform(&self, machine: &Machine<'_>, folder: &std::path::Path, prefix: &str) -> Result<()> {
        let tasks = self.scenario.live_work(self.live.terms);
        ensure!(!tasks.is_empty(), "nothing of {} can be done with these endpoints", self.scenario.name);
        let targets = self.site.below(prefix);
        let begin = self.begin(machine);
        let first = begin.revision + 1;
        let heard_from = self.site.revision + 1;
        let setting = Setting { begin, tasks, targets, apis: Vec::new(), heard_from };
        let stage = Stage::around(self.scenario, machine, folder, setting)?;
        // Watches from just below what is forgotten are still of the run.
        stage.arena.recorder.forget(first + 1);
        let ended = self.play(&stage, first).await;
        let written = stage.close(None).await;
        ended.and(written)
    }

    fn begin(&self, machine: &Machine<'_>) -> Begin {
        Begin {
            scenario: self.plan.scenario.clone(),
            seed: self.plan.seed,
            system: self.live.terms.system(),
            version: self.site.version.clone(),
            members: self.site.targets.iter().map(|target| target.member.clone()).collect(),
            revision: self.site.revision.saturating_sub(PAST).max(1),
            // A cluster that is not ours may know none.
            has_request_ids: false,
            command: machine.command.clone(),
        }
    }

    async fn play(&self, stage: &Stage, first: u64) -> Result<()> {
        stage.begin_work().await?;
        stage.phase("safety");
        self.break_things(stage).await;
        stage.phase("heal");
        stage.end_work().await?;
        stage.phase("final");
        // Who lags behind may read what is old.
        self.level(stage).await?;
        finish::final_reads(stage).await;
        stage.end_looks().await?;
        self.tell_logs(stage, first).await?;
        ensure!(!self.stop.is_cancelled(), "the run was stopped");
        Ok(())
    }

    /// What was allowed, and only when the time for it has come; to the end of the plan's time.
    async fn break_things(&self, stage: &Stage) {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut nemesis = LiveNemesis::new(self.live.pids.clone(), self.site.targets.len());
        let strikes = if self.live.terms.faults { &self.plan.strikes[..] } else { &[] };
        let members: Vec<String> = self.site.targets.iter().map(|target| target.member.clone()).collect();
        for strike in strikes {
            self.until(at(strike.at_ms)).await;
            if self.stop.is_cancelled() {
                return;
            }
            let leader = stage.observer.leader();
            let faults = match &strike.stroke {
                Stroke::Exact { fault } => vec![fault.clone()],
                Stroke::Aimed { blow, throw } => blow.faults(&members, leader.as_deref(), *throw),
            };
            let lasts = Duration::from_millis(strike.lasts_ms);
            let tell = |step: history::Fault| {
                match &step.step {
                    Step::Installed { .. } => {
                        stage
                            .observer
                            .fault_began(step.fault, format!("{} {}", step.kind, step.target.join(" ")));
                    }
                    Step::Healed { .. } => stage.observer.fault_ended(step.fault),
                    Step::Skipped { .. } | Step::Indeterminate { .. } => {}
                }
                stage.arena.recorder.history.record(0, Event::Fault(step));
            };
            for fault in faults {
                nemesis.strike(&fault, lasts, self.stop, tell).await;
            }
        }
        self.until(at(self.plan.safety_ms)).await;
    }

    async fn until(&self, moment: Instant) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep_until(moment) => {}
        }
    }

    /// Has every member tell everything up to a last write.
    async fn tell_logs(&self, stage: &Stage, first: u64) -> Result<()> {
        stage.phase(course::CONVERGE);
        let (last, behind) = self.level(stage).await?;
        let recorder = &stage.arena.recorder;
        let told =
            if behind.is_empty() { course::converged(last) } else { course::unconverged(&behind.join(", ")) };
        recorder.history.record(0, told);
        for collector in stage.collectors.iter().filter(|collector| !behind.contains(&collector.member)) {
            collector.tell_all(recorder, first..=last);
        }
        Ok(())
    }

    /// Writes, and waits until every member tells that: the write's revision, and who does not.
    async fn level(&self, stage: &Stage) -> Result<(u64, Vec<String>)> {
        let put = Put { key: format!("{PREFIX}end"), value: String::new(), lease: 0, previous: false };
        let mut last = None;
        let until = Instant::now() + FINISH_TIME_MAX;
        for target in stage.arena.targets.iter().cycle() {
            let mut client = Client::new(stage.arena.recorder.clone(), target.clone(), "end", DEADLINE);
            last = client.ask(Op::Put(put.clone())).await.map(|(header, _)| header.revision);
            if last.is_some() || Instant::now() > until {
                break;
            }
        }
        let Some(last) = last else { bail!("the cluster does not take a last write") };
        let mut behind = Vec::new();
        for collector in &stage.collectors {
            if !collector.reaches(last, finish::CONVERGE_TIME_MAX).await {
                behind.push(collector.member.clone());
            }
        }
        Ok((last, behind))
    }
}
