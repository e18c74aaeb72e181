//! Everything that a key can undergo, mixed: the widest net for the revision oracle.

use super::{PREFIX, Share, Worker, Workload, prefix};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Answer, Compare, Delete, Header, Is, Op, Put, Range, Target, Txn};

pub(super) const WORKLOAD: Workload = Workload {
    name: "kv",
    about: "puts, deletions, transactions, reads of now and of the past, with and without consensus, on a few keys",
    tests: &["historical-read", "serializable-real", "serializable-monotonic", "revision-errors"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(prefix(KEYS))],
    start: |arena, share: Share, tasks| super::start("kv", arena, share, tasks, Mixer::new),
};

const KEYS: &str = "/chaos/kv/";
const KEYS_COUNT: u64 = 12;
/// How far into the past, or the future, reads look.
const LOOK_BACK: u64 = 80;
const LOOK_AHEAD: u64 = 20;
const LEASE_TTL_S: i64 = 5;

struct Mixer {
    dice: Dice,
    number: u64,
    writes: u64,
    /// The newest revision that this worker was told.
    seen: u64,
    lease: i64,
}

impl Worker for Mixer {
    async fn step(&mut self, client: &mut Client) -> bool {
        let op = self.next();
        let is_odd = matches!(&op, Op::Range(range) if range.revision != 0);
        match client.ask(op).await {
            Some((header, answer)) => {
                self.learn(&header, &answer);
                true
            }
            // A read of what is compacted, or of the future, is meant to be refused.
            None => is_odd,
        }
    }
}

impl Mixer {
    fn new(number: u64, dice: Dice) -> Self {
        Self { dice, number, writes: 0, seen: 0, lease: 0 }
    }

    fn learn(&mut self, header: &Header, answer: &Answer) {
        self.seen = self.seen.max(header.revision);
        if let Answer::Grant { id, .. } = answer {
            self.lease = *id;
        }
    }

    fn next(&mut self) -> Op {
        match self.dice.below(100) {
            0..30 => self.put(),
            30..38 => self.delete(),
            38..55 => self.txn(2),
            55..70 => Op::Range(self.range()),
            70..80 => Op::Range(Range { serializable: true, ..self.range() }),
            80..96 => Op::Range(Range { revision: self.moment(), ..self.range() }),
            _ => self.lease(),
        }
    }

    fn key(&self) -> String {
        format!("{KEYS}{}", self.dice.below(KEYS_COUNT))
    }

    fn put(&mut self) -> Op {
        self.writes += 1;
        Op::Put(Put {
            key: self.key(),
            value: format!("{}-{}", self.number, self.writes),
            lease: if self.dice.percent(10) { self.lease } else { 0 },
            previous: self.dice.percent(30),
        })
    }

    fn delete(&self) -> Op {
        let previous = self.dice.percent(30);
        let key = self.key();
        let end = self.dice.percent(20).then(|| format!("{key}~"));
        Op::Delete(Delete { key, end, previous })
    }

    fn range(&self) -> Range {
        let shape = match self.dice.below(4) {
            0 => prefix(KEYS),
            1 => Range { key: self.key(), end: prefix(PREFIX).end, ..Range::default() },
            _ => Range { key: self.key(), ..Range::default() },
        };
        let limit = if self.dice.percent(20) { 1 + self.dice.below(4) } else { 0 };
        Range { limit, count_only: self.dice.percent(10), ..shape }
    }

    fn moment(&self) -> u64 {
        if self.dice.percent(10) {
            self.seen + 1 + self.dice.below(LOOK_AHEAD)
        } else {
            self.seen.saturating_sub(self.dice.below(LOOK_BACK)).max(1)
        }
    }

    fn txn(&mut self, depth: u64) -> Op {
        let compare = (0..1 + self.dice.below(2)).map(|_| self.compare()).collect();
        Op::Txn(Txn { compare, then: self.branch(depth), otherwise: self.branch(depth) })
    }

    /// Writes of distinct keys, which is what a transaction may have, and reads.
    fn branch(&mut self, depth: u64) -> Vec<Op> {
        let first = self.dice.below(KEYS_COUNT);
        let mut ops: Vec<Op> = (0..self.dice.below(4))
            .map(|step| match self.dice.below(3) {
                0 => Op::Range(self.range()),
                1 => self.one_of_several(first + step, |key| {
                    Op::Delete(Delete { key, end: None, previous: true })
                }),
                _ => {
                    self.writes += 1;
                    let value = format!("{}-{}", self.number, self.writes);
                    self.one_of_several(first + step, |key| {
                        Op::Put(Put { key, value, lease: 0, previous: true })
                    })
                }
            })
            .collect();
        if depth > 0 && ops.is_empty() {
            ops.push(self.txn(depth - 1));
        }
        ops
    }

    fn one_of_several(&self, number: u64, make: impl FnOnce(String) -> Op) -> Op {
        make(format!("{KEYS}{}", number % KEYS_COUNT))
    }

    fn compare(&self) -> Compare {
        let target = match self.dice.below(5) {
            0 => Target::Version(self.dice.below(4)),
            1 => Target::Created(0),
            2 => Target::Modified(self.seen.saturating_sub(self.dice.below(20))),
            3 => Target::Lease(0),
            _ => Target::Value(format!("{}-{}", self.dice.below(8), self.writes)),
        };
        let is = match self.dice.below(4) {
            0 => Is::NotEqual,
            1 => Is::Less,
            2 => Is::Greater,
            _ => Is::Equal,
        };
        Compare { key: self.key(), is, target }
    }

    fn lease(&mut self) -> Op {
        match self.lease {
            0 => Op::Grant { id: 0, ttl_s: LEASE_TTL_S },
            id if self.dice.percent(50) => {
                self.lease = 0;
                Op::Revoke { id }
            }
            id => Op::KeepAlive { id },
        }
    }
}
