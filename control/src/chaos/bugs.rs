//! `navarch chaos bugs`: what the harness must catch, and the proof that it does.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use chaos::bugs::{self, Trap};
use chaos::verdict::Verdict;

use super::gate::{Known, Unmet, conclude};
use crate::cli::chaos::{BugsArgs, PlaceArgs, SystemChoice};

/// Lists the bugs, or passes when each is caught.
pub(super) async fn run(args: &BugsArgs) -> Result<Verdict> {
    let chosen = chosen(args)?;
    if !args.prove {
        list(&chosen);
        return Ok(Verdict::Pass);
    }
    let mut missed_by = Vec::new();
    for trap in chosen {
        for _ in 0..args.times {
            missed_by.extend(missed(trap, &args.runs).await?);
        }
    }
    Ok(conclude(&missed_by, &args.runs))
}

fn list(chosen: &[&Trap]) {
    println!("{:<26} {:<12} {:>4} {:>4}  caught by", "bug", "scenario", "seed", "s");
    for Trap { bug, scenario, seed, seconds, properties } in chosen {
        let (name, what, properties) = (bug.name(), bug.what(), properties.join(" or "));
        println!("{name:<26} {scenario:<12} {seed:>4} {seconds:>4}  {properties}: {what}");
    }
    for bug in bugs::simulated().filter(|_| chosen.len() == bugs::ALL.len()) {
        println!("{:<26} {:<22}  {}", bug.name(), "only `make sim-bugs`", bug.what());
    }
}

fn chosen(args: &BugsArgs) -> Result<Vec<&'static Trap>> {
    let trap = |name: &String| {
        let found = bugs::ALL.iter().find(|trap| trap.bug.name() == name);
        found.with_context(|| format!("there is no bug {name}: `navarch chaos bugs` shows them"))
    };
    if args.names.is_empty() { Ok(bugs::ALL.iter().collect()) } else { args.names.iter().map(trap).collect() }
}

/// Runs servers that have the bug. Unmet if that was not seen.
pub(super) async fn missed(trap: &Trap, runs: &Path) -> Result<Option<Unmet>> {
    ensure!(cfg!(debug_assertions), "this is a release: it has no bugs on purpose");
    let known = Known {
        scenario: trap.scenario,
        seed: trap.seed,
        seconds: trap.seconds,
        place: PlaceArgs {
            runs: runs.to_owned(),
            system: SystemChoice::Navarch,
            binary: None,
            seeded_bug: Some(trap.bug.name().to_owned()),
        },
        must: format!("must break {}", trap.properties.join(" or ")),
    };
    let caught = |summary: &_| {
        let (property, violations) = trap.sprung(summary)?;
        Some(format!("caught by {violations} × {property}"))
    };
    known.unmet(caught).await
}
