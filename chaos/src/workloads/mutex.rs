//! etcd's recipe for a lock, out of a lease and keys: who has made the oldest key under a name has the lock.
//!
//! The history gets every call that this takes, and beside them, from a process of its own, `Lock` and `Unlock` as a
//! whole. The lock is as safe as etcd's: its holder may lose it without noticing.

use std::time::Duration;

use tokio::time::Instant;

use super::prefix;
use crate::client::Client;
use crate::history::{
    Answer, Compare, Delete, Event, Failure, Header, Invoke, Is, Kv, Op, Outcome, Put, Target, Txn,
};

/// How often one who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long one waits before he does something else.
const WAIT_MAX: Duration = Duration::from_secs(6);

/// The lock of a name, as one process uses it.
pub(super) struct Mutex {
    name: &'static str,
    workload: &'static str,
    process: u32,
}

/// Proof that the lock was got. Whether it still is held, only the store knows.
pub(super) struct Held {
    pub(super) key: String,
    /// The revision that created the key: no later holder has the same.
    pub(super) created: u64,
}

impl Mutex {
    pub(super) fn new(name: &'static str, workload: &'static str, client: &Client) -> Self {
        Self { name, workload, process: client.recorder().process() }
    }

    /// Waits its turn. None: something failed, or it took too long; give up the lease to be out of the queue.
    pub(super) async fn lock(&mut self, client: &mut Client, lease: i64) -> Option<Held> {
        self.invoke(client, Op::Lock { name: self.name.to_owned(), lease });
        let got = self.queue_up(client, lease).await;
        let answer = got.as_ref().map(|(header, held)| (*header, Answer::Lock { key: held.key.clone() }));
        self.done(client, answer);
        got.map(|(_, held)| held)
    }

    /// False: nobody knows whether it was given back.
    pub(super) async fn unlock(&mut self, client: &mut Client, held: Held) -> bool {
        self.invoke(client, Op::Unlock { key: held.key.clone() });
        let delete = Delete { key: held.key, end: None, previous: false };
        let deleted = client.ask(Op::Delete(delete)).await;
        let answer = deleted.map(|(header, _)| (header, Answer::Unlock));
        let went_well = answer.is_some();
        self.done(client, answer);
        went_well
    }

    async fn queue_up(&self, client: &mut Client, lease: i64) -> Option<(Header, Held)> {
        let key = format!("{}/{lease:016x}", self.name);
        let enter = Txn {
            compare: vec![Compare { key: key.clone(), is: Is::Equal, target: Target::Created(0) }],
            then: vec![Op::Put(Put { key: key.clone(), value: String::new(), lease, previous: false })],
            otherwise: Vec::new(),
        };
        client.ask(Op::Txn(enter)).await?;
        let until = Instant::now() + WAIT_MAX;
        while Instant::now() < until {
            let queue = Op::Range(prefix(&format!("{}/", self.name)));
            let (header, answer) = client.ask(queue).await?;
            let Answer::Range { kvs, .. } = answer else { return None };
            let own = kvs.iter().find(|kv| kv.key == key)?;
            if first(&kvs)? == own.created {
                return Some((header, Held { key, created: own.created }));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        None
    }

    fn invoke(&self, client: &Client, op: Op) {
        let (member, workload) = (client.member().to_owned(), self.workload.to_owned());
        let invoke = Invoke { member, workload, request_id: None, op };
        client.recorder().history.record(self.process, Event::Invoke(invoke));
    }

    fn done(&mut self, client: &Client, answer: Option<(Header, Answer)>) {
        let outcome = match answer {
            Some((header, answer)) => Outcome::Ok { header, answer },
            None => Outcome::Unknown(Failure {
                code: "Incomplete".to_owned(),
                message: "one of the calls that it takes has failed, or took too long".to_owned(),
            }),
        };
        let is_unknown = matches!(outcome, Outcome::Unknown(_));
        client.recorder().history.record(self.process, Event::Return { outcome });
        if is_unknown {
            self.process = client.recorder().process();
        }
    }
}

/// When the oldest key of the queue was created.
fn first(queue: &[Kv]) -> Option<u64> {
    queue.iter().map(|kv| kv.created).min()
}
