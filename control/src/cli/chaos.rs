//! The arguments of `navarch chaos`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Clone, Debug, Args)]
pub(crate) struct ChaosArgs {
    #[command(subcommand)]
    pub(crate) command: ChaosCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ChaosCommand {
    /// List the scenarios and what each of them claims
    List,
    /// Run a scenario on this machine; exits with 0 for PASS, 1 for FAIL, 2 for INCONCLUSIVE, 3 for HARNESS-ERROR
    Run(RunArgs),
    /// Show what a run would do, without doing it
    Plan(PlanArgs),
    /// Do again what an earlier run did
    Replay(ReplayArgs),
    /// Judge an earlier run again
    Check(CheckArgs),
    /// Write an earlier run's history in another checker's format
    Export(ExportArgs),
    /// Show what this machine can do, and what is missing
    Doctor,
    /// List the bugs that a server can have on purpose, and which scenario finds each
    Bugs(BugsArgs),
}

/// Which scenario, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    /// Name of the scenario, as `list` shows it
    pub(crate) scenario: String,
    /// What chance is made of; absent: any
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Seconds that faults go on; absent: what the scenario says
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) time: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Whose servers, and where the run is kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Folder in which each run gets a folder of its own
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Whose servers are run
    #[arg(long, value_enum, default_value_t = SystemChoice::Navarch)]
    pub(crate) system: SystemChoice,
    /// The server's program; absent: this one, or etcd from the path
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// A bug that the servers have on purpose; needs a build with the feature seeded-bugs
    #[arg(long, value_name = "NAME")]
    pub(crate) seeded_bug: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BugsArgs {
    /// Run the scenario of each bug, and see that it is found; needs a build with the feature seeded-bugs
    #[arg(long)]
    pub(crate) prove: bool,
    /// Only these
    pub(crate) names: Vec<String>,
    /// How many seeds may be tried for each
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) tries: u64,
    /// Folder in which each run gets a folder of its own
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    pub(crate) runs: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The schedule.json of the earlier run
    pub(crate) schedule: PathBuf,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Folder of the run
    pub(crate) run: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// Folder of the run
    pub(crate) run: PathBuf,
    /// For whom
    #[arg(long, value_enum)]
    pub(crate) format: FormatChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SystemChoice {
    Navarch,
    Etcd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatChoice {
    ElleJson,
    JepsenEdn,
    PorcupineJson,
}
