//! Watches of objects: of all in a namespace or of one, from now or from a while ago, left or ended by the server, taken
//! up again where they were left, at the same API server or another.

use std::time::Duration;

use base::Tasks;
use tokio::time::Instant;

use super::{Arena, Share, Workload, nothing, objects};
use crate::client::{ApiTarget, Watching};
use crate::dice::Dice;
use crate::history::WatchOpen;
use crate::workloads::after;

pub(super) const WORKLOAD: Workload = Workload {
    name: "object-watch",
    about: "watches of ConfigMaps, from now and from a while ago, left and taken up at another API server",
    tests: &[
        "watch-filter",
        "watch-ordered",
        "watch-unique",
        "watch-atomic",
        "watch-bookmarkable",
        "watch-members",
        "watch-reliable",
        "watch-resumable",
        "watch-never-future",
        "watch-progress-complete",
        "watch-complete",
    ],
    prepare: nothing,
    final_reads: nothing,
    start,
};

/// How far from now a watch may start.
const REACH: u64 = 50;
/// How long a watch goes on; whole seconds, because a server ends it after those.
const LASTS_S_MAX: u64 = 6;
/// Nothing was written yet, or a stream cannot be opened: it is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a watch may take to tell everything that was written before the end. It cannot be asked how far it is.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(2);

/// The rate is of no use here: watchers are always at it.
fn start(arena: &Arena, share: Share, tasks: &Tasks) {
    for number in 0..share.workers {
        let Some(target) = arena.api(number).cloned() else { return };
        let dice = Dice::of(arena.seed, WORKLOAD.name, number);
        let watcher = Watcher { arena: arena.clone(), dice, target, next: None };
        tasks.spawn_infallible(format!("{} {number}", WORKLOAD.name), watcher.run());
    }
}

struct Watcher {
    arena: Arena,
    dice: Dice,
    target: ApiTarget,
    /// What to open next, to go on where the last was left.
    next: Option<WatchOpen>,
}

impl Watcher {
    async fn run(mut self) {
        while !self.arena.stop.is_cancelled() {
            if let Some(wanted) = self.next.take().or_else(|| self.any()) {
                let lasts = Duration::from_secs(1 + self.dice.below(LASTS_S_MAX));
                let recorder = &self.arena.recorder;
                match Watching::open_objects(recorder, &self.target, wanted.clone(), lasts).await {
                    Some(watching) => {
                        self.follow(watching, wanted, lasts).await;
                        continue;
                    }
                    None => {
                        self.next = Some(wanted);
                        self.turn();
                    }
                }
            }
            self.arena.rest(RETRY_PAUSE).await;
        }
    }

    /// Some are left before their time is over, most are ended by the server.
    async fn follow(&mut self, mut watching: Watching, wanted: WatchOpen, lasts: Duration) {
        let leaves = self.dice.percent(30);
        let until = Instant::now() + if leaves { lasts / 2 } else { 2 * lasts };
        let mut has_failed = false;
        loop {
            tokio::select! {
                biased;
                () = self.arena.stop.cancelled() => {
                    return watching.catch_up(self.arena.recorder.newest(), CATCH_UP_TIME_MAX).await;
                }
                () = tokio::time::sleep_until(until) => break,
                answer = watching.next() => match answer {
                    Some(answer) => has_failed = answer.canceled.is_some(),
                    None => break,
                },
            }
        }
        let start = watching.next_revision();
        watching.close();
        // One that was refused is not asked for again.
        if !has_failed && self.dice.percent(80) {
            self.next = Some(WatchOpen { start, ..wanted });
        }
        if self.dice.percent(40) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        if let Some(target) = self.arena.another_api(&self.target.member, &self.dice) {
            self.target = target.clone();
        }
    }

    /// None, before anything was written: from the first revisions on it would be told what is there, not what came.
    fn any(&self) -> Option<WatchOpen> {
        let recorder = &self.arena.recorder;
        let newest = recorder.newest();
        let first = recorder.compacted() + 1;
        let start = (newest + 1).saturating_sub(self.dice.below(REACH)).max(first);
        let (key, end) = match self.dice.below(3) {
            0 => (objects::key(&self.arena.namespace, self.dice.below(objects::COUNT)), None),
            _ => {
                let folder = format!("/registry/configmaps/{}/", self.arena.namespace);
                let end = after(&folder);
                (folder, Some(end))
            }
        };
        let wanted = WatchOpen {
            watch: 0,
            member: String::new(),
            key,
            end,
            start,
            previous: false,
            progress: true,
            fragment: false,
            no_put: false,
            no_delete: false,
        };
        (newest > 0 && start > 1).then_some(wanted)
    }
}
