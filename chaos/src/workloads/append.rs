//! Transactions that read and append to lists: the order of a list tells who came after whom.
//!
//! A transaction is two requests: one reads all of its keys, the other happens only if none of them has changed since.
//! The first alone is a transaction that only reads.

use super::{Worker, Workload, prefix};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Answer, Compare, Is, Kv, Op, Put, Range, Target, Txn};

pub(super) const WORKLOAD: Workload = Workload {
    name: "append",
    about: "transactions that read several lists and append to them",
    tests: &["append-serializable"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(prefix(KEYS))],
    start: |arena, share, tasks| super::start("append", arena, share, tasks, Appender::new),
};

const KEYS: &str = "/chaos/append/";
/// How many lists are in use at a time.
const ACTIVE: u64 = 4;
/// A list that is this long is left alone, and another begun: every read repeats the whole list.
const LENGTH_MAX: usize = 40;
const KEYS_PER_TXN_MAX: u64 = 3;

struct Appender {
    dice: Dice,
    number: u64,
    appended: u64,
    /// The first list that is in use.
    first: u64,
}

impl Worker for Appender {
    async fn step(&mut self, client: &mut Client) -> bool {
        let keys = self.keys();
        let Some((_, answer)) = client.ask(read_all(&keys)).await else { return false };
        let lists = lists(answer);
        self.move_on(&lists);
        let appends: Vec<bool> = keys.iter().map(|_| self.dice.percent(60)).collect();
        if !appends.contains(&true) {
            return true;
        }
        let txn = self.txn(&keys, &lists, &appends);
        client.ask(Op::Txn(txn)).await.is_some()
    }
}

impl Appender {
    fn new(number: u64, dice: Dice) -> Self {
        Self { dice, number, appended: 0, first: 0 }
    }

    /// Distinct ones of those in use.
    fn keys(&self) -> Vec<String> {
        let mut numbers: Vec<u64> = (self.first..self.first + ACTIVE).collect();
        self.dice.shuffle(&mut numbers);
        numbers.truncate(usize::try_from(1 + self.dice.below(KEYS_PER_TXN_MAX)).unwrap_or(1));
        numbers.iter().map(|number| format!("{KEYS}{number}")).collect()
    }

    fn move_on(&mut self, lists: &[Option<Kv>]) {
        let is_long = |kv: &Kv| kv.value.split(',').count() >= LENGTH_MAX;
        let long = lists.iter().flatten().filter(|kv| is_long(kv));
        let ended = long.filter_map(|kv| kv.key.strip_prefix(KEYS)?.parse::<u64>().ok()).max();
        if let Some(ended) = ended {
            self.first = self.first.max(ended + 1);
        }
    }

    /// Reads what is only read, appends to the rest, if nothing has changed.
    fn txn(&mut self, keys: &[String], lists: &[Option<Kv>], appends: &[bool]) -> Txn {
        let mut txn = Txn { compare: Vec::new(), then: Vec::new(), otherwise: Vec::new() };
        for ((key, list), append) in keys.iter().zip(lists).zip(appends) {
            let modified = list.as_ref().map_or(0, |kv| kv.modified);
            let target = Target::Modified(modified);
            txn.compare.push(Compare { key: key.clone(), is: Is::Equal, target });
            txn.then.push(if *append {
                Op::Put(self.append(key, list.as_ref()))
            } else {
                Op::Range(Range { key: key.clone(), ..Range::default() })
            });
        }
        txn
    }

    fn append(&mut self, key: &str, list: Option<&Kv>) -> Put {
        self.appended += 1;
        let element = self.number * 1_000_000 + self.appended;
        let value = list.map_or_else(|| element.to_string(), |kv| format!("{},{element}", kv.value));
        Put { key: key.to_owned(), value, lease: 0, previous: false }
    }
}

/// All of them at one revision.
pub(super) fn read_all(keys: &[String]) -> Op {
    let one = |key: &String| Op::Range(Range { key: key.clone(), ..Range::default() });
    Op::Txn(Txn { compare: Vec::new(), then: keys.iter().map(one).collect(), otherwise: Vec::new() })
}

/// What `read_all` was answered, key by key.
pub(super) fn lists(answer: Answer) -> Vec<Option<Kv>> {
    let Answer::Txn { answers, .. } = answer else { return Vec::new() };
    let one = |answer| match answer {
        Answer::Range { kvs, .. } => kvs.into_iter().next(),
        _ => None,
    };
    answers.into_iter().map(one).collect()
}
