//! Transactions at the edge of what may be asked: as many operations as fit and one more, as many bytes, keys that are
//! changed twice, transactions in transactions, and reads of what is compacted or still to come beside writes.

use super::{Arena, Share, Worker, Workload, prefix};
use crate::client::{Client, Target};
use crate::dice::Dice;
use crate::history::{self, Compare, Delete, Is, Op, Put, Range, Txn};

pub(super) const WORKLOAD: Workload = Workload {
    name: "wide",
    about: "transactions of 128 operations and of one more, of the greatest size, nested, contradictory, with reads of \
            what is compacted and of what is to come",
    tests: &["txn-shape", "txn-past"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(prefix(KEYS))],
    start,
};

const KEYS: &str = "/chaos/wide/";
/// How many operations a transaction may have on its longest path, as etcd's servers are set.
pub const OPS_MAX: usize = 128;
/// How many bytes of keys and values.
pub const BYTES_MAX: usize = 1536 * 1024;
/// How far into the past, or the future, reads look.
const LOOK_BACK: u64 = 120;
const LOOK_AHEAD: u64 = 40;
/// A history holds every value that was written.
const LARGE_MAX: u64 = 2;

fn start(arena: &Arena, share: Share, tasks: &base::Tasks) {
    super::start(WORKLOAD.name, arena, share, tasks, |number, dice| Stretcher {
        targets: arena.targets.to_vec(),
        dice,
        number,
        writes: 0,
        large: 0,
    });
}

struct Stretcher {
    targets: Vec<Target>,
    dice: Dice,
    number: u64,
    writes: u64,
    /// How often it has written as much as it may.
    large: u64,
}

impl Worker for Stretcher {
    async fn step(&mut self, client: &mut Client) -> bool {
        let op = Op::Txn(self.next(client.recorder().newest()));
        // Whoever is asked again, elsewhere, must come to the same.
        if self.dice.percent(15)
            && let Some(second) = self.dice.pick(&self.targets).cloned()
        {
            return client.call_twice(op, second).await;
        }
        // Most of these are meant to be refused.
        client.ask(op).await;
        true
    }
}

impl Stretcher {
    fn next(&mut self, newest: u64) -> Txn {
        match self.dice.below(100) {
            0..15 => self.full(OPS_MAX, newest),
            15..22 => self.full(OPS_MAX + 1, newest),
            22..30 => self.nested(OPS_MAX / 2, newest),
            30..35 => self.nested(OPS_MAX / 2 + 1, newest),
            35..50 => self.twice(),
            50..53 => self.large(),
            53..80 => self.beside(newest.saturating_sub(self.dice.below(LOOK_BACK)).max(1)),
            _ => self.beside(newest + self.dice.below(LOOK_AHEAD)),
        }
    }

    fn put(&mut self, number: u64) -> Op {
        self.writes += 1;
        let value = format!("{}-{}", self.number, self.writes);
        Op::Put(Put { key: key(number), value, lease: 0, previous: false })
    }

    /// Each key once, written, deleted or read now or in the past.
    fn full(&mut self, count: usize, newest: u64) -> Txn {
        let ops = (0..count as u64)
            .map(|number| match self.dice.below(10) {
                0 => Op::Delete(Delete { key: key(number), end: None, previous: true }),
                1 => read(number, 0),
                2 => read(number, newest.max(1)),
                _ => self.put(number),
            })
            .collect();
        then(ops)
    }

    /// As many operations inside as outside, on both branches.
    fn nested(&mut self, count: usize, newest: u64) -> Txn {
        let outside = (1..count as u64).map(|number| self.put(number)).collect::<Vec<_>>();
        let compare = vec![Compare {
            key: key(0),
            is: Is::Greater,
            target: history::Target::Version(self.dice.below(3)),
        }];
        let inside = |stretcher: &mut Self| {
            (count as u64..2 * count as u64)
                .map(|number| match stretcher.dice.below(4) {
                    0 => read(number, newest.max(1)),
                    _ => stretcher.put(number),
                })
                .collect::<Vec<_>>()
        };
        let (first, second) = (inside(self), inside(self));
        let inner = Txn { compare, then: first, otherwise: second };
        then(outside.into_iter().chain([Op::Txn(inner)]).collect())
    }

    /// One key, changed twice on one path; or once on each of two.
    fn twice(&mut self) -> Txn {
        let number = self.dice.below(8);
        let (first, second) = (self.put(number), self.put(number));
        let span = Op::Delete(Delete { key: key(0), end: Some(key(9)), previous: true });
        match self.dice.below(5) {
            0 => then(vec![first, second]),
            1 => then(vec![span, first]),
            2 => then(vec![first, Op::Txn(then(vec![second]))]),
            3 => then(vec![
                Op::Txn(then(vec![span])),
                Op::Txn(Txn { otherwise: vec![first], ..then(Vec::new()) }),
            ]),
            _ => Txn { otherwise: vec![second], ..then(vec![first]) },
        }
    }

    /// As many bytes as may be, or one more.
    fn large(&mut self) -> Txn {
        let is_too_large = self.dice.percent(50);
        if !is_too_large {
            self.large += 1;
            if self.large > LARGE_MAX {
                return self.full(3, 1);
            }
        }
        self.writes += 1;
        let (key, value) = (key(0), format!("{}-{}-", self.number, self.writes));
        let rest = BYTES_MAX - key.len() - value.len() + usize::from(is_too_large);
        let value = format!("{value}{}", "x".repeat(rest));
        then(vec![Op::Put(Put { key, value, lease: 0, previous: false })])
    }

    /// Writes, and between them a read of that revision.
    fn beside(&mut self, revision: u64) -> Txn {
        let (first, second) = (self.put(1), self.put(2));
        let reads = Txn { otherwise: vec![read(3, revision)], ..then(vec![read(4, revision)]) };
        let last = if self.dice.percent(30) { Op::Txn(reads) } else { read(self.dice.below(8), revision) };
        then(vec![first, last, second])
    }
}

fn key(number: u64) -> String {
    format!("{KEYS}{number:03}")
}

fn read(number: u64, revision: u64) -> Op {
    Op::Range(Range { key: key(number), revision, ..Range::default() })
}

fn then(then: Vec<Op>) -> Txn {
    Txn { compare: Vec::new(), then, otherwise: Vec::new() }
}
