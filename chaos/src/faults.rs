//! Every fault: what it is, how it is brought about, what proves that it happened, and how it is healed.
//!
//! A fault is data, so that a schedule can be kept and replayed. Its life is told in steps as the history has them.

mod clock;
mod damage;
mod disk;
mod identity;
mod members;
pub mod network;
mod process;
mod scarcity;

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Impairment, Link, Part, Syncs};
use crate::history::{self, Step};

pub use damage::Damage;

/// What is to be broken. Members are named; who leads is asked of the cluster before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// `kill -9` of all of them at once; healed by starting them again.
    Kill {
        members: Vec<String>,
    },
    /// SIGSTOP; healed by SIGCONT.
    Pause {
        members: Vec<String>,
    },
    /// SIGTERM and start, one after the other, each when the one before serves again.
    Restart {
        members: Vec<String>,
    },
    /// `kill -9` and start, again and again, so long after each start.
    CrashLoop {
        member: String,
        times: u32,
        pause_ms: u64,
    },
    /// Links over which nothing gets through; `network` has the usual shapes.
    Partition {
        links: Vec<Link>,
    },
    /// Links that are slow, or bad.
    Impair {
        links: Vec<Link>,
        impairment: Impairment,
    },
    /// Whatever was not synced is gone, of all of them at once; healed by starting them.
    LosePower {
        members: Vec<String>,
    },
    /// No byte is free.
    FillDisk {
        member: String,
    },
    /// The file system refuses writes.
    ReadOnlyDisk {
        member: String,
    },
    /// Whoever writes stands still, and cannot be killed, until it is healed or this is over.
    FreezeDisk {
        member: String,
        longest_ms: u64,
    },
    /// What syncs do.
    Syncs {
        member: String,
        syncs: Syncs,
    },
    /// Files are not as they were written. Healed by emptying the disk of a member that does not start with it.
    Damage {
        member: String,
        part: Part,
        damage: Damage,
        seed: u64,
    },
    /// The disk is empty; healed by starting the member, as the one it was.
    Wipe {
        member: String,
    },
    /// Two members start with each other's data; healed by giving each its own.
    SwapData {
        one: String,
        other: String,
    },
    /// A second process is the member, on a copy of its data; healed by ending it.
    CloneData {
        member: String,
        twin: String,
        /// It says that it is where the original is.
        in_place: bool,
    },
    /// The member has its data of some time ago again.
    PutBack {
        member: String,
    },
    /// Nobody takes its log.
    BlockLog {
        member: String,
    },
    /// It may open hardly any file more.
    LimitFiles {
        member: String,
    },
    /// It may use no memory beyond this, and is killed where that does not do.
    LimitMemory {
        member: String,
        left_bytes: u64,
    },
    /// The wall clocks jump; healed by jumping back.
    ShiftClock {
        members: Vec<String>,
        by_ms: i64,
    },
    /// Removes a member and forgets its data; healed by having it join again.
    RemoveMember {
        member: String,
    },
    /// A new member joins; healed by removing it.
    AddMember {
        member: String,
    },
    MoveLeader {
        to: String,
    },
    /// Forgets the history before the newest revision.
    Compact,
    Defragment {
        member: String,
    },
    /// Has a member send a snapshot of everything.
    Snapshot {
        member: String,
    },
    /// The same, and keeps it.
    BackUp {
        member: String,
    },
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
        let step = match fault.install(cluster, number).await {
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
        Some(match fault.heal(cluster, number).await {
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
            Self::Restart { .. } => "restart",
            Self::CrashLoop { .. } => "crash-loop",
            Self::Partition { .. } => "partition",
            Self::Impair { .. } => "impair",
            Self::LosePower { .. } => "lose-power",
            Self::FillDisk { .. } => "fill-disk",
            Self::ReadOnlyDisk { .. } => "read-only-disk",
            Self::FreezeDisk { .. } => "freeze-disk",
            Self::Syncs { syncs, .. } => match syncs {
                Syncs::Work => "syncs-work",
                Syncs::Fail => "syncs-fail",
                Syncs::Delay { .. } => "syncs-delay",
                Syncs::Hang => "syncs-hang",
            },
            Self::Damage { .. } => "damage",
            Self::Wipe { .. } => "wipe",
            Self::SwapData { .. } => "swap-data",
            Self::CloneData { .. } => "clone-data",
            Self::PutBack { .. } => "put-back",
            Self::BlockLog { .. } => "block-log",
            Self::LimitFiles { .. } => "limit-files",
            Self::LimitMemory { .. } => "limit-memory",
            Self::ShiftClock { .. } => "shift-clock",
            Self::RemoveMember { .. } => "remove-member",
            Self::AddMember { .. } => "add-member",
            Self::MoveLeader { .. } => "move-leader",
            Self::Compact => "compact",
            Self::Defragment { .. } => "defragment",
            Self::Snapshot { .. } => "snapshot",
            Self::BackUp { .. } => "back-up",
        }
    }

    /// The members, in order; links as `n1>n2`.
    pub fn target(&self) -> Vec<String> {
        let mut target = match self {
            Self::Kill { members }
            | Self::Pause { members }
            | Self::Restart { members }
            | Self::LosePower { members }
            | Self::ShiftClock { members, .. } => members.clone(),
            Self::Partition { links } | Self::Impair { links, .. } => {
                links.iter().map(Link::to_string).collect()
            }
            Self::SwapData { one, other } => vec![one.clone(), other.clone()],
            Self::CrashLoop { member, .. }
            | Self::FillDisk { member }
            | Self::ReadOnlyDisk { member }
            | Self::FreezeDisk { member, .. }
            | Self::Syncs { member, .. }
            | Self::Damage { member, .. }
            | Self::Wipe { member }
            | Self::CloneData { member, .. }
            | Self::PutBack { member }
            | Self::BlockLog { member }
            | Self::LimitFiles { member }
            | Self::LimitMemory { member, .. }
            | Self::RemoveMember { member }
            | Self::AddMember { member }
            | Self::MoveLeader { to: member }
            | Self::Defragment { member }
            | Self::Snapshot { member }
            | Self::BackUp { member } => vec![member.clone()],
            Self::Compact => Vec::new(),
        };
        target.sort();
        target
    }

    fn told(&self, number: u64, step: Step) -> history::Fault {
        history::Fault { fault: number, kind: self.kind().to_owned(), target: self.target(), step }
    }

    async fn install(&self, cluster: &mut Cluster, number: u64) -> Result<Step> {
        match self {
            Self::Kill { members } => process::kill(cluster, members).await,
            Self::Pause { members } => process::pause(cluster, members).await,
            Self::Restart { members } => process::restart(cluster, members).await,
            Self::CrashLoop { member, times, pause_ms } => {
                process::crash_loop(cluster, member, *times, Duration::from_millis(*pause_ms)).await
            }
            Self::Partition { links } => network::impair(cluster, number, links, Impairment::CUT).await,
            Self::Impair { links, impairment } => network::impair(cluster, number, links, *impairment).await,
            Self::LosePower { members } => disk::lose_power(cluster, members).await,
            Self::FillDisk { member } => disk::fill(cluster, member),
            Self::ReadOnlyDisk { member } => disk::turn_read_only(cluster, member),
            Self::FreezeDisk { member, longest_ms } => {
                disk::freeze(cluster, member, Duration::from_millis(*longest_ms)).await
            }
            Self::Syncs { member, syncs } => disk::rule_syncs(cluster, member, *syncs).await,
            Self::Damage { member, part, damage, seed } => {
                damage::damage(cluster, (member, *part), *damage, *seed).await
            }
            Self::Wipe { member } => damage::wipe(cluster, member).await,
            Self::SwapData { one, other } => identity::swap(cluster, one, other).await,
            Self::CloneData { member, twin, in_place } => {
                identity::clone(cluster, member, twin, *in_place).await
            }
            Self::PutBack { member } => identity::put_back(cluster, member).await,
            Self::BlockLog { member } => scarcity::block_log(cluster, member).await,
            Self::LimitFiles { member } => scarcity::limit_files(cluster, member),
            Self::LimitMemory { member, left_bytes } => {
                scarcity::limit_memory(cluster, member, *left_bytes).await
            }
            Self::ShiftClock { members, by_ms } => clock::shift(cluster, members, *by_ms),
            Self::RemoveMember { member } => members::remove(cluster, member).await,
            Self::AddMember { member } => members::grow(cluster, member).await,
            Self::MoveLeader { to } => members::move_leader(cluster, to).await,
            Self::Compact => members::compact(cluster).await,
            Self::Defragment { member } => members::defragment(cluster, member).await,
            Self::Snapshot { member } => members::snapshot(cluster, member).await,
            Self::BackUp { member } => members::back_up(cluster, member).await,
        }
    }

    async fn heal(&self, cluster: &mut Cluster, number: u64) -> Result<String> {
        match self {
            Self::Kill { members } | Self::Restart { members } | Self::LosePower { members } => {
                process::start(cluster, members).await
            }
            Self::CrashLoop { member, .. } => process::start(cluster, std::slice::from_ref(member)).await,
            Self::SwapData { one, other } => identity::swap_back(cluster, one, other).await,
            Self::CloneData { member, twin, .. } => identity::end_clone(cluster, member, twin).await,
            Self::PutBack { member } => process::start(cluster, std::slice::from_ref(member)).await,
            Self::BlockLog { member } => scarcity::take_log(cluster, member).await,
            Self::LimitFiles { member } => scarcity::free_files(cluster, member).await,
            Self::LimitMemory { member, .. } => scarcity::free_memory(cluster, member).await,
            Self::Wipe { member } => damage::come_back(cluster, member).await,
            Self::Pause { members } => process::resume(cluster, members).await,
            Self::Partition { links } | Self::Impair { links, .. } => {
                network::mend(cluster, number, links).await
            }
            Self::FillDisk { member } => disk::empty(cluster, member).await,
            Self::ReadOnlyDisk { member } => disk::repair(cluster, member).await,
            Self::FreezeDisk { member, .. } => disk::thaw(cluster, member).await,
            Self::Syncs { member, .. } => disk::let_sync(cluster, member).await,
            Self::Damage { member, .. } => damage::recover(cluster, member).await,
            Self::ShiftClock { members, .. } => clock::mend(cluster, members),
            Self::RemoveMember { member } => cluster.bring_back(member).await,
            Self::AddMember { member } => members::shrink(cluster, member).await,
            Self::MoveLeader { .. }
            | Self::Compact
            | Self::Defragment { .. }
            | Self::Snapshot { .. }
            | Self::BackUp { .. } => Ok("there is nothing to mend".to_owned()),
        }
    }
}
