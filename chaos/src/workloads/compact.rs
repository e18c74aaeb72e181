//! Forgets the past again and again, also right up to now.

use super::{Worker, Workload};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::Op;

pub(super) const WORKLOAD: Workload = Workload {
    name: "compact",
    about: "compactions, some of them up to the newest revision",
    tests: &[],
    prepare: super::nothing,
    final_reads: super::nothing,
    start: |arena, share, tasks| super::start("compact", arena, share, tasks, |_, dice| Compactor { dice }),
};

const KEEP_MAX: u64 = 100;

struct Compactor {
    dice: Dice,
}

impl Worker for Compactor {
    async fn step(&mut self, client: &mut Client) -> bool {
        let keep = if self.dice.percent(20) { 0 } else { self.dice.below(KEEP_MAX) };
        let recorder = client.recorder();
        // What is compacted before it is in the members' logs of the run could not be judged.
        let revision = recorder.newest().saturating_sub(keep).min(recorder.logged());
        if revision <= client.recorder().compacted() {
            return true;
        }
        client.ask(Op::Compact { revision }).await.is_some()
    }
}
