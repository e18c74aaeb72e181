//! The catalogue: every scenario, one row each.

use super::{Aim, Blow, Plague, Require, Scenario, Work};
use crate::cluster::Disk;

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

const BASE: Scenario = Scenario {
    name: "",
    claims: "",
    servers: 3,
    disk: Disk::Folder,
    flags: &[],
    hollow_nodes: 0,
    work: &[KV],
    plagues: &[],
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
        work: &[BANK, APPEND],
        plagues: &[often(Blow::Kill(Aim::Leader)), often(Blow::Pause(Aim::Leader))],
        require: Require { ok: 300, faults: 2 },
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
            Work { workload: "lock", workers: 3, per_second: 10 },
        ],
        plagues: &[often(Blow::Pause(Aim::Leader))],
        require: Require { ok: 200, faults: 1 },
        seconds: 30,
        ..BASE
    },
];
