//! `navarch chaos bugs`: what the harness must catch, and the proof that it does.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use chaos::bugs::{self, Trap};
use chaos::verdict::Verdict;

use super::gate::{Judged, forget, judged, verdict};
use crate::cli::chaos::{BugsArgs, PlaceArgs, SystemChoice};

/// Lists the bugs, or passes when each is caught.
pub(super) async fn run(args: &BugsArgs) -> Result<Verdict> {
    let chosen = chosen(args)?;
    if !args.prove {
        println!("{:<26} {:<12} {:>4} {:>4}  caught by", "bug", "scenario", "seed", "s");
        for Trap { bug, scenario, seed, seconds, properties } in chosen {
            let properties = properties.join(" or ");
            println!(
                "{:<26} {scenario:<12} {seed:>4} {seconds:>4}  {properties}: {}",
                bug.name(),
                bug.what()
            );
        }
        return Ok(Verdict::Pass);
    }
    let mut all_caught = true;
    for trap in chosen {
        for _ in 0..args.times {
            all_caught &= is_caught(trap, &args.runs).await?;
        }
    }
    Ok(verdict(all_caught))
}

fn chosen(args: &BugsArgs) -> Result<Vec<&'static Trap>> {
    let trap = |name: &String| {
        let found = bugs::ALL.iter().find(|trap| trap.bug.name() == name);
        found.with_context(|| format!("there is no bug {name}: `navarch chaos bugs` shows them"))
    };
    if args.names.is_empty() { Ok(bugs::ALL.iter().collect()) } else { args.names.iter().map(trap).collect() }
}

/// Runs servers that have the bug, and says what of it was seen.
pub(super) async fn is_caught(trap: &Trap, runs: &Path) -> Result<bool> {
    ensure!(cfg!(debug_assertions), "this is a release: it has no bugs on purpose");
    let Trap { bug, scenario, seed, seconds, .. } = trap;
    let place = PlaceArgs {
        runs: runs.to_owned(),
        system: SystemChoice::Navarch,
        binary: None,
        seeded_bug: Some(bug.name().to_owned()),
    };
    let Judged { judgement, took, .. } = judged(scenario, *seed, *seconds, &place).await?;
    let (name, took, sentence) = (bug.name(), took.as_secs(), &judgement.summary.sentence);
    let Some(property) = trap.sprung(&judgement.summary) else {
        let page = judgement.folder.join("report.html");
        println!("missed  {name:<26} {scenario} seed {seed}, {took} s: {sentence} ({})", page.display());
        return Ok(false);
    };
    println!("caught  {name:<26} {scenario} seed {seed}, {took} s, by {property}: {sentence}");
    forget(&judgement)?;
    Ok(true)
}
