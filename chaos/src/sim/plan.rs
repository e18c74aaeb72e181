//! Everything about a run that follows from its seed: how many nodes, how they are set, what goes wrong.

use std::fmt;
use std::time::Duration;

use store::Timings;

use super::client::Crowd;
use crate::dice::Dice;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Groups of nodes do not reach each other.
    Partition,
    /// Nothing passes from one node to another, but back.
    OneWay,
    /// Packets between two nodes take long.
    Delay,
    /// Packets between two nodes are lost.
    Loss,
    /// A node's process ends.
    Kill,
    /// A node's power goes.
    PowerLoss,
    /// The power of all nodes goes at once.
    Blackout,
    /// A node's wall clock jumps.
    Clock,
    /// A node's syncs take long.
    SlowDisk,
    /// A node's syncs and writes fail, until it is started again.
    FailingDisk,
    /// Rows of a node's tables cannot be read any more.
    Rot,
    /// A node's disk has next to no room.
    FullDisk,
    /// Members are added, promoted and removed, and leadership is handed over.
    Members,
    /// A node's disk is replaced by an empty one.
    Wipe,
    /// A node ends, and bits of its log change before it is started again.
    LogRot,
}

impl Kind {
    pub const ALL: [Self; 15] = [
        Self::Partition,
        Self::OneWay,
        Self::Delay,
        Self::Loss,
        Self::Kill,
        Self::PowerLoss,
        Self::Blackout,
        Self::Clock,
        Self::SlowDisk,
        Self::FailingDisk,
        Self::Rot,
        Self::FullDisk,
        Self::Members,
        Self::Wipe,
        Self::LogRot,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::Kill => "kill",
            Self::PowerLoss => "power-loss",
            Self::Blackout => "blackout",
            Self::Clock => "clock",
            Self::SlowDisk => "slow-disk",
            Self::FailingDisk => "failing-disk",
            Self::Rot => "rot",
            Self::FullDisk => "full-disk",
            Self::Members => "members",
            Self::Wipe => "wipe",
            Self::LogRot => "log-rot",
        }
    }
}

/// A run, before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: u64,
    /// Of these one after the other, and several at once.
    pub faults: Vec<Kind>,
    /// Between the beginnings of two faults, at most.
    pub fault_every_max: Duration,
    /// For how long things go wrong anywhere.
    pub safety: Duration,
    /// For how long a majority is well and must make progress, while the others are not.
    pub liveness: Duration,
    /// Of one packet.
    pub latency_max: Duration,
    pub timings: Timings,
    pub snapshot_every_entries: u64,
    pub watch_ring_bytes: usize,
    /// Of a node's log.
    pub segment_bytes: u64,
    /// Every disk says that it has synced, and has not: what a run must find out.
    pub disks_lie: bool,
    /// Founders are control nodes: API server, controllers and scheduler run beside their stores.
    pub has_control_plane: bool,
    pub(super) crowd: Crowd,
}

/// Of all runs: one with a control plane costs several times as much as one without.
const CONTROL_PLANE_PERCENT: u64 = 20;

/// How many nodes wait to become members, where members change.
const SPARES: u64 = 2;

impl Plan {
    /// The names of the nodes that wait to become members.
    pub(super) fn spares(&self) -> Vec<String> {
        let count = if self.faults.contains(&Kind::Members) { SPARES } else { 0 };
        (self.nodes + 1..=self.nodes + count).map(|number| format!("n{number}")).collect()
    }

    /// How long a vote that was given may be on its way and still count: then whoever asked for it asks anew.
    pub(super) fn votes_under_way_max(&self) -> Duration {
        2 * self.timings.election_max
    }

    pub fn of(seed: u64) -> Self {
        let dice = Dice::of(seed, "plan", 0);
        let pick = |items: &[u64]| dice.pick(items).copied().unwrap_or_default();
        let ms = Duration::from_millis;
        // Each run does without some of the faults: what always happens hides what it hides.
        let mut faults: Vec<Kind> = Kind::ALL.into_iter().filter(|_| dice.percent(45)).collect();
        if faults.is_empty() {
            faults.push(Kind::Kill);
        }
        let heartbeat = pick(&[40, 75, 75, 150]);
        let timings = Timings {
            heartbeat: ms(heartbeat),
            election_min: ms(3 * heartbeat),
            election_max: ms(5 * heartbeat),
            request_timeout: ms(pick(&[800, 1500, 3000])),
            ..Timings::default()
        };
        Self {
            seed,
            nodes: pick(&[3, 3, 5]),
            faults,
            fault_every_max: ms(pick(&[250, 600, 1500])),
            safety: ms(4000),
            liveness: ms(2500),
            latency_max: ms(pick(&[1, 3, 10, 25])),
            timings,
            snapshot_every_entries: pick(&[3, 10, 50, 1000]),
            watch_ring_bytes: usize::try_from(pick(&[1, 600, 5000, 1_000_000])).unwrap_or(1),
            segment_bytes: pick(&[2048, 8192, 64 * 1024]),
            disks_lie: false,
            has_control_plane: Dice::of(seed, "control plane", 0).percent(CONTROL_PLANE_PERCENT),
            crowd: Crowd {
                clients: 1 + dice.below(3),
                watchers: 1 + dice.below(2),
                pause: ms(pick(&[20, 60, 150])),
                named_percent: pick(&[0, 60, 100]),
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.faults.iter().map(|kind| kind.name()).collect();
        write!(
            f,
            "{} nodes, {} clients and {} watchers each, a pause of {:?}; {} a fault at most every {:?}; packets take \
             up to {:?}; heartbeats every {:?}, requests up to {:?}; a snapshot every {} entries, a ring of {} bytes, \
             segments of {}{}",
            self.nodes,
            self.crowd.clients,
            self.crowd.watchers,
            self.crowd.pause,
            if names.is_empty() { "no faults;".to_owned() } else { format!("{};", names.join(" ")) },
            self.fault_every_max,
            self.latency_max,
            self.timings.heartbeat,
            self.timings.request_timeout,
            self.snapshot_every_entries,
            self.watch_ring_bytes,
            self.segment_bytes,
            if self.has_control_plane { "; with a control plane" } else { "" },
        )
    }
}
