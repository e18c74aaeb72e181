//! What clients do while things break: one file for each kind of work, all started from one table.
//!
//! A workload is a number of workers, each with a client of its own that stays with one member; every fourth roams, and
//! turns to another member when one fails. What a worker does follows from the seed and the answers it gets.

mod accounts;
mod again;
mod append;
mod bank;
mod compact;
mod kubernetes;
mod kv;
mod lease;
mod lock;
mod mutex;
mod register;
mod set;
mod tombstone;
mod watch;
mod wide;

pub(crate) use accounts::tell as tell_accounts;
pub(crate) use kubernetes::deployment;
pub use wide::{BYTES_MAX, OPS_MAX};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use tokio_util::sync::CancellationToken;

use crate::client::{ApiTarget, Client, Recorder, Target};
use crate::dice::Dice;
use crate::history::{Op, Range};

/// Everything that workloads write is below this key.
pub const PREFIX: &str = "/chaos/";

/// Every so many workers, one roams.
const ROAMER_EVERY: u64 = 4;

/// Every workload, in the order in which they are listed.
pub const ALL: &[Workload] = &[
    kv::WORKLOAD,
    register::WORKLOAD,
    set::WORKLOAD,
    append::WORKLOAD,
    bank::WORKLOAD,
    watch::WORKLOAD,
    compact::WORKLOAD,
    tombstone::WORKLOAD,
    lease::WORKLOAD,
    again::WORKLOAD,
    wide::WORKLOAD,
    accounts::WORKLOAD,
    lock::WORKLOAD,
    lock::UNFENCED_SET,
    lock::FENCED_SET,
    lock::STORE_FENCED_SET,
    kubernetes::OBJECTS,
    kubernetes::DEPLOYMENTS,
    kubernetes::FENCED,
    kubernetes::WATCHES,
];

/// One kind of work.
#[derive(Clone, Copy)]
pub struct Workload {
    /// As histories name it.
    pub name: &'static str,
    /// A sentence for people.
    pub about: &'static str,
    /// The properties that a run with this workload must put to the test, beside those of every run.
    pub tests: &'static [&'static str],
    /// What is written once, before anything else.
    pub prepare: fn() -> Vec<Op>,
    /// What is read at the end, of every member.
    pub final_reads: fn() -> Vec<Op>,
    pub start: fn(&Arena, Share, &Tasks),
}

impl std::fmt::Debug for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workload").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where the work is done.
#[derive(Clone, Debug)]
pub struct Arena {
    pub recorder: Recorder,
    /// Every member; none, where the Kubernetes API is all that is known. Then there is work for that only.
    pub targets: Arc<[Target]>,
    /// The members' API servers; none, where the system is a store only.
    pub apis: Arc<[ApiTarget]>,
    /// In which the work for the Kubernetes API is done, as far as it is for any cluster.
    pub namespace: Arc<str>,
    pub seed: u64,
    /// Of each call.
    pub deadline: Duration,
    /// Workers finish what they are at, and end.
    pub stop: CancellationToken,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub workers: u64,
    /// Of all workers together; slow answers make it less.
    pub steps_per_second: u64,
}

impl Workload {
    /// By its name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|workload| workload.name == name)
    }
}

impl Arena {
    fn client(&self, workload: &'static str, number: u64) -> Client {
        Client::new(self.recorder.clone(), self.target(number).clone(), workload, self.deadline)
    }

    /// Waits so long, or until the run is over.
    async fn rest(&self, pause: Duration) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn target(&self, number: u64) -> &Target {
        let count = self.targets.len() as u64;
        &self.targets[usize::try_from(number % count).unwrap_or(0)]
    }

    fn api(&self, number: u64) -> Option<&ApiTarget> {
        let count = (self.apis.len() as u64).max(1);
        self.apis.get(usize::try_from(number % count).unwrap_or(0))
    }

    /// Another member's API server, if there is one.
    fn another_api(&self, member: &str, dice: &Dice) -> Option<&ApiTarget> {
        let others: Vec<_> = self.apis.iter().filter(|target| target.member != member).collect();
        dice.pick(&others).copied()
    }

    /// Another member than this one, if there is one.
    fn another(&self, member: &str, dice: &Dice) -> &Target {
        let others: Vec<&Target> = self.targets.iter().filter(|target| target.member != member).collect();
        dice.pick(&others).copied().unwrap_or(&self.targets[0])
    }
}

/// One who works, a step at a time.
trait Worker<C = Client>: Send + 'static {
    /// A few calls. False: a call came to nothing.
    fn step(&mut self, client: &mut C) -> impl Future<Output = bool> + Send;
}

/// Starts the workers of a workload. Each gets its number and dice of its own.
fn start<W: Worker>(
    name: &'static str,
    arena: &Arena,
    share: Share,
    tasks: &Tasks,
    make: impl Fn(u64, Dice) -> W,
) {
    for number in 0..share.workers {
        let worker = make(number, Dice::of(arena.seed, name, number));
        let (client, shift) = (arena.client(name, number), Shift::new(arena, share, number));
        tasks.spawn_infallible(
            format!("{name} {number}"),
            shift.work(worker, client, |arena, dice, client| {
                let target = arena.another(client.member(), dice).clone();
                client.turn_to(target);
            }),
        );
    }
}

struct Shift {
    arena: Arena,
    number: u64,
    /// Random pauses of up to twice this have it as their mean.
    pause: Duration,
    dice: Dice,
}

impl Shift {
    fn new(arena: &Arena, share: Share, number: u64) -> Self {
        let pause = Duration::from_micros(1_000_000 * share.workers / share.steps_per_second.max(1));
        Self { arena: arena.clone(), number, pause, dice: Dice::of(arena.seed, "pace", number) }
    }

    /// Who roams turns to another member, by `turn`, when a call came to nothing.
    async fn work<C>(self, mut worker: impl Worker<C>, mut client: C, turn: impl Fn(&Arena, &Dice, &mut C)) {
        let roams = self.number % ROAMER_EVERY == ROAMER_EVERY - 1;
        loop {
            let pause = self.dice.between(Duration::ZERO, 2 * self.pause);
            tokio::select! {
                biased;
                () = self.arena.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let went_well = worker.step(&mut client).await;
            if roams && !went_well {
                turn(&self.arena, &self.dice, &mut client);
            }
        }
    }
}

/// Everything that begins with this.
pub(crate) fn prefix(prefix: &str) -> Range {
    Range { key: prefix.to_owned(), end: Some(after(prefix)), ..Range::default() }
}

/// The first key behind all that begin with `prefix`, which ends in a plain character.
pub(crate) fn after(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    let last = end.pop().map_or('\u{1}', |last| char::from_u32(u32::from(last) + 1).unwrap_or(last));
    end.push(last);
    end
}

fn nothing() -> Vec<Op> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_its_own_name() {
        let mut names: Vec<_> = ALL.iter().map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|workload| Workload::named(workload.name).is_some()));
    }

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(after("/chaos/"), "/chaos0");
        assert_eq!(after("a"), "b");
    }
}
