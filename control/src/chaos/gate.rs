//! `navarch chaos gate` and `navarch chaos calibrate`: runs whose verdicts are known before.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chaos::cluster::System;
use chaos::gate::{self, Trial};
use chaos::report;
use chaos::runner::{self, Judgement, Machine};
use chaos::scenario::Plan;
use chaos::verdict::Verdict;
use tokio::time::Instant;

use super::{bugs, machine_at, named, repeat};
use crate::cli::chaos::{CalibrateArgs, GateArgs, PlaceArgs, SystemChoice};

/// Passes when everything is as expected.
pub(super) async fn run(args: &GateArgs) -> Result<Verdict> {
    let began = Instant::now();
    let traps = gate::turn(&args.turn, args.bugs);
    let mut all_met = true;
    for trial in gate::GATE {
        all_met &= is_met(trial, &args.runs).await?;
    }
    for trap in &traps {
        all_met &= bugs::is_caught(trap, &args.runs).await?;
    }
    let names: Vec<&str> = traps.iter().map(|trap| trap.bug.name()).collect();
    println!("{} s; the bugs were of {}: {}", began.elapsed().as_secs(), args.turn, names.join(" "));
    Ok(verdict(all_met))
}

/// Passes when everything is as expected, on etcd too.
pub(super) async fn calibrate(args: &CalibrateArgs) -> Result<Verdict> {
    let mut all_met = true;
    for trial in gate::CALIBRATION {
        all_met &= is_met(trial, &args.runs).await?;
    }
    Ok(verdict(all_met))
}

pub(super) const fn verdict(is_met: bool) -> Verdict {
    if is_met { Verdict::Pass } else { Verdict::Fail }
}

async fn is_met(trial: &Trial, runs: &Path) -> Result<bool> {
    let system = match trial.system {
        System::Navarch => SystemChoice::Navarch,
        System::Etcd => SystemChoice::Etcd,
    };
    let place = PlaceArgs { runs: runs.to_owned(), system, binary: None, seeded_bug: None };
    let Judged { judgement, command, took } =
        judged(trial.scenario, trial.seed, trial.seconds, &place).await?;
    let (summary, seconds) = (&judgement.summary, took.as_secs());
    let is_met = trial.expected.is_met(summary);
    if is_met {
        println!("expected    {command}: {} ({seconds} s)", summary.sentence);
        forget(&judgement)?;
    } else {
        println!("UNEXPECTED  {command} {}, but it came to", trial.expected.tell());
        print!("{}", report::terminal(summary));
        println!("  {}", judgement.folder.join("report.html").display());
    }
    Ok(is_met)
}

/// A run, and how one repeats it.
pub(super) struct Judged {
    pub(super) judgement: Judgement,
    pub(super) command: String,
    pub(super) took: Duration,
}

pub(super) async fn judged(scenario: &str, seed: u64, seconds: u64, place: &PlaceArgs) -> Result<Judged> {
    let scenario = named(scenario)?;
    let plan = Plan::new(scenario, seed, seconds * 1000);
    let command = repeat(&plan, place);
    let began = Instant::now();
    let machine = Machine { watch: Arc::new(|_| {}), ..machine_at(place, &command)? };
    let judgement = runner::run(scenario, &plan, &machine).await?;
    Ok(Judged { judgement, command, took: began.elapsed() })
}

/// Nobody looks into a run that was as expected.
pub(super) fn forget(judgement: &Judgement) -> Result<()> {
    let folder = &judgement.folder;
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}
