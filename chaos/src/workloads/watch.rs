//! Watches of every kind: from now, the past, the future, at and below what was compacted; opened, left, taken up again
//! where they were left, on the same member or another.

use std::time::Duration;

use tokio::time::Instant;

use super::{Arena, Share, Workload, after};
use crate::client::{Target, Watching};
use crate::dice::Dice;
use crate::history::WatchOpen;

pub(super) const WORKLOAD: Workload = Workload {
    name: "watch",
    about: "watches from the past, the future and the edge of what is compacted, left and taken up elsewhere",
    tests: &[
        "watch-filter",
        "watch-ordered",
        "watch-unique",
        "watch-atomic",
        "watch-bookmarkable",
        "watch-members",
        "watch-reliable",
        "watch-resumable",
        "watch-previous",
        "watch-never-future",
        "watch-progress-complete",
        "watch-complete",
    ],
    prepare: super::nothing,
    final_reads: super::nothing,
    start,
};

/// How far from now a watch may start.
const REACH: u64 = 100;
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);
/// A stream that cannot be opened is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How often a watch is asked how far it is, on average.
const ASK_EVERY: Duration = Duration::from_millis(700);
/// How long a watch may take to tell everything that was written before the end.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(5);

/// The rate is of no use here: watchers are always at it.
fn start(arena: &Arena, share: Share, tasks: &base::Tasks) {
    for number in 0..share.workers {
        let dice = Dice::of(arena.seed, "watch", number);
        let target = arena.target(number).clone();
        let watcher = Watcher { arena: arena.clone(), dice, target, next: None };
        tasks.spawn_infallible(format!("watch {number}"), watcher.run());
    }
}

struct Watcher {
    arena: Arena,
    dice: Dice,
    target: Target,
    /// What to open next, to go on where the last was left.
    next: Option<WatchOpen>,
}

impl Watcher {
    async fn run(mut self) {
        while !self.arena.stop.is_cancelled() {
            let wanted = self.next.take().unwrap_or_else(|| self.any());
            match Watching::open(&self.arena.recorder, &self.target, wanted.clone()).await {
                Some(watching) => self.follow(watching, wanted).await,
                None => {
                    self.next = Some(wanted);
                    self.turn();
                    self.arena.rest(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn follow(&mut self, mut watching: Watching, wanted: WatchOpen) {
        let until = Instant::now() + self.dice.between(Duration::ZERO, OPEN_TIME_MAX);
        let mut is_alive = true;
        while is_alive {
            let ask_at = Instant::now() + self.dice.between(Duration::ZERO, 2 * ASK_EVERY);
            tokio::select! {
                biased;
                () = self.arena.stop.cancelled() => {
                    return watching.catch_up(self.arena.recorder.newest(), CATCH_UP_TIME_MAX).await;
                }
                () = tokio::time::sleep_until(until) => break,
                answer = watching.next() => is_alive = answer.is_some_and(|answer| answer.canceled.is_none()),
                () = tokio::time::sleep_until(ask_at) => watching.ask_for_progress(),
            }
        }
        let start = watching.next_revision();
        watching.close();
        // One that was refused is not asked for again.
        if start > 0 && start > self.arena.recorder.compacted() && self.dice.percent(80) {
            self.next = Some(WatchOpen { start, ..wanted });
        }
        if self.dice.percent(40) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let target = self.arena.another(&self.target.member, &self.dice).clone();
        self.target = target;
    }

    fn any(&self) -> WatchOpen {
        let (key, end) = match self.dice.below(4) {
            0 => (format!("/chaos/kv/{}", self.dice.below(12)), None),
            1 => ("/chaos/kv/".to_owned(), Some(after("/chaos/kv/"))),
            _ => (super::PREFIX.to_owned(), Some(after(super::PREFIX))),
        };
        let one_in = |sides| self.dice.below(sides) == 0;
        WatchOpen {
            watch: 0,
            member: String::new(),
            key,
            end,
            start: self.start(),
            previous: one_in(3),
            progress: one_in(3),
            fragment: one_in(3),
            no_put: one_in(10),
            no_delete: one_in(10),
        }
    }

    fn start(&self) -> u64 {
        let (newest, compacted) = (self.arena.recorder.newest(), self.arena.recorder.compacted());
        match self.dice.below(10) {
            0..2 => 0,
            2 => newest + 1 + self.dice.below(REACH),
            3 => compacted,
            4 => compacted.saturating_sub(1),
            5 => compacted + 1,
            _ => newest.saturating_sub(self.dice.below(REACH)).max(1),
        }
    }
}
