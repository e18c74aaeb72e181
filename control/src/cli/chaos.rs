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
    Run(Box<RunArgs>),
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
    /// List the bugs that a server can have on purpose, and what catches each
    Bugs(BugsArgs),
    /// What every change has to pass: scenarios, shortened, and some of the bugs, which must be caught
    Gate(GateArgs),
    /// Run the scenarios of which it is known what etcd 3.4.23 does with them, beside ours
    Calibrate(CalibrateArgs),
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
    #[command(flatten)]
    pub(crate) live: LiveArgs,
}

/// A cluster that runs already.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "A cluster that runs already")]
pub(crate) struct LiveArgs {
    /// Run against this cluster instead of servers of our own: a kubeconfig, or each member's client URL,
    /// comma-separated. It is worked with in a namespace, or below a prefix, of its own, which is emptied at the end, and
    /// watched; nothing is broken without --faults
    #[arg(long, value_name = "KUBECONFIG|URLS", value_delimiter = ',')]
    pub(crate) against: Vec<String>,
    /// Contexts of the kubeconfig, comma-separated, each for an API server of the same cluster; absent: the current one
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "against")]
    pub(crate) context: Vec<String>,
    /// Certificate of the servers' authority, PEM
    #[arg(long, value_name = "FILE", requires = "against")]
    pub(crate) cacert: Option<PathBuf>,
    /// Certificate to show, PEM
    #[arg(long, value_name = "FILE", requires_all = ["cacert", "key"])]
    pub(crate) cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Break what heals by itself; needs --cluster-name
    #[arg(long, requires = "against")]
    pub(crate) faults: bool,
    /// The cluster's name, typed to confirm that it may be broken
    #[arg(long, value_name = "NAME", requires = "faults")]
    pub(crate) cluster_name: Option<String>,
    /// Which process of this machine a member is, so that it can be paused; may be given more than once
    #[arg(long, value_name = "MEMBER=NUMBER", requires = "faults", value_parser = member_and_pid)]
    pub(crate) pid: Vec<(String, u32)>,
    /// Compact too, which takes the past from everybody
    #[arg(long, requires = "against")]
    pub(crate) destructive: bool,
}

fn member_and_pid(text: &str) -> Result<(String, u32), String> {
    let (member, pid) = text.split_once('=').ok_or("write MEMBER=NUMBER")?;
    let pid = pid.parse().map_err(|_| format!("{pid} is no process"))?;
    Ok((member.to_owned(), pid))
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
    /// A bug that the servers have on purpose; `bugs` lists them. No release has any
    #[arg(long, value_name = "NAME")]
    pub(crate) seeded_bug: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BugsArgs {
    /// Run the scenario of each bug, and see that it is caught; exits with 1 if one is missed. No release has any
    #[arg(long)]
    pub(crate) prove: bool,
    /// Only these
    pub(crate) names: Vec<String>,
    /// How often each must be caught
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) times: u64,
    /// Folder in which runs that are not as expected stay
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    pub(crate) runs: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct GateArgs {
    /// Chooses the bugs: a commit's name
    #[arg(long, value_name = "TEXT")]
    pub(crate) turn: String,
    /// How many bugs
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub(crate) bugs: usize,
    /// Folder in which runs that are not as expected stay
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    pub(crate) runs: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Folder in which runs that are not as expected stay
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
