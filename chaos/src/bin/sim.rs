//! Replays a simulation by its seed, or runs many, each in a process of its own.

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::Context as _;
use chaos::sim::{self, Plan, Report};
use chaos::verdict::Verdict;
use clap::Parser;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// A cluster of the store in one thread, from one seed
#[derive(Parser)]
struct Options {
    /// The seed to replay; of several, the first
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds to run, up to the first that fails
    #[arg(long)]
    soak: Option<u64>,
    /// How many of them at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
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
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if let Some(filter) = &options.log {
        let log =
            tracing_subscriber::fmt().with_env_filter(filter).with_timer(SimulatedTime).with_ansi(false);
        log.with_writer(std::io::stderr).init();
    }
    match options.soak {
        Some(count) => soak(&options, count),
        None => replay(&options),
    }
}

struct SimulatedTime;

impl FormatTime for SimulatedTime {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        write!(out, "{:?}", sim::elapsed().unwrap_or_default())
    }
}

fn replay(options: &Options) -> anyhow::Result<ExitCode> {
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
        println!("  {}: {:?}, checked {}", finding.property, finding.verdict(), finding.checked);
        for violation in finding.violations.iter().take(5) {
            println!("    {}", violation.what);
        }
        if let Some(why) = &finding.inconclusive {
            println!("    {why}");
        }
    }
}

/// One process for each seed: a run has all thread-local chance for itself, and one that dies takes no other with it.
fn soak(options: &Options, count: u64) -> anyhow::Result<ExitCode> {
    let me = std::env::current_exe().context("cannot find this program")?;
    let mut running: Vec<(u64, Child)> = Vec::new();
    let mut next = options.seed;
    let end = options.seed + count;
    let mut done = 0;
    while next < end || !running.is_empty() {
        while next < end && running.len() < options.jobs.max(1) {
            let mut command = Command::new(&me);
            command.args(["--quiet", "--seed", &next.to_string(), "--out"]).arg(&options.out);
            running.push((next, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?));
            next += 1;
        }
        let (seed, child) = running.remove(0);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            println!("after {done} seeds that passed; again with: make sim SEED={seed}");
            for (_, mut other) in running {
                // It may have ended by itself.
                let _ended = other.kill();
                let _reaped = other.wait();
            }
            let code = output.status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(ExitCode::from(code.unwrap_or(Verdict::Fail.exit_code())));
        }
        done += 1;
        if done % 100 == 0 {
            println!("{done} of {count} seeds have passed");
        }
    }
    println!("all {count} seeds have passed");
    Ok(ExitCode::SUCCESS)
}
