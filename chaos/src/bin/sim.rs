//! Replays a simulation by its seed, or runs many, each in a process of its own.

use std::path::PathBuf;
use std::process::{ExitCode, Output};

use anyhow::{Context as _, Result, ensure};
use chaos::sim::traps::{self, Trap};
use chaos::sim::{self, Plan, Report};
use chaos::verdict::Verdict;
use clap::Parser;
use futures::StreamExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Of the times in `/proc`, a second.
const TICKS_PER_S: f64 = 100.0;

/// How many runs of each job may be done before one that was begun sooner.
const AHEAD: usize = 16;

/// A cluster of the store in one thread, from one seed
#[derive(Parser)]
struct Options {
    /// The seed to replay; of several, the first
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds to run
    #[arg(long)]
    soak: Option<u64>,
    /// How many of them at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// After how many seeds that fail no other is begun
    #[arg(long, default_value_t = 1)]
    failures: usize,
    /// Where histories are written
    #[arg(long, default_value = "target/sim")]
    out: PathBuf,
    /// Writes the history also of a run that passes
    #[arg(long)]
    keep: bool,
    /// Writes all that happens to this file, line by line
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Shows what the nodes log, each line with the simulated time: `info`, `store=debug,openraft=debug` …
    #[arg(long)]
    log: Option<String>,
    /// Says nothing but the verdict
    #[arg(long)]
    quiet: bool,
    /// A bug that all nodes have on purpose. No release has any
    #[arg(long, value_name = "NAME")]
    seeded_bug: Option<String>,
    /// Tries up to as many seeds for each bug on purpose, and passes when each is found
    #[arg(long, value_name = "SEEDS")]
    prove: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if let Some(filter) = &options.log {
        let log =
            tracing_subscriber::fmt().with_env_filter(filter).with_timer(SimulatedTime).with_ansi(false);
        log.with_writer(std::io::stderr).init();
    }
    match (options.soak, options.prove) {
        (_, Some(seeds)) => prove(&options, seeds),
        (Some(count), None) => soak(&options, count),
        (None, None) => replay(&options),
    }
}

struct SimulatedTime;

impl FormatTime for SimulatedTime {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        write!(out, "{:?}", sim::elapsed().unwrap_or_default())
    }
}

fn replay(options: &Options) -> Result<ExitCode> {
    if let Some(name) = &options.seeded_bug {
        plant(name)?;
    }
    let plan = Plan::of(options.seed);
    if !options.quiet {
        println!("seed {}: {plan}", options.seed);
    }
    let report = sim::run(plan, options.trace.as_deref())?;
    let verdict = report.verdict();
    print_summary(options, &report, verdict);
    if verdict != Verdict::Pass || options.keep {
        let path = options.out.join(format!("seed-{}.jsonl", options.seed));
        std::fs::create_dir_all(&options.out)?;
        report.write(&path).with_context(|| format!("cannot write {}", path.display()))?;
        println!("  history: {}", path.display());
    }
    Ok(ExitCode::from(verdict.exit_code()))
}

#[cfg(debug_assertions)]
fn plant(name: &str) -> Result<()> {
    let bug = store::seeded::Bug::named(name).with_context(|| format!("there is no bug {name}"))?;
    store::seeded::plant(bug);
    Ok(())
}

#[cfg(not(debug_assertions))]
fn plant(name: &str) -> Result<()> {
    anyhow::bail!("this is a release: it has no {name}")
}

fn print_summary(options: &Options, report: &Report, verdict: Verdict) {
    let counts = report.counts;
    println!(
        "seed {}: {verdict:?}, {} ok, {} refused, {} unknown, {:.1} s simulated, trace {:016x}",
        options.seed,
        counts.ok,
        counts.refused,
        counts.unknown,
        report.simulated.as_secs_f64(),
        report.trace
    );
    let wrong = report.findings.iter().filter(|finding| finding.verdict() == Verdict::Fail);
    for finding in wrong {
        println!("  {}{VIOLATED} checked {}", finding.property, finding.checked);
        for violation in finding.violations.iter().take(5) {
            println!("    {}", violation.what);
        }
        if let Some(why) = &finding.inconclusive {
            println!("    {why}");
        }
    }
}

/// What stands behind a property that is violated.
const VIOLATED: &str = ": Fail,";

