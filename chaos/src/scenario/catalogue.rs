//! The catalogue: every scenario, one row each.

use super::{Aim, Blow, Drill, Plague, Require, Scenario, Work};
use crate::cluster::{Disk, Impairment, Part, Syncs};
use crate::faults::Damage;

/// What most rows are made of.
const KV: Work = Work { workload: "kv", workers: 8, per_second: 120 };
const REGISTER: Work = Work { workload: "register", workers: 6, per_second: 60 };
const APPEND: Work = Work { workload: "append", workers: 5, per_second: 30 };
const SET: Work = Work { workload: "set", workers: 4, per_second: 12 };
const BANK: Work = Work { workload: "bank", workers: 4, per_second: 30 };
const WATCH: Work = Work { workload: "watch", workers: 9, per_second: 0 };
const COMPACT: Work = Work { workload: "compact", workers: 1, per_second: 1 };
/// Beside the work for the Kubernetes API.
const SOME_KV: Work = Work { workload: "kv", workers: 4, per_second: 30 };
const LEASE: Work = Work { workload: "lease", workers: 5, per_second: 25 };

/// A second or two to break something, a few for the cluster to cope, then again.
const fn often(blow: Blow) -> Plague {
    Plague { blow, pause_ms: (1500, 3000), lasts_ms: (1500, 3500) }
}

/// Longer than controllers hold their leases without renewing them.
const fn beyond_lease(blow: Blow) -> Plague {
    Plague { blow, pause_ms: (2500, 4000), lasts_ms: (7500, 10_000) }
}

/// API servers tell of each leader's write that they let through.
const FENCES_TOLD: &[&str] = &["--log=info,openraft=error,apiserver::chain::fence=debug"];

/// The same, for longer: whoever is away misses more than the others keep for him.
const fn long(blow: Blow) -> Plague {
    Plague { blow, pause_ms: (1000, 2000), lasts_ms: (4000, 6000) }
}

/// Over and done with.
const fn brief(blow: Blow) -> Plague {
    Plague { blow, pause_ms: (500, 1500), lasts_ms: (100, 500) }
}

/// As often as a cluster can cope with, so that many are measured.
const fn in_turn(blow: Blow) -> Plague {
    Plague { blow, pause_ms: (1000, 2000), lasts_ms: (1500, 2000) }
}

const HOUR_MS: i64 = 3_600_000;
/// A link over half of the world, in bad weather.
const FAR: Impairment =
    Impairment { delay_us: 50_000, jitter_us: 40_000, loss_ppm: 10_000, ..Impairment::NONE };
const LOSSY: Impairment = Impairment { loss_ppm: 300_000, ..Impairment::NONE };
const MIXED_UP: Impairment =
    Impairment { delay_us: 5_000, reorder_ppm: 200_000, duplicate_ppm: 100_000, ..Impairment::NONE };
/// A megabit per second.
const NARROW: Impairment = Impairment { bytes_per_second: 125_000, ..Impairment::NONE };
const CORRUPT: Impairment = Impairment { corrupt_ppm: 20_000, ..Impairment::NONE };

const BASE: Scenario = Scenario {
    name: "",
    claims: "",
    servers: 3,
    disk: Disk::Folder,
    flags: &[],
    hollow_nodes: 0,
    work: &[KV],
    plagues: &[],
    drill: None,
    together: false,
    seconds: 60,
    require: Require { ok: 1000, faults: 1 },
    refused: &[],
};

