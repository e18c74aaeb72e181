//! A run on a cluster that belongs to somebody: it works below a prefix of its own, breaks only what was allowed and
//! heals by itself, and leaves nothing behind.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, FINISH_TIME_MAX, Judgement, Machine, Setting, Stage, finish, folder, judge};
use crate::check::course;
use crate::client::{Api, ApiTarget, Ask, Client, marked};
use crate::history::{self, Begin, Event, Op, Put, Reply, Verb, version};
use crate::live::{Home, Live, LiveNemesis, Site};
use crate::scenario::{self, Plan, Scenario, Stroke, Through};
use crate::workloads::PREFIX;

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
    let terms = live.terms();
    ensure!(!scenario.live_work(terms).is_empty(), "{}", nothing_to_do(scenario, live));
    let site = live.find().await?;
    let folder = folder(plan, machine)?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("run");
    let home = match site.settle(name, &machine.entropy.name_suffix(5)).await {
        Ok(home) => home,
        Err(error) => {
            // There is nothing to be kept; what else is there is somebody's.
            let _not_empty = fs::remove_dir(&folder);
            return Err(error);
        }
    };
    (machine.watch)(&format!("{} of cluster {}, {}", site.version, site.name, home.tell()));
    let run = Run { scenario, plan, live, site: &site, home: &home, stop };
    let performed = run.perform(machine, &folder).await;
    home.leave().await?;
    let trouble = performed.err().map(|error| format!("{error:#}"));
    fs::write(folder.join("schedule.json"), serde_json::to_string_pretty(plan)?)
        .context("cannot write schedule.json")?;
    let summary = judge(&folder, trouble.as_deref())?;
    Ok(Judgement { folder, summary })
}

/// That none of a scenario's work is for who is seen like this, and whose is.
fn nothing_to_do(scenario: &Scenario, live: &Live) -> String {
    let terms = live.terms();
    let others = scenario::ALL.iter().filter(|other| !other.live_work(terms).is_empty());
    let others: Vec<&str> = others.map(|other| other.name).collect();
    let seen = match terms.through {
        Through::Store => "a store's endpoints",
        Through::Kubernetes => "a Kubernetes API",
    };
    format!(
        "nothing of {} can be done with {seen}; of these something can: {}",
        scenario.name,
        others.join(", ")
    )
}

struct Run<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    live: &'a Live,
    site: &'a Site,
    home: &'a Home,
    stop: &'a CancellationToken,
}

impl Run<'_> {
    /// Everything but the judgement.
    async fn perform(&self, machine: &Machine<'_>, folder: &std::path::Path) -> Result<()> {
        let Home { targets, apis, namespace, heard_from, .. } = self.home.clone();
        let tasks = self.scenario.live_work(self.live.terms());
        let begin = self.begin(machine);
        let first = begin.revision + 1;
        let setting = Setting { begin, tasks, targets, apis, namespace, heard_from };
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
            system: self.live.terms().system(),
            version: self.site.version.clone(),
            members: self.home.members.clone(),
            revision: self.home.begin,
            // A cluster that is not ours may know none.
            has_request_ids: false,
            command: machine.command.clone(),
        }
    }

    async fn play(&self, stage: &Stage, first: u64) -> Result<()> {
        if stage.arena.targets.is_empty() {
            last_object(stage, "begin").await?;
        }
        stage.begin_work().await?;
        stage.phase("safety");
        self.break_things(stage).await;
        stage.phase("heal");
        stage.end_work().await?;
        stage.phase("final");
        // Who lags behind may read what is old.
        self.level(stage, "first").await?;
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
        let mut nemesis = LiveNemesis::new(self.live.pids.clone(), self.home.members.len());
        let strikes = if self.live.faults { &self.plan.strikes[..] } else { &[] };
        let members = &self.home.members;
        for strike in strikes {
            self.until(at(strike.at_ms)).await;
            if self.stop.is_cancelled() {
                return;
            }
            let leader = stage.observer.leader();
            let faults = match &strike.stroke {
                Stroke::Exact { fault } => vec![fault.clone()],
                Stroke::Aimed { blow, throw } => blow.faults(members, leader.as_deref(), *throw),
            };
            let lasts = Duration::from_millis(strike.lasts_ms);
            let tell = |step: history::Fault| {
                stage.observer.fault(&step);
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
        let (last, behind) = self.level(stage, "last").await?;
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
    async fn level(&self, stage: &Stage, name: &str) -> Result<(u64, Vec<String>)> {
        let last = if stage.arena.targets.is_empty() {
            last_object(stage, name).await?
        } else {
            last_key(stage).await?
        };
        let mut behind = Vec::new();
        for collector in &stage.collectors {
            if !collector.reaches(last, finish::CONVERGE_TIME_MAX).await {
                behind.push(collector.member.clone());
            }
        }
        Ok((last, behind))
    }
}

/// Has some member take one more write: its revision.
async fn last_key(stage: &Stage) -> Result<u64> {
    let put = Put { key: format!("{PREFIX}end"), value: String::new(), lease: 0, previous: false };
    let until = Instant::now() + FINISH_TIME_MAX;
    for target in stage.arena.targets.iter().cycle() {
        let mut client = Client::new(stage.arena.recorder.clone(), target.clone(), "end", DEADLINE);
        if let Some((header, _)) = client.ask(Op::Put(put.clone())).await {
            return Ok(header.revision);
        }
        if Instant::now() > until {
            break;
        }
    }
    bail!("the cluster does not take a last write")
}

/// Has some API server take one more object: its resourceVersion. Then it is read from each of them.
async fn last_object(stage: &Stage, name: &str) -> Result<u64> {
    let until = Instant::now() + FINISH_TIME_MAX;
    let api = |target: &ApiTarget| Api::new(stage.arena.recorder.clone(), target.clone(), "end", DEADLINE);
    let mut why = String::new();
    for (number, target) in stage.arena.apis.iter().cycle().enumerate() {
        let name = format!("{name}-{number}");
        let key = format!("/registry/configmaps/{}/{name}", stage.arena.namespace);
        let object = marked(json!({"metadata": {"name": name}}), &name);
        match api(target).call(Ask::new(Verb::Create, &key).with(object)).await {
            Reply::Ok { object } => {
                for target in stage.arena.apis.iter() {
                    api(target).call(Ask::new(Verb::Get, &key)).await;
                }
                return Ok(version(&object));
            }
            Reply::Refused(failure) | Reply::Unknown(failure) => {
                why = format!("{}: {}: {}", target.member, failure.code, failure.message);
            }
        }
        if Instant::now() > until {
            break;
        }
    }
    bail!("the cluster does not take an object in {}: {why}", stage.arena.namespace)
}