/// The properties that the summary of a run says are violated.
fn violated(summary: &str) -> Vec<&str> {
    let properties = summary.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(VIOLATED));
    // What is wrong with them stands further in.
    properties.map(|(property, _)| property).filter(|property| !property.starts_with(' ')).collect()
}

fn soak(options: &Options, count: u64) -> Result<ExitCode> {
    let mut failed: Vec<(u64, ExitCode)> = Vec::new();
    let mut done = 0;
    each_seed(options, options.seed..options.seed + count, options.seeded_bug.as_deref(), |seed, output| {
        done += 1;
        if !output.status.success() {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            let code = output.status.code().and_then(|code| u8::try_from(code).ok());
            failed.push((seed, ExitCode::from(code.unwrap_or(Verdict::Fail.exit_code()))));
        }
        if done % 100 == 0 {
            println!("{} of {done} seeds have passed", done - failed.len());
        }
        failed.len() < options.failures
    })?;
    println!(
        "{} of {done} seeds from {} on have passed, {:.2} CPU s each",
        done - failed.len(),
        options.seed,
        cpu_s_of_children() / f64::from(u32::try_from(done.max(1)).unwrap_or(u32::MAX))
    );
    for (seed, _) in &failed {
        println!("again with: make sim SEED={seed}");
    }
    Ok(failed.first().map_or(ExitCode::SUCCESS, |(_, code)| *code))
}

/// Whether every bug on purpose is found, by what it is about.
fn prove(options: &Options, seeds: u64) -> Result<ExitCode> {
    ensure!(cfg!(debug_assertions), "this is a release: it has no bugs on purpose");
    let named = |trap: &&Trap| options.seeded_bug.as_ref().is_none_or(|name| trap.bug.name() == name);
    let mut verdict = Verdict::Pass;
    for trap in traps::ALL.iter().filter(named) {
        let name = trap.bug.name();
        let mut found = None;
        let mut others = Vec::new();
        each_seed(options, options.seed..options.seed + seeds, Some(name), |seed, output| {
            let summary = String::from_utf8_lossy(&output.stdout);
            let violated = violated(&summary);
            match trap.sprung(&violated) {
                Some(property) if found.is_none() => found = Some((seed, property.to_owned())),
                Some(_) => {}
                None => others.extend(violated.iter().map(|property| format!("{property} ({seed})"))),
            }
            found.is_none()
        })?;
        match found {
            Some((seed, property)) => println!("found   {name:<26} seed {seed}: {property}"),
            None => {
                println!("missed  {name:<26} {seeds} seeds; violated: {}", others.join(", "));
                verdict = Verdict::Fail;
            }
        }
    }
    Ok(ExitCode::from(verdict.exit_code()))
}

/// One process for each seed: a run has all thread-local chance for itself, and one that dies takes no other with it.
/// Told in their order, until `go_on` says no.
fn each_seed(
    options: &Options,
    seeds: std::ops::Range<u64>,
    bug: Option<&str>,
    mut go_on: impl FnMut(u64, Output) -> bool,
) -> Result<()> {
    let me = std::env::current_exe().context("cannot find this program")?;
    let slots = Semaphore::new(options.jobs.max(1));
    let run = |seed: u64| {
        let mut command = Command::new(&me);
        command.args(["--quiet", "--seed", &seed.to_string(), "--out"]).arg(&options.out);
        command.args(bug.iter().flat_map(|bug| ["--seeded-bug", bug])).kill_on_drop(true);
        let slots = &slots;
        async move {
            let _slot = slots.acquire().await?;
            anyhow::Ok((seed, command.output().await?))
        }
    };
    let all = async {
        // Who is slow holds up what is told, and not who is next.
        let mut runs = futures::stream::iter(seeds.map(run)).buffered(AHEAD * options.jobs.max(1));
        while let Some(ran) = runs.next().await {
            let (seed, output) = ran?;
            if !go_on(seed, output) {
                break;
            }
        }
        Ok(())
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(all)
}

/// The time that all children together have computed.
fn cpu_s_of_children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: the 14th and 15th are the children's times.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: f64 = fields.skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_what_is_violated() {
        let summary =
            "seed 1: Fail, 3 ok\n  log-exact: Fail, checked 7\n    a: Fail, not a property\n  history: x\n";
        assert_eq!(violated(summary), ["log-exact"]);
        assert_eq!(violated("seed 1: Pass"), [""; 0]);
    }
}
