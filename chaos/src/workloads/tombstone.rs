//! Compacts to the very revision that deleted a key, and watches from there: the deletion must still be told.
//! (etcd issue 18089: until 3.4.34 and 3.5.15 it was not.)

use std::time::Duration;

use super::{Arena, Share, Worker, Workload, after};
use crate::client::{Client, Recorder, Target, Watching};
use crate::dice::Dice;
use crate::history::{Delete, Op, Put, WatchOpen};

pub(super) const WORKLOAD: Workload = Workload {
    name: "tombstone",
    about: "watches from the revision of a deletion to which the store was just compacted",
    tests: &["watch-reliable", "watch-resumable", "watch-complete"],
    prepare: super::nothing,
    final_reads: super::nothing,
    start,
};

const KEYS: &str = "/chaos/tombstone/";
/// What is to be told was there before the watch began.
const TELL_TIME_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn start(arena: &Arena, share: Share, tasks: &base::Tasks) {
    super::start("tombstone", arena, share, tasks, |number, dice| Gravedigger {
        targets: arena.targets.to_vec(),
        number,
        dice,
        rounds: 0,
    });
}

struct Gravedigger {
    targets: Vec<Target>,
    number: u64,
    dice: Dice,
    rounds: u64,
}

impl Worker for Gravedigger {
    async fn step(&mut self, client: &mut Client) -> bool {
        self.rounds += 1;
        let key = format!("{KEYS}{}", self.number);
        let value = format!("{}-{}", self.number, self.rounds);
        let put = Put { key: key.clone(), value, lease: 0, previous: false };
        let delete = Delete { key: key.clone(), end: None, previous: false };
        if client.ask(Op::Put(put)).await.is_none() {
            return false;
        }
        let Some((header, _)) = client.ask(Op::Delete(delete)).await else { return false };
        let revision = header.revision;
        if !is_logged(client.recorder(), revision).await {
            return false;
        }
        if client.ask(Op::Compact { revision }).await.is_none() {
            return false;
        }
        let Some(target) = self.dice.pick(&self.targets).cloned() else { return false };
        self.watch(client, &target, revision).await
    }
}

/// Whether the run's log of some member has come so far: what is compacted before could not be judged.
async fn is_logged(recorder: &Recorder, revision: u64) -> bool {
    let logged = async {
        while recorder.logged() < revision {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(TELL_TIME_MAX, logged).await.is_ok()
}

impl Gravedigger {
    async fn watch(&self, client: &Client, target: &Target, start: u64) -> bool {
        let wanted = WatchOpen {
            watch: 0,
            member: String::new(),
            key: KEYS.to_owned(),
            end: Some(after(KEYS)),
            start,
            previous: self.dice.percent(50),
            progress: false,
            fragment: false,
            no_put: false,
            no_delete: false,
        };
        let Some(mut watching) = Watching::open(client.recorder(), target, wanted).await else {
            return false;
        };
        // Progress proves that nothing more is to come.
        let told = tokio::time::timeout(TELL_TIME_MAX, async {
            while watching.next_revision() <= start {
                watching.ask_for_progress();
                if watching.next().await.is_none() {
                    return false;
                }
            }
            true
        });
        let went_well = told.await.unwrap_or(false);
        watching.close();
        went_well
    }
}