/// In the order in which they are listed.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "calm",
        claims: "nothing breaks, and everything is as it should be: what the others are compared with",
        work: &[KV, REGISTER, APPEND, SET, BANK, WATCH, COMPACT, LEASE],
        require: Require { ok: 1000, faults: 0 },
        seconds: 20,
        ..BASE
    },
    Scenario {
        name: "S-01",
        claims: "no acknowledged write is lost and none happens twice when servers are killed and started again",
        work: &[KV, REGISTER, APPEND, SET, BANK, WATCH, COMPACT],
        plagues: &[
            often(Blow::Kill(Aim::Leader)),
            often(Blow::Kill(Aim::Follower)),
            often(Blow::Kill(Aim::Majority)),
            often(Blow::Kill(Aim::All)),
        ],
        require: Require { ok: 1000, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "S-02",
        claims: "whoever is cut off answers nothing that is no longer so, and a majority goes on, however links break",
        work: &[KV, REGISTER, APPEND, WATCH],
        plagues: &[
            often(Blow::Isolate(Aim::Leader)),
            often(Blow::Isolate(Aim::Follower)),
            often(Blow::Mute(Aim::Leader)),
            often(Blow::Deafen(Aim::Leader)),
            often(Blow::Ring),
        ],
        require: Require { ok: 1000, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "S-02-five",
        claims: "the same of five servers, where there are more shapes",
        servers: 5,
        work: &[KV, REGISTER, WATCH],
        plagues: &[
            often(Blow::Isolate(Aim::Leader)),
            often(Blow::Isolate(Aim::Minority)),
            often(Blow::Mute(Aim::Minority)),
            often(Blow::Bridge),
            often(Blow::Ring),
        ],
        require: Require { ok: 1000, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "S-03",
        claims: "a server that stood still, the leader too, never answers with what is no longer so",
        work: &[KV, REGISTER, SET, WATCH],
        plagues: &[
            often(Blow::Pause(Aim::Leader)),
            often(Blow::Pause(Aim::Follower)),
            often(Blow::Pause(Aim::Majority)),
        ],
        require: Require { ok: 1000, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "failover",
        claims: "who loses a leader, killed, standing still or cut off, soon has another: how soon, the report says",
        work: &[KV, REGISTER],
        plagues: &[
            in_turn(Blow::Kill(Aim::Leader)),
            in_turn(Blow::Pause(Aim::Leader)),
            in_turn(Blow::Isolate(Aim::Leader)),
        ],
        seconds: 120,
        require: Require { ok: 1000, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "S-05",
        claims: "servers that are restarted one after the other, and leaders that hand over, lose nothing",
        work: &[KV, APPEND, WATCH],
        plagues: &[
            brief(Blow::Restart(Aim::All)),
            brief(Blow::MoveLeader(Aim::Follower)),
            brief(Blow::CrashLoop(Aim::Any)),
        ],
        require: Require { ok: 1000, faults: 2 },
        ..BASE
    },
    Scenario {
        name: "S-06",
        claims: "no acknowledged write is lost when the power of one, most or all servers fails",
        disk: Disk::LoopXfs,
        work: &[KV, REGISTER, APPEND, SET],
        plagues: &[
            brief(Blow::LosePower(Aim::Leader)),
            brief(Blow::LosePower(Aim::Follower)),
            brief(Blow::LosePower(Aim::Majority)),
            brief(Blow::LosePower(Aim::All)),
        ],
        require: Require { ok: 1000, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "S-07",
        claims: "a server whose disk is full, stands still, is slow or refuses to sync is no danger, and comes back",
        disk: Disk::LoopExt4,
        work: &[KV, REGISTER, SET],
        plagues: &[
            often(Blow::FillDisk(Aim::Leader)),
            often(Blow::FreezeDisk(Aim::Leader)),
            often(Blow::Syncs(Aim::Any, Syncs::Fail)),
            often(Blow::Syncs(Aim::Leader, Syncs::Delay { by_ms: 200 })),
            often(Blow::ReadOnlyDisk(Aim::Any)),
        ],
        require: Require { ok: 1000, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "S-08",
        claims: "a server never answers with what was damaged on its disk",
        flags: &["--snapshot-count=200"],
        work: &[KV, SET],
        plagues: &[
            often(Blow::Damage(Aim::Follower, Part::Log, Damage::Flip { bits: 3 })),
            often(Blow::Damage(Aim::Follower, Part::Tables, Damage::Flip { bits: 3 })),
            often(Blow::Damage(Aim::Any, Part::Log, Damage::Zero { bytes: 512 })),
            often(Blow::Damage(Aim::Any, Part::Log, Damage::Truncate)),
        ],
        require: Require { ok: 1000, faults: 2 },
        ..BASE
    },
    Scenario {
        name: "S-09",
        claims: "a server whose disk was emptied comes back by itself, and never votes for what it has forgotten",
        work: &[KV, REGISTER, SET],
        plagues: &[often(Blow::Wipe(Aim::Any)), often(Blow::Wipe(Aim::Leader))],
        require: Require { ok: 1000, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "S-10",
        claims: "no server runs on data that are another's or old ones of its own, and without a majority for ever nothing is \
                 answered until an operator says so",
        work: &[KV, SET, WATCH],
        plagues: &[
            often(Blow::SwapData(Aim::Majority)),
            often(Blow::CloneData(Aim::Follower)),
            often(Blow::PutBack(Aim::Follower)),
        ],
        drill: Some(Drill::LoseQuorum),
        seconds: 30,
        require: Require { ok: 1000, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "S-11",
        claims: "a server that was away for so long that it is sent a snapshot goes on as if it had been there",
        flags: &["--snapshot-count=100"],
        work: &[KV, SET, WATCH, Work { workload: "compact", workers: 1, per_second: 4 }],
        plagues: &[
            long(Blow::Isolate(Aim::Follower)),
            long(Blow::Kill(Aim::Follower)),
            long(Blow::Pause(Aim::Leader)),
            often(Blow::Kill(Aim::Any)),
        ],
        require: Require { ok: 1000, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "S-12",
        claims: "a watch tells every change once and in order, also at the edge of what was compacted",
        work: &[
            KV,
            Work { workload: "watch", workers: 15, per_second: 0 },
            Work { workload: "compact", workers: 1, per_second: 4 },
            Work { workload: "tombstone", workers: 2, per_second: 4 },
        ],
        plagues: &[often(Blow::Kill(Aim::Any))],
        ..BASE
    },
    Scenario {
        name: "tight",
        claims: "nothing is lost when snapshots are taken all the time and watches have to read the disk",
        flags: &["--snapshot-count=40", "--watch-ring-bytes=1"],
        work: &[
            KV,
            Work { workload: "watch", workers: 15, per_second: 0 },
            Work { workload: "compact", workers: 1, per_second: 4 },
            Work { workload: "tombstone", workers: 2, per_second: 4 },
        ],
        plagues: &[
            often(Blow::Kill(Aim::Any)),
            often(Blow::Pause(Aim::Follower)),
            often(Blow::Kill(Aim::All)),
        ],
        ..BASE
    },
    Scenario {
        name: "S-13",
        claims: "servers that are killed while they compact, and those that defragment, lose no revision",
        flags: &["--snapshot-count=100"],
        work: &[KV, WATCH, Work { workload: "compact", workers: 2, per_second: 6 }],
        plagues: &[
            brief(Blow::Compact),
            brief(Blow::Defragment(Aim::Any)),
            brief(Blow::Snapshot(Aim::Any)),
            brief(Blow::Kill(Aim::Any)),
            brief(Blow::Kill(Aim::All)),
        ],
        require: Require { ok: 1000, faults: 2 },
        ..BASE
    },
    Scenario {
        name: "S-14",
        claims: "a transaction comes to the same on every member, whatever it asks: too much, the past, what is to come",
        flags: &["--snapshot-count=100"],
        work: &[
            SOME_KV,
            Work { workload: "wide", workers: 8, per_second: 40 },
            Work { workload: "compact", workers: 1, per_second: 4 },
        ],
        plagues: &[often(Blow::Kill(Aim::Leader)), often(Blow::Pause(Aim::Follower))],
        require: Require { ok: 300, faults: 2 },
        ..BASE
    },
    Scenario {
        name: "S-15",
        claims: "members come and go, the leader too, and nothing is lost",
        work: &[KV, REGISTER, SET, WATCH],
        plagues: &[
            often(Blow::Remove(Aim::Follower)),
            often(Blow::Remove(Aim::Leader)),
            often(Blow::Add),
            brief(Blow::MoveLeader(Aim::Follower)),
            often(Blow::Kill(Aim::Leader)),
        ],
        require: Require { ok: 1000, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "S-16",
        claims: "clocks that jump endanger nothing, and end no lease early",
        work: &[KV, LEASE, Work { workload: "lock", workers: 3, per_second: 10 }],
        plagues: &[
            often(Blow::ShiftClock(Aim::Leader, HOUR_MS)),
            often(Blow::ShiftClock(Aim::Leader, -HOUR_MS)),
            often(Blow::ShiftClock(Aim::Follower, HOUR_MS)),
            often(Blow::ShiftClock(Aim::All, -200)),
            often(Blow::Kill(Aim::Leader)),
        ],
        require: Require { ok: 1000, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "tombstones",
        claims: "a watch from a deletion that the store was just compacted to still tells it (etcd issue 18089)",
        work: &[Work { workload: "tombstone", workers: 3, per_second: 6 }],
        require: Require { ok: 50, faults: 0 },
        seconds: 10,
        ..BASE
    },
    Scenario {
        name: "S-17",
        claims: "a lease ends when its time is up and not before, whoever leads",
        work: &[Work { workload: "lease", workers: 12, per_second: 60 }],
        plagues: &[often(Blow::Kill(Aim::Leader)), often(Blow::Pause(Aim::Leader))],
        require: Require { ok: 500, faults: 2 },
        ..BASE
    },
    Scenario {
        name: "S-18",
        claims: "a request that is asked again under its id happens once",
        work: &[BANK, APPEND, Work { workload: "again", workers: 6, per_second: 30 }],
        plagues: &[often(Blow::Kill(Aim::Leader)), often(Blow::Pause(Aim::Leader))],
        require: Require { ok: 300, faults: 2 },
        ..BASE
    },
    Scenario {
        name: "A-03",
        claims: "a watch of objects tells every change once and in order, at whichever API server it goes on",
        work: &[
            SOME_KV,
            Work { workload: "objects", workers: 6, per_second: 60 },
            Work { workload: "object-watch", workers: 9, per_second: 0 },
        ],
        plagues: &[often(Blow::Pause(Aim::Any)), often(Blow::Pause(Aim::Leader))],
        require: Require { ok: 150, faults: 2 },
        refused: &[("Conflict", 5)],
        ..BASE
    },
    Scenario {
        name: "A-04",
        claims: "of many who write one object through three API servers, one wins for each resourceVersion",
        work: &[SOME_KV, Work { workload: "objects", workers: 9, per_second: 90 }],
        plagues: &[often(Blow::Kill(Aim::Leader)), often(Blow::Pause(Aim::Any))],
        require: Require { ok: 1000, faults: 2 },
        refused: &[("Conflict", 50), ("AlreadyExists", 5), ("NotFound", 5)],
        ..BASE
    },
    Scenario {
        name: "C-07",
        claims: "no pod is bound twice or lost when the leader is killed in bursts of pods",
        flags: FENCES_TOLD,
        hollow_nodes: 6,
        work: &[SOME_KV, Work { workload: "deployments", workers: 4, per_second: 6 }],
        plagues: &[often(Blow::Kill(Aim::Leader))],
        require: Require { ok: 500, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "C-10",
        claims: "a leader that stood still for longer than its lease writes nothing any more",
        flags: FENCES_TOLD,
        hollow_nodes: 4,
        work: &[
            SOME_KV,
            Work { workload: "deployments", workers: 3, per_second: 4 },
            Work { workload: "fenced", workers: 6, per_second: 40 },
        ],
        plagues: &[beyond_lease(Blow::Pause(Aim::Leader)), beyond_lease(Blow::Pause(Aim::Any))],
        require: Require { ok: 500, faults: 3 },
        refused: &[("Fenced", 3)],
        ..BASE
    },
    Scenario {
        name: "S-19",
        claims: "links that lose, delay, reorder, repeat, narrow or corrupt what is sent are slow, and nothing worse",
        work: &[KV, REGISTER, WATCH],
        plagues: &[
            often(Blow::Impair(Aim::Leader, FAR)),
            often(Blow::Impair(Aim::Follower, LOSSY)),
            often(Blow::Impair(Aim::Leader, MIXED_UP)),
            often(Blow::Impair(Aim::Follower, NARROW)),
            often(Blow::Impair(Aim::Any, CORRUPT)),
        ],
        require: Require { ok: 1000, faults: 3 },
        ..BASE
    },
    Scenario {
        name: "S-24",
        claims: "five servers stand faults of all kinds, two and more at once",
        servers: 5,
        disk: Disk::LoopXfs,
        flags: &["--snapshot-count=200"],
        work: &[KV, REGISTER, APPEND, SET, BANK, WATCH, COMPACT, LEASE],
        plagues: &[
            often(Blow::Kill(Aim::Any)),
            often(Blow::Pause(Aim::Leader)),
            long(Blow::Isolate(Aim::Minority)),
            long(Blow::Impair(Aim::Follower, FAR)),
            long(Blow::LosePower(Aim::Any)),
            long(Blow::ShiftClock(Aim::Any, HOUR_MS)),
        ],
        together: true,
        require: Require { ok: 1000, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "S-20",
        claims: "servers that are asked for more than they can do, may open no file, may use no more memory, or have a log \
                 that nobody takes, lose nothing and go on",
        flags: &["--log=info,h2=debug,openraft=error"],
        work: &[Work { workload: "kv", workers: 64, per_second: 4000 }, REGISTER],
        plagues: &[
            often(Blow::BlockLog(Aim::Leader)),
            often(Blow::BlockLog(Aim::Any)),
            often(Blow::LimitFiles(Aim::Any)),
            often(Blow::LimitMemory(Aim::Any)),
        ],
        require: Require { ok: 1000, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "S-21",
        claims: "a snapshot that was taken under load becomes a cluster that has the state of its revision, exactly",
        work: &[KV, REGISTER, SET, BANK],
        plagues: &[
            brief(Blow::BackUp(Aim::Leader)),
            brief(Blow::BackUp(Aim::Follower)),
            often(Blow::Kill(Aim::Any)),
        ],
        drill: Some(Drill::Restore),
        seconds: 15,
        require: Require { ok: 1000, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "S-22",
        claims: "users, roles, permissions, auth and alarms that change between crashes are the same on every member",
        flags: &["--snapshot-count=100"],
        work: &[SOME_KV, SET, Work { workload: "accounts", workers: 4, per_second: 40 }],
        plagues: &[
            often(Blow::Kill(Aim::Leader)),
            often(Blow::Kill(Aim::All)),
            often(Blow::Isolate(Aim::Follower)),
            often(Blow::Pause(Aim::Leader)),
        ],
        require: Require { ok: 300, faults: 1 },
        ..BASE
    },
    Scenario {
        name: "lock-set",
        claims: "a lock on a lease protects what is changed under it: false, and this run must FAIL",
        work: &[Work { workload: "lock-set", workers: 6, per_second: 30 }],
        plagues: &[often(Blow::Pause(Aim::Leader))],
        require: Require { ok: 200, faults: 1 },
        seconds: 30,
        ..BASE
    },
    Scenario {
        name: "fenced-lock",
        claims: "what is changed under a lock is safe when each write proves that the lock is still held",
        work: &[
            Work { workload: "fenced-lock", workers: 6, per_second: 30 },
            Work { workload: "store-fence", workers: 6, per_second: 30 },
            Work { workload: "lock", workers: 3, per_second: 10 },
        ],
        plagues: &[often(Blow::Pause(Aim::Leader))],
        require: Require { ok: 200, faults: 1 },
        seconds: 30,
        ..BASE
    },
];
