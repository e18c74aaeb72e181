//! A lock that clients take turns with, and three sets that are changed under it.
//!
//! A lock that rests on a lease cannot keep out a holder who was asleep while it expired. Under `lock-set` such a holder
//! overwrites what others have added since, and the set loses elements: this workload must FAIL, and shows that the
//! harness sees it. Under `fenced-lock` each write also proves that the lock's key is still the writer's; under
//! `store-fence` the store has it prove that, for writes of every kind, by metadata that etcd does not have.

use std::time::Duration;

use super::mutex::{Held, Mutex};
use super::set;
use super::{Worker, Workload};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Answer, Compare, Is, Op, Outcome, Target, Txn};

pub(super) const WORKLOAD: Workload = Workload {
    name: "lock",
    about: "a lock that clients take, hold, and give back",
    tests: &["lock-exclusive", "lock-owner"],
    prepare: super::nothing,
    final_reads: super::nothing,
    start: |arena, share, tasks| {
        super::start("lock", arena, share, tasks, |number, dice| Locker::new(Task::Hold, number, dice));
    },
};

pub(super) const UNFENCED_SET: Workload = Workload {
    name: "lock-set",
    about: "a set changed under the lock alone, by clients that sometimes oversleep: must lose elements",
    tests: &["lock-set"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(set::read(UNFENCED_KEY))],
    start: |arena, share, tasks| {
        super::start("lock-set", arena, share, tasks, |number, dice| {
            Locker::new(Task::ChangeUnfenced, number, dice)
        });
    },
};

pub(super) const FENCED_SET: Workload = Workload {
    name: "fenced-lock",
    about: "a set changed under the lock, by writes that are void once the lock is lost",
    tests: &["fenced-lock"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(set::read(FENCED_KEY))],
    start: |arena, share, tasks| {
        super::start("fenced-lock", arena, share, tasks, |number, dice| {
            Locker::new(Task::ChangeFenced, number, dice)
        });
    },
};

pub(super) const STORE_FENCED_SET: Workload = Workload {
    name: "store-fence",
    about: "a set changed under the lock, by writes that the store refuses once the lock is lost",
    tests: &["store-fence"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(set::read(STORE_FENCED_KEY))],
    start: |arena, share, tasks| {
        super::start("store-fence", arena, share, tasks, |number, dice| {
            Locker::new(Task::ChangeStoreFenced, number, dice)
        });
    },
};

const UNFENCED_KEY: &str = "/chaos/lock-set";
const FENCED_KEY: &str = "/chaos/fenced-lock";
const STORE_FENCED_KEY: &str = "/chaos/store-fence";
const TTL_S: i64 = 2;
/// How long a holder sleeps who oversleeps.
const OVERSLEEP: Duration = Duration::from_millis(3500);
const HOLD_MAX: Duration = Duration::from_millis(200);

/// What is done with the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Hold,
    ChangeUnfenced,
    ChangeFenced,
    ChangeStoreFenced,
}

impl Task {
    const fn lock(self) -> (&'static str, &'static str) {
        match self {
            Self::Hold => ("/chaos/lock/plain", "lock"),
            Self::ChangeUnfenced => ("/chaos/lock/unfenced", "lock-set"),
            Self::ChangeFenced => ("/chaos/lock/fenced", "fenced-lock"),
            Self::ChangeStoreFenced => ("/chaos/lock/store-fenced", "store-fence"),
        }
    }
}

struct Locker {
    task: Task,
    dice: Dice,
    number: u64,
    added: u64,
    mutex: Option<Mutex>,
    lease: Option<i64>,
}

impl Worker for Locker {
    async fn step(&mut self, client: &mut Client) -> bool {
        let went_well = self.turn(client).await.is_some();
        if !went_well && let Some(id) = self.lease.take() {
            // Out of the queue at once; if this fails, the lease expires.
            client.ask(Op::Revoke { id }).await;
        }
        went_well
    }
}

impl Locker {
    fn new(task: Task, number: u64, dice: Dice) -> Self {
        Self { task, dice, number, added: 0, mutex: None, lease: None }
    }

    async fn turn(&mut self, client: &mut Client) -> Option<()> {
        let (name, workload) = self.task.lock();
        let lease = self.live_lease(client).await?;
        let mut mutex = self.mutex.take().unwrap_or_else(|| Mutex::new(name, workload, client));
        let held = mutex.lock(client, lease).await;
        let done = match held {
            Some(held) => {
                let used = self.hold(client, &held).await;
                mutex.unlock(client, held).await && used.is_some()
            }
            None => false,
        };
        self.mutex = Some(mutex);
        done.then_some(())
    }

    /// The lease of before, if it still lives.
    async fn live_lease(&mut self, client: &mut Client) -> Option<i64> {
        if let Some(id) = self.lease {
            match client.ask(Op::KeepAlive { id }).await? {
                (_, Answer::KeepAlive { ttl_s }) if ttl_s > 0 => return Some(id),
                _ => self.lease = None,
            }
        }
        match client.ask(Op::Grant { id: 0, ttl_s: TTL_S }).await? {
            (_, Answer::Grant { id, .. }) => self.lease = Some(id),
            _ => return None,
        }
        self.lease
    }

    async fn hold(&mut self, client: &mut Client, held: &Held) -> Option<()> {
        let key = match self.task {
            Task::Hold => {
                tokio::time::sleep(self.dice.between(Duration::ZERO, HOLD_MAX)).await;
                return Some(());
            }
            Task::ChangeUnfenced => UNFENCED_KEY,
            Task::ChangeFenced => FENCED_KEY,
            Task::ChangeStoreFenced => STORE_FENCED_KEY,
        };
        let (_, answer) = client.ask(Op::Range(set::read(key))).await?;
        let Answer::Range { kvs, .. } = answer else { return None };
        let (_, value) = set::state(kvs);
        if self.dice.percent(8) {
            tokio::time::sleep(OVERSLEEP).await;
        }
        if set::size(&value) >= set::ELEMENTS_MAX {
            return Some(());
        }
        self.added += 1;
        let put = Op::Put(set::with(key, &value, self.number, self.added));
        let op = match self.task {
            Task::Hold | Task::ChangeUnfenced => put,
            Task::ChangeStoreFenced => {
                let outcome = client.call_fenced(put, &held.key, held.created).await;
                return matches!(outcome, Outcome::Ok { .. }).then_some(());
            }
            Task::ChangeFenced => Op::Txn(Txn {
                compare: vec![Compare {
                    key: held.key.clone(),
                    is: Is::Equal,
                    target: Target::Created(held.created),
                }],
                then: vec![put],
                otherwise: Vec::new(),
            }),
        };
        client.ask(op).await.map(|_| ())
    }
}
