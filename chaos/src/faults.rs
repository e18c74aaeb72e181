//! Every fault: what it is, how it is brought about, what proves that it happened, and how it is healed.
//!
//! A fault is data, so that a schedule can be kept and replayed. Its life is told in steps as the history has them.

mod process;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::history::{self, Step};

/// What is to be broken. Members are named; who leads is asked of the cluster before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// `kill -9` of all of them at once; healed by starting them again.
    Kill { members: Vec<String> },
    /// SIGSTOP; healed by SIGCONT.
    Pause { members: Vec<String> },
}

/// Brings faults about, and remembers which are to be healed.
#[derive(Debug, Default)]
pub struct Nemesis {
    /// How many faults there were.
    faults: u64,
    installed: Vec<(u64, Fault)>,
}

impl Nemesis {
    /// Breaks something. Whatever the answer is, `heal` of its number may be called, and brings back what was there.
    pub async fn install(&mut self, cluster: &mut Cluster, fault: &Fault) -> history::Fault {
        self.faults += 1;
        let number = self.faults;
        let step = match fault.install(cluster).await {
            Ok(step) => step,
            Err(error) => Step::Indeterminate { reason: format!("{error:#}") },
        };
        if !matches!(step, Step::Skipped { .. }) {
            self.installed.push((number, fault.clone()));
        }
        fault.told(number, step)
    }

    /// Mends what the fault of this number broke; nothing when it was skipped or healed before. When it cannot be
    /// mended, the step is `Indeterminate`, and it can be tried again.
    pub async fn heal(&mut self, cluster: &mut Cluster, number: u64) -> Option<history::Fault> {
        let at = self.installed.iter().position(|(installed, _)| *installed == number)?;
        let (_, fault) = &self.installed[at];
        Some(match fault.heal(cluster).await {
            Ok(evidence) => {
                let (_, fault) = self.installed.remove(at);
                fault.told(number, Step::Healed { evidence })
            }
            Err(error) => fault.told(number, Step::Indeterminate { reason: format!("{error:#}") }),
        })
    }

    /// Mends everything, the newest first.
    pub async fn heal_all(&mut self, cluster: &mut Cluster) -> Vec<history::Fault> {
        let numbers: Vec<u64> = self.installed.iter().rev().map(|(number, _)| *number).collect();
        let mut steps = Vec::new();
        for number in numbers {
            steps.extend(self.heal(cluster, number).await);
        }
        steps
    }
}

impl Fault {
    /// As histories and reports name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Pause { .. } => "pause",
        }
    }

    /// The members, in order; links as `n1>n2`.
    pub fn target(&self) -> Vec<String> {
        let mut target = match self {
            Self::Kill { members } | Self::Pause { members } => members.clone(),
        };
        target.sort();
        target
    }

    fn told(&self, number: u64, step: Step) -> history::Fault {
        history::Fault { fault: number, kind: self.kind().to_owned(), target: self.target(), step }
    }

    async fn install(&self, cluster: &mut Cluster) -> Result<Step> {
        match self {
            Self::Kill { members } => process::kill(cluster, members).await,
            Self::Pause { members } => process::pause(cluster, members).await,
        }
    }

    async fn heal(&self, cluster: &mut Cluster) -> Result<String> {
        match self {
            Self::Kill { members } => process::start(cluster, members).await,
            Self::Pause { members } => process::resume(cluster, members).await,
        }
    }
}
