//! `navarch chaos`: the command line of the room `chaos`, which holds everything else.

mod bugs;
mod gate;
mod kubeconfig;
mod live;

use std::fs;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base::{Entropy as _, SystemClock, SystemEntropy};
use chaos::cluster::{System, enter_own_namespaces};
use chaos::history::History;
use chaos::runner::{self, Judgement, Machine};
use chaos::scenario::{self, Plan, Scenario};
use chaos::verdict::Verdict;
use chaos::{doctor, export, report};

use crate::cli::chaos::{
    ChaosArgs, ChaosCommand, ExportArgs, FormatChoice, PlaceArgs, PlanArgs, SystemChoice,
};

/// Seeds that are chosen for the user are short enough to be typed.
const SEED_MAX: u64 = 100_000;

/// Moves this process, while it has one thread, where its clusters are seen by nobody else.
pub(crate) fn enter_namespaces(args: &ChaosArgs) -> Result<()> {
    match &args.command {
        ChaosCommand::Run(args) if !args.live.against.is_empty() => Ok(()),
        ChaosCommand::Run(_) | ChaosCommand::Replay(_) => enter_own_namespaces(),
        ChaosCommand::Gate(_) | ChaosCommand::Calibrate(_) => enter_own_namespaces(),
        ChaosCommand::Bugs(args) if args.prove => enter_own_namespaces(),
        ChaosCommand::List
        | ChaosCommand::Bugs(_)
        | ChaosCommand::Plan(_)
        | ChaosCommand::Check(_)
        | ChaosCommand::Export(_)
        | ChaosCommand::Doctor => Ok(()),
    }
}

/// Exits with the verdict. An error is the harness's.
pub(crate) async fn run(args: &ChaosArgs) -> ExitCode {
    match perform(args).await {
        Ok(verdict) => ExitCode::from(verdict.exit_code()),
        Err(error) => harness_error(&error),
    }
}

/// Says what is wrong with the harness, or how it was called.
pub(crate) fn harness_error(error: &anyhow::Error) -> ExitCode {
    eprintln!("navarch chaos: {error:#}");
    ExitCode::from(Verdict::HarnessError.exit_code())
}

async fn perform(args: &ChaosArgs) -> Result<Verdict> {
    match &args.command {
        ChaosCommand::List => list(),
        ChaosCommand::Plan(args) => print!("{}", plan(args)?.1.tell()),
        ChaosCommand::Doctor => print!("{}", doctor::table(&doctor::examine())),
        ChaosCommand::Bugs(args) => return bugs::run(args).await,
        ChaosCommand::Gate(args) => return gate::run(args).await,
        ChaosCommand::Calibrate(args) => return gate::calibrate(args).await,
        ChaosCommand::Export(args) => export(args)?,
        ChaosCommand::Run(args) => {
            let (scenario, plan) = plan(&args.plan)?;
            if !args.live.against.is_empty() {
                return show(&live::run(scenario, &plan, args).await?);
            }
            return in_place(scenario, &plan, &args.place, &repeat(&plan, &args.place)).await;
        }
        ChaosCommand::Replay(args) => {
            let text = fs::read(&args.schedule)
                .with_context(|| format!("cannot read {}", args.schedule.display()))?;
            let plan: Plan = serde_json::from_slice(&text)
                .with_context(|| format!("{} is no schedule", args.schedule.display()))?;
            let command = format!("navarch chaos replay {}", args.schedule.display());
            return in_place(named(&plan.scenario)?, &plan, &args.place, &command).await;
        }
        ChaosCommand::Check(args) => {
            let summary = runner::judge(&args.run, None)?;
            print!("{}", report::terminal(&summary));
            return Ok(summary.verdict);
        }
    }
    Ok(Verdict::Pass)
}

fn list() {
    for scenario in scenario::ALL {
        println!("{:<12} {:>4} s  {}", scenario.name, scenario.seconds, scenario.claims);
    }
}

