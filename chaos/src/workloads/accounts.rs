//! Users, roles and permissions that come and go, auth that is turned on and off, an alarm that is raised and disarmed:
//! what the store replicates beside keys. The harness's own user may do everything throughout.

use std::time::Duration;

use super::{Arena, Share, Workload};
use crate::client::accounts::{Change, OWN_USER, ROOT};
use crate::client::{Recorder, Target};
use crate::dice::Dice;
use crate::history::{Event, Heard, Sight};

pub(super) const WORKLOAD: Workload = Workload {
    name: "accounts",
    about: "users, roles and permissions that come and go, auth turned on and off, an alarm raised and disarmed",
    tests: &["accounts-agree", "accounts-kept"],
    prepare: super::nothing,
    final_reads: super::nothing,
    start,
};

/// How many names each worker has.
const NAMES: u64 = 3;
const TRIES: usize = 100;
/// How long an alarm stays: nobody writes meanwhile.
const ALARMED: Duration = Duration::from_millis(150);

fn start(arena: &Arena, share: Share, tasks: &base::Tasks) {
    for number in 0..share.workers {
        let pause = Duration::from_micros(1_000_000 * share.workers / share.steps_per_second.max(1));
        let clerk = Clerk {
            arena: arena.clone(),
            dice: Dice::of(arena.seed, WORKLOAD.name, number),
            number,
            generation: [0; NAMES as usize],
        };
        tasks.spawn_infallible(format!("{} {number}", WORKLOAD.name), clerk.work(pause));
    }
}

struct Clerk {
    arena: Arena,
    dice: Dice,
    number: u64,
    /// A name of which nobody knows whether it is there is not used again.
    generation: [u64; NAMES as usize],
}

impl Clerk {
    async fn work(mut self, pause: Duration) {
        if self.number == 0 {
            self.let_root_in().await;
        }
        while !self.arena.stop.is_cancelled() {
            let change = self.next();
            self.change(&change).await;
            if let Change::Alarm { exists: true } = change {
                self.arena.rest(ALARMED).await;
                self.insist(&Change::Alarm { exists: false }).await;
            }
            self.arena.rest(self.dice.between(Duration::ZERO, 2 * pause)).await;
        }
        if self.number == 0 {
            // What is asked at the end must not depend on them.
            self.insist(&Change::Alarm { exists: false }).await;
            self.insist(&Change::Auth { exists: false }).await;
        }
    }

    /// Before anybody may turn auth on.
    async fn let_root_in(&mut self) {
        let exists = true;
        self.insist(&Change::Role { name: ROOT.to_owned(), exists }).await;
        for user in [ROOT, OWN_USER] {
            self.insist(&Change::User { name: user.to_owned(), exists }).await;
            self.insist(&Change::Has { user: user.to_owned(), role: ROOT.to_owned(), exists }).await;
        }
    }

    /// Until somebody has said yes, or that it is so already.
    async fn insist(&mut self, change: &Change) {
        for _ in 0..TRIES {
            if self.change(change).await != Heard::Nothing {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn change(&mut self, change: &Change) -> Heard {
        let count = self.arena.targets.len() as u64;
        let target = self.arena.target(self.dice.below(count)).clone();
        let heard = change.ask(&target, self.arena.deadline).await;
        let (subject, exists) = change.subject();
        let sight = Sight::Changed { subject, exists, heard };
        self.arena.recorder.history.record(0, Event::Sight(sight));
        if heard == Heard::Nothing
            && let Some(number) = self.named(change)
        {
            self.generation[number] += 1;
        }
        heard
    }

    fn name(&self, number: usize) -> String {
        format!("{}-{number}-{}", self.number, self.generation[number])
    }

    /// Which of the worker's names a change is about.
    fn named(&self, change: &Change) -> Option<usize> {
        let name = match change {
            Change::User { name, .. } | Change::Role { name, .. } => name,
            Change::Has { user: name, .. } | Change::May { role: name, .. } => name,
            Change::Auth { .. } | Change::Alarm { .. } => return None,
        };
        (0..self.generation.len()).find(|number| self.name(*number) == *name)
    }

    fn next(&self) -> Change {
        let number = usize::try_from(self.dice.below(NAMES)).unwrap_or(0);
        let (name, exists) = (self.name(number), self.dice.percent(65));
        match self.dice.below(100) {
            0..28 => Change::User { name, exists },
            28..52 => Change::Role { name, exists },
            52..72 => Change::Has { user: name.clone(), role: name, exists },
            72..88 => Change::May { role: name, key: format!("/chaos/{}", self.dice.below(4)), exists },
            88..97 if self.number == 0 => Change::Auth { exists },
            97.. if self.number == 0 => Change::Alarm { exists: true },
            _ => Change::User { name, exists: true },
        }
    }
}

/// What a member says there is, when all is over.
pub(crate) async fn tell(recorder: &Recorder, target: &Target) {
    let event = match crate::client::accounts::tell(target).await {
        Ok(told) => Event::Sight(Sight::Accounts { member: target.member.clone(), told }),
        // Without it the members cannot be compared, which the checker says.
        Err(status) => {
            Event::Note { text: format!("{} does not tell its accounts: {status}", target.member) }
        }
    };
    recorder.history.record(0, event);
}
