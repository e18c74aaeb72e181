//! Writes that are asked again under their request ids, answered or not, of any member: they happen once, and every answer
//! is the first one.

use super::{Arena, Share, Worker, Workload, prefix};
use crate::client::{Client, Target};
use crate::dice::Dice;
use crate::history::{Delete, Op, Put};

pub(super) const WORKLOAD: Workload = Workload {
    name: "again",
    about: "writes that are asked twice under one request id",
    tests: &["exactly-once"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(prefix(KEYS))],
    start,
};

const KEYS: &str = "/chaos/again/";
const KEYS_COUNT: u64 = 5;

fn start(arena: &Arena, share: Share, tasks: &base::Tasks) {
    super::start("again", arena, share, tasks, |number, dice| Repeater {
        targets: arena.targets.to_vec(),
        dice,
        number,
        writes: 0,
    });
}

struct Repeater {
    targets: Vec<Target>,
    dice: Dice,
    number: u64,
    writes: u64,
}

impl Worker for Repeater {
    async fn step(&mut self, client: &mut Client) -> bool {
        let Some(second) = self.dice.pick(&self.targets).cloned() else { return false };
        client.call_twice(self.next(), second).await
    }
}

impl Repeater {
    fn next(&mut self) -> Op {
        let key = format!("{KEYS}{}", self.dice.below(KEYS_COUNT));
        if self.dice.percent(20) {
            return Op::Delete(Delete { key, end: None, previous: true });
        }
        self.writes += 1;
        let value = format!("{}-{}", self.number, self.writes);
        Op::Put(Put { key, value, lease: 0, previous: true })
    }
}
