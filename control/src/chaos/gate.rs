//! `navarch chaos gate` and `navarch chaos calibrate`: runs whose verdicts are known before.
//!
//! What comes to what it must leaves nothing behind. What does not is told in full, keeps its folder, and does not keep
//! the others from being run.
//!
//! The gate gives a second try, with another seed, to what shows nothing wrong: a run in which too little happened, on a
//! machine that was busy, and a bug on purpose that no fault met.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use chaos::bugs::Trap;
use chaos::cluster::System;
use chaos::gate::{self, Trial};
use chaos::report::{self, Summary};
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
    let mut failed = Vec::new();
    for trial in gate::GATE {
        let Some(first) = unmet(trial, &args.runs).await? else { continue };
        failed.extend(match first.is_open {
            true => unmet(&Trial { seed: trial.seed + 1, ..*trial }, &args.runs).await?,
            false => Some(first),
        });
    }
    for trap in &traps {
        if bugs::missed(trap, &args.runs).await?.is_some() {
            failed.extend(bugs::missed(&Trap { seed: trap.seed + 1, ..**trap }, &args.runs).await?);
        }
    }
    let names: Vec<&str> = traps.iter().map(|trap| trap.bug.name()).collect();
    println!("{} s; the bugs were of {}: {}", began.elapsed().as_secs(), args.turn, names.join(" "));
    Ok(conclude(&failed, &args.runs))
}

/// Passes when everything is as expected, on etcd too.
pub(super) async fn calibrate(args: &CalibrateArgs) -> Result<Verdict> {
    let mut failed = Vec::new();
    for trial in gate::CALIBRATION {
        failed.extend(unmet(trial, &args.runs).await?);
    }
    Ok(conclude(&failed, &args.runs))
}

/// Says what repeats those that failed.
pub(super) fn conclude(failed: &[Unmet], runs: &Path) -> Verdict {
    for Unmet { command, .. } in failed {
        println!("again       {command}");
    }
    // It stays if others have something in it.
    let _stays = std::fs::remove_dir(runs);
    if failed.is_empty() { Verdict::Pass } else { Verdict::Fail }
}

/// A run that came to something else than it must.
pub(super) struct Unmet {
    /// Repeats it.
    command: String,
    /// Nothing was seen to be wrong; too little was seen.
    is_open: bool,
}

async fn unmet(trial: &Trial, runs: &Path) -> Result<Option<Unmet>> {
    let system = match trial.system {
        System::Navarch => SystemChoice::Navarch,
        System::Etcd => SystemChoice::Etcd,
    };
    let known = Known {
        scenario: trial.scenario,
        seed: trial.seed,
        seconds: trial.seconds,
        place: PlaceArgs { runs: runs.to_owned(), system, binary: None, seeded_bug: None },
        must: trial.expected.tell(),
    };
    known.unmet(|summary| trial.expected.is_met(summary).then(|| summary.sentence.clone())).await
}

/// A run, and what it must come to.
pub(super) struct Known<'a> {
    pub(super) scenario: &'a str,
    pub(super) seed: u64,
    pub(super) seconds: u64,
    pub(super) place: PlaceArgs,
    /// `must pass`
    pub(super) must: String,
}

impl Known<'_> {
    /// Does it. Unmet if `met` has no words for what it came to.
    pub(super) async fn unmet(&self, met: impl Fn(&Summary) -> Option<String>) -> Result<Option<Unmet>> {
        let scenario = named(self.scenario)?;
        let plan = Plan::new(scenario, self.seed, self.seconds * 1000);
        let command = repeat(&plan, &self.place);
        let machine = Machine { watch: Arc::new(|_| {}), ..machine_at(&self.place, &command)? };
        let began = Instant::now();
        let judged = runner::run(scenario, &plan, &machine).await;
        let (must, took) = (&self.must, began.elapsed().as_secs());
        let Judgement { folder, summary } = match judged {
            Ok(judgement) => judgement,
            Err(error) => {
                println!("UNEXPECTED  {command} {must}, but after {took} s: {error:#}");
                return Ok(Some(Unmet { command, is_open: false }));
            }
        };
        let Some(how) = met(&summary) else {
            println!("UNEXPECTED  {command} {must}, but after {took} s it came to");
            print!("{}", report::terminal(&summary));
            println!("  {}", folder.join("report.html").display());
            return Ok(Some(Unmet { command, is_open: summary.verdict == Verdict::Inconclusive }));
        };
        println!("expected    {command}: {how} ({took} s)");
        // Nobody looks into a run that was as expected.
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        Ok(None)
    }
}
