//! Single keys that are put, compared and set, and read: what a linearizability search understands best.

use std::collections::BTreeMap;

use super::{Worker, Workload, prefix};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Answer, Compare, Is, Kv, Op, Put, Range, Target, Txn};

pub(super) const WORKLOAD: Workload = Workload {
    name: "register",
    about: "puts, compares-and-sets and reads of single keys",
    tests: &["register-versions", "linearizable"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(prefix(KEYS))],
    start: |arena, share, tasks| super::start("register", arena, share, tasks, Setter::new),
};

const KEYS: &str = "/chaos/register/";
const KEYS_COUNT: u64 = 6;

struct Setter {
    dice: Dice,
    number: u64,
    writes: u64,
    /// As this worker has seen them last.
    known: BTreeMap<String, Kv>,
}

impl Worker for Setter {
    async fn step(&mut self, client: &mut Client) -> bool {
        let key = format!("{KEYS}{}", self.dice.below(KEYS_COUNT));
        let op = match self.dice.below(10) {
            0..4 => Op::Range(Range { key: key.clone(), ..Range::default() }),
            4..6 => Op::Put(self.put(&key)),
            _ => self.compare_and_set(&key),
        };
        let Some((_, answer)) = client.ask(op).await else { return false };
        match answer {
            Answer::Range { kvs, .. } => self.learn(&key, kvs),
            // The branch that was not wanted tells why.
            Answer::Txn { succeeded: false, answers } => {
                if let Some(Answer::Range { kvs, .. }) = answers.into_iter().next() {
                    self.learn(&key, kvs);
                }
            }
            _ => {}
        }
        true
    }
}

impl Setter {
    fn new(number: u64, dice: Dice) -> Self {
        Self { dice, number, writes: 0, known: BTreeMap::new() }
    }

    fn learn(&mut self, key: &str, kvs: Vec<Kv>) {
        match kvs.into_iter().next() {
            Some(kv) => self.known.insert(key.to_owned(), kv),
            None => self.known.remove(key),
        };
    }

    fn put(&mut self, key: &str) -> Put {
        self.writes += 1;
        let value = format!("{}-{}", self.number, self.writes);
        Put { key: key.to_owned(), value, lease: 0, previous: false }
    }

    fn compare_and_set(&mut self, key: &str) -> Op {
        let target = match self.known.get(key) {
            None => Target::Modified(0),
            Some(kv) if self.dice.percent(50) => Target::Value(kv.value.clone()),
            Some(kv) => Target::Modified(kv.modified),
        };
        Op::Txn(Txn {
            compare: vec![Compare { key: key.to_owned(), is: Is::Equal, target }],
            then: vec![Op::Put(self.put(key))],
            otherwise: vec![Op::Range(Range { key: key.to_owned(), ..Range::default() })],
        })
    }
}
