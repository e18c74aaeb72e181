//! One key that holds a set of numbers; nothing that was added may be missing later.

use super::{Worker, Workload};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Answer, Compare, Is, Kv, Op, Put, Range, Target, Txn};

pub(super) const WORKLOAD: Workload = Workload {
    name: "set",
    about: "numbers added to one key, each by comparing and setting",
    tests: &["set"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(read(KEY))],
    start: |arena, share, tasks| super::start("set", arena, share, tasks, Adder::new),
};

const KEY: &str = "/chaos/set";
/// The set is written whole each time: it must not outgrow the run.
pub(super) const ELEMENTS_MAX: usize = 1500;

struct Adder {
    dice: Dice,
    number: u64,
    added: u64,
    /// As this worker has seen it last; revision zero for a set that is not there.
    known: Option<(u64, String)>,
}

impl Worker for Adder {
    async fn step(&mut self, client: &mut Client) -> bool {
        let known = self.known.take().filter(|(_, value)| size(value) < ELEMENTS_MAX);
        let op = match known {
            Some((modified, value)) if self.dice.percent(70) => {
                self.added += 1;
                Op::Txn(Txn {
                    compare: vec![Compare {
                        key: KEY.to_owned(),
                        is: Is::Equal,
                        target: Target::Modified(modified),
                    }],
                    then: vec![Op::Put(with(KEY, &value, self.number, self.added))],
                    otherwise: vec![Op::Range(read(KEY))],
                })
            }
            _ => Op::Range(read(KEY)),
        };
        let Some((_, answer)) = client.ask(op).await else { return false };
        self.known = seen(answer);
        true
    }
}

impl Adder {
    fn new(number: u64, dice: Dice) -> Self {
        Self { dice, number, added: 0, known: None }
    }
}

/// The set as an answer shows it.
fn seen(answer: Answer) -> Option<(u64, String)> {
    match answer {
        Answer::Range { kvs, .. } => Some(state(kvs)),
        Answer::Txn { succeeded: false, answers } => answers.into_iter().next().and_then(seen),
        _ => None,
    }
}

/// When it was changed last, and what it holds.
pub(super) fn state(kvs: Vec<Kv>) -> (u64, String) {
    kvs.into_iter().next().map(|kv| (kv.modified, kv.value)).unwrap_or_default()
}

pub(super) fn read(key: &str) -> Range {
    Range { key: key.to_owned(), ..Range::default() }
}

pub(super) fn size(value: &str) -> usize {
    value.split(',').count()
}

/// The set with one more element, which nobody else adds.
pub(super) fn with(key: &str, value: &str, worker: u64, count: u64) -> Put {
    let element = worker * 1_000_000 + count;
    let value = if value.is_empty() { element.to_string() } else { format!("{value},{element}") };
    Put { key: key.to_owned(), value, lease: 0, previous: false }
}