fn named(scenario: &str) -> Result<&'static Scenario> {
    Scenario::named(scenario)
        .with_context(|| format!("there is no scenario {scenario}: `navarch chaos list` shows them"))
}

fn plan(args: &PlanArgs) -> Result<(&'static Scenario, Plan)> {
    let scenario = named(&args.scenario)?;
    let seed = args.seed.unwrap_or_else(|| SystemEntropy.u64() % SEED_MAX);
    Ok((scenario, Plan::new(scenario, seed, args.time.unwrap_or(scenario.seconds) * 1000)))
}

/// What a person types to have the run again.
fn repeat(plan: &Plan, place: &PlaceArgs) -> String {
    let system = match place.system {
        SystemChoice::Navarch => "",
        SystemChoice::Etcd => " --system etcd",
    };
    let bug = place.seeded_bug.as_ref().map_or_else(String::new, |bug| format!(" --seeded-bug {bug}"));
    let (scenario, seed, seconds) = (&plan.scenario, plan.seed, plan.safety_ms / 1000);
    format!("navarch chaos run {scenario} --seed {seed} --time {seconds}{system}{bug}")
}

async fn in_place(scenario: &Scenario, plan: &Plan, place: &PlaceArgs, command: &str) -> Result<Verdict> {
    eprintln!("{command}");
    let judgement = runner::run(scenario, plan, &machine_at(place, command)?).await?;
    end_line();
    show(&judgement)
}

fn show(judgement: &Judgement) -> Result<Verdict> {
    let Judgement { folder, summary } = judgement;
    print!("{}", report::terminal(summary));
    println!("{}", folder.join("report.html").display());
    Ok(summary.verdict)
}

/// For servers of the system that the place names.
fn machine_at<'a>(place: &PlaceArgs, command: &str) -> Result<Machine<'a>> {
    let (system, binary) = match (place.system, &place.binary) {
        (SystemChoice::Navarch, None) => (System::Navarch, std::env::current_exe().context("who am I")?),
        (SystemChoice::Etcd, None) => (System::Etcd, PathBuf::from("etcd")),
        (SystemChoice::Navarch, Some(binary)) => (System::Navarch, binary.clone()),
        (SystemChoice::Etcd, Some(binary)) => (System::Etcd, binary.clone()),
    };
    let flags = place.seeded_bug.iter().map(|bug| format!("--seeded-bug={bug}")).collect();
    Ok(Machine { binary, system, flags, ..machine(&place.runs, command)? })
}

/// What every run needs, of servers of this program.
fn machine<'a>(runs: &Path, command: &str) -> Result<Machine<'a>> {
    fs::create_dir_all(runs).with_context(|| format!("cannot create {}", runs.display()))?;
    let is_terminal = std::io::stderr().is_terminal();
    Ok(Machine {
        clock: &SystemClock,
        entropy: &SystemEntropy,
        binary: std::env::current_exe().context("who am I")?,
        system: System::Navarch,
        flags: Vec::new(),
        runs: fs::canonicalize(runs).context("cannot find --runs")?,
        command: command.to_owned(),
        watch: Arc::new(move |line| tell(line, is_terminal)),
    })
}

/// The last of those lines goes.
fn end_line() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// On a terminal each line takes the place of the one before.
fn tell(line: &str, is_terminal: bool) {
    if is_terminal {
        eprint!("\r\x1b[K{line}");
    } else {
        eprintln!("{line}");
    }
}

fn export(args: &ExportArgs) -> Result<()> {
    let format = match args.format {
        FormatChoice::ElleJson => export::Format::ElleJson,
        FormatChoice::JepsenEdn => export::Format::JepsenEdn,
        FormatChoice::PorcupineJson => export::Format::PorcupineJson,
    };
    let history = history(&args.run)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = export::write(&history, format, &mut out).and_then(|()| out.flush());
    match written {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the export"),
    }
}

fn history(run: &Path) -> Result<History> {
    let path = run.join("history.jsonl");
    if !path.exists() {
        bail!("{} is no folder of a run: it has no history.jsonl", run.display());
    }
    History::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
