//! `navarch chaos bugs`: what the harness must find, and the proof that it does.

use anyhow::{Context, Result, ensure};
use chaos::bugs::{self, Trap};
use chaos::runner::Judgement;
use chaos::scenario::Plan;
use chaos::verdict::Verdict;

use super::{judged_run, named, repeat};
use crate::cli::chaos::{BugsArgs, PlaceArgs, SystemChoice};

/// Lists the bugs, or passes when each is found.
pub(super) async fn run(args: &BugsArgs) -> Result<Verdict> {
    let chosen = chosen(args)?;
    if !args.prove {
        for trap in chosen {
            println!("{:<26} {:<12} {}", trap.bug.name(), trap.scenario, trap.bug.what());
        }
        return Ok(Verdict::Pass);
    }
    ensure!(
        cfg!(feature = "seeded-bugs"),
        "this program has no bugs on purpose: build with --features seeded-bugs"
    );
    let mut verdict = Verdict::Pass;
    for trap in chosen {
        let found = prove(trap, args).await?;
        verdict = if found { verdict } else { Verdict::Fail };
    }
    Ok(verdict)
}

fn chosen(args: &BugsArgs) -> Result<Vec<&'static Trap>> {
    let trap = |name: &String| {
        let found = bugs::ALL.iter().find(|trap| trap.bug.name() == name);
        found.with_context(|| format!("there is no bug {name}: `navarch chaos bugs` shows them"))
    };
    if args.names.is_empty() { Ok(bugs::ALL.iter().collect()) } else { args.names.iter().map(trap).collect() }
}

/// Whether any of a few seeds finds it.
async fn prove(trap: &Trap, args: &BugsArgs) -> Result<bool> {
    let scenario = named(trap.scenario)?;
    let name = trap.bug.name();
    let place = PlaceArgs {
        runs: args.runs.clone(),
        system: SystemChoice::Navarch,
        binary: None,
        seeded_bug: Some(name.to_owned()),
    };
    for seed in 1..=args.tries {
        let plan = Plan::new(scenario, seed, trap.seconds * 1000);
        let command = repeat(&plan, &place);
        let Judgement { folder, summary } = judged_run(scenario, &plan, &place, &command).await?;
        if let Some(property) = trap.sprung(&summary) {
            println!("found   {name:<26} {} seed {seed}: {property}: {}", trap.scenario, summary.sentence);
            return Ok(true);
        }
        println!(
            "missed  {name:<26} {} seed {seed}: {} ({})",
            trap.scenario,
            summary.sentence,
            folder.display()
        );
    }
    Ok(false)
}
