//! What a client asks next: everything that a key can undergo, on a few keys.

use crate::dice::Dice;
use crate::history::{Compare, Delete, Is, Op, Put, Range, Target, Txn};

/// Everything that clients write is below this key.
pub(in crate::sim) const PREFIX: &str = "/sim/";
/// The first key behind all of them.
pub(in crate::sim) const PREFIX_END: &str = "/sim0";

const KEYS: u64 = 10;
/// How far into the past, or the future, reads look.
const LOOK_BACK: u64 = 60;
const LOOK_AHEAD: u64 = 10;
/// How much of the past a compaction leaves, at least.
const KEPT: u64 = 20;
const LEASE_TTL_S: i64 = 3;

pub(super) struct Mix {
    pub(super) dice: Dice,
    /// Tells the values of this client from those of others.
    name: String,
    writes: u64,
    /// The newest revision that this client was told of.
    pub(super) seen: u64,
    pub(super) lease: i64,
}

impl Mix {
    pub(super) fn new(dice: Dice, name: String) -> Self {
        Self { dice, name, writes: 0, seen: 0, lease: 0 }
    }

    pub(super) fn next(&mut self) -> Op {
        match self.dice.below(100) {
            0..32 => Op::Put(self.put()),
            32..40 => self.delete(),
            40..58 => Op::Txn(self.txn(1)),
            58..72 => Op::Range(self.range()),
            72..80 => Op::Range(Range { serializable: true, ..self.range() }),
            80..92 => Op::Range(Range { revision: self.moment(), ..self.range() }),
            92..94 => Op::Compact { revision: self.seen.saturating_sub(KEPT + self.dice.below(KEPT)).max(1) },
            _ => self.lease(),
        }
    }

    fn key(&self) -> String {
        format!("{PREFIX}{}", self.dice.below(KEYS))
    }

    fn value(&mut self) -> String {
        self.writes += 1;
        format!("{}-{}", self.name, self.writes)
    }

    fn put(&mut self) -> Put {
        let lease = if self.dice.percent(10) { self.lease } else { 0 };
        Put { key: self.key(), value: self.value(), lease, previous: self.dice.percent(30) }
    }

    fn delete(&self) -> Op {
        let key = self.key();
        let end = self.dice.percent(20).then(|| format!("{key}~"));
        Op::Delete(Delete { key, end, previous: self.dice.percent(50) })
    }

    fn range(&self) -> Range {
        let limit = if self.dice.percent(20) { 1 + self.dice.below(4) } else { 0 };
        if self.dice.percent(50) {
            return Range { key: self.key(), ..Range::default() };
        }
        let count_only = self.dice.percent(10);
        Range {
            key: PREFIX.to_owned(),
            end: Some(PREFIX_END.to_owned()),
            limit,
            count_only,
            ..Range::default()
        }
    }

    fn moment(&self) -> u64 {
        if self.dice.percent(10) {
            self.seen + 1 + self.dice.below(LOOK_AHEAD)
        } else {
            self.seen.saturating_sub(self.dice.below(LOOK_BACK)).max(1)
        }
    }

    fn txn(&mut self, depth: u64) -> Txn {
        let compare = (0..1 + self.dice.below(2)).map(|_| self.compare()).collect();
        Txn { compare, then: self.branch(depth), otherwise: self.branch(depth) }
    }

    /// Writes of distinct keys, which is what a transaction may have, and reads.
    fn branch(&mut self, depth: u64) -> Vec<Op> {
        let first = self.dice.below(KEYS);
        let mut ops: Vec<Op> = Vec::new();
        for step in 0..self.dice.below(4) {
            let key = format!("{PREFIX}{}", (first + step) % KEYS);
            ops.push(match self.dice.below(3) {
                0 => Op::Range(self.range()),
                1 => Op::Delete(Delete { key, end: None, previous: true }),
                _ => Op::Put(Put { key, ..self.put() }),
            });
        }
        if depth > 0 && ops.is_empty() {
            ops.push(Op::Txn(self.txn(depth - 1)));
        }
        ops
    }

    fn compare(&self) -> Compare {
        let target = match self.dice.below(5) {
            0 => Target::Version(self.dice.below(4)),
            1 => Target::Created(0),
            2 => Target::Modified(self.seen.saturating_sub(self.dice.below(20))),
            3 => Target::Lease(0),
            _ => Target::Value(format!("{}-{}", self.name, self.writes)),
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
            id if self.dice.percent(30) => {
                self.lease = 0;
                Op::Revoke { id }
            }
            id if self.dice.percent(20) => Op::TimeToLive { id },
            id => Op::KeepAlive { id },
        }
    }
}
