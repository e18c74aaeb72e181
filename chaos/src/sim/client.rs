//! Clients of one member, in its process: they ask its `Store` one thing at a time, and tell the history of it.

mod convert;
mod mix;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use base::{LeaseId, Revision, Tasks};
use store::{Op as StoreOp, Status, Store, StoreError, WriteOptions};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::record::{Unresolved, writes};
use super::world::{Phase, World};
use crate::dice::Dice;
use crate::history::{Answer, Failure, Header, Invoke, Kv, Op, Outcome, Put, Range};
use mix::Mix;
pub(super) use watching::hear_again;

/// All that is there below a prefix, at a revision or now, which is told.
pub(super) async fn everything_below(
    store: &Store,
    prefix: &str,
    at: Option<Revision>,
) -> Result<(Revision, Vec<Kv>), StoreError> {
    // The first key behind all of them: the prefix ends with a slash.
    let end = format!("{}0", prefix.trim_end_matches('/'));
    let range = Range { key: prefix.to_owned(), end: Some(end), ..Range::default() };
    let found = store.range(store::Range { revision: at, ..convert::range(&range) }).await?;
    Ok((found.revision, found.kvs.into_iter().map(convert::kv).collect()))
}

const WORKLOAD: &str = "mixed";
/// How much longer than the store itself a client waits.
const PATIENCE: Duration = Duration::from_secs(8);

const BEAT_EVERY: Duration = Duration::from_millis(150);

/// How many clients a member has, and how busy they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    pub(super) clients: u64,
    pub(super) watchers: u64,
    /// Between two calls of a client, on average.
    pub(super) pause: Duration,
    /// Of a hundred writes, so many can be asked again.
    pub(super) named_percent: u64,
}

/// Where a client sits.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) world: Arc<World>,
    pub(super) member: String,
    pub(super) store: Store,
    pub(super) status: watch::Receiver<Status>,
}

impl Seat {
    pub(super) fn new(world: Arc<World>, member: String, store: Store) -> Self {
        let status = store.status_changes();
        Self { world, member, store, status }
    }

    fn header(&self, revision: u64) -> Header {
        let status = self.status.borrow();
        let (cluster, member) = (status.cluster_id, status.node_id.get());
        Header { cluster, member, revision, term: status.term }
    }
}

/// Starts everybody who sits at a member in one of its lives.
pub(super) fn start(seat: &Seat, crowd: Crowd, seed: u64, tasks: &Tasks) {
    for number in 0..crowd.clients {
        let client = Client { seat: seat.clone(), crowd, process: seat.world.record.process() };
        let dice = Dice::of(seed, "client", number);
        let name = format!("p{}", client.process);
        let work = client.work(Mix::new(dice, name));
        tasks.spawn_infallible(format!("client {number}"), work);
    }
    let beater = Client { seat: seat.clone(), crowd, process: seat.world.record.process() };
    tasks.spawn_infallible("beater", beater.beat());
    for number in 0..crowd.watchers {
        let dice = Dice::of(seed, "watcher", number);
        let watching = watching::watch_on_and_on(seat.clone(), dice);
        tasks.spawn_infallible(format!("watcher {number}"), watching);
    }
    let Seat { world, member, store, .. } = seat.clone();
    tasks.spawn_infallible("hears all", watching::hear_all(world, member, store));
}

/// Reads everything once, when it is time to.
pub(super) async fn read_at_the_end(seat: Seat) -> usize {
    let mut client = Client { crowd: Crowd::NOBODY, process: seat.world.record.process(), seat };
    let everything =
        Range { key: mix::PREFIX.to_owned(), end: Some(mix::PREFIX_END.to_owned()), ..Range::default() };
    let newest = convert::number(client.seat.store.revision());
    let mut answered = 0;
    for revision in [0, newest, newest.saturating_sub(7).max(1), newest.saturating_sub(15).max(1)] {
        let op = Op::Range(Range { revision, ..everything.clone() });
        answered += usize::from(matches!(client.ask(op).await, Outcome::Ok { .. }));
    }
    answered
}

impl Crowd {
    const NOBODY: Self = Self { clients: 0, watchers: 0, pause: Duration::ZERO, named_percent: 0 };
}

/// One who asks one thing at a time.
struct Client {
    seat: Seat,
    crowd: Crowd,
    process: u32,
}

impl Client {
    async fn work(mut self, mut mix: Mix) {
        while *self.seat.world.phase.borrow() == Phase::Work {
            sleep(mix.dice.between(Duration::ZERO, 2 * self.crowd.pause)).await;
            if mix.dice.percent(20)
                && let Some(unresolved) = self.seat.world.record.take_unresolved()
            {
                self.ask_again(unresolved).await;
                continue;
            }
            let op = mix.next();
            if let Outcome::Ok { header, answer } = self.ask(op).await {
                mix.seen = mix.seen.max(header.revision);
                match answer {
                    Answer::Grant { id, .. } => mix.lease = id,
                    Answer::KeepAlive { ttl_s } | Answer::TimeToLive { ttl_s, .. } if ttl_s <= 0 => {
                        mix.lease = 0;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Writes now and then, so that it shows when nobody can.
    async fn beat(mut self) {
        let key = format!("{}beat/{}", mix::PREFIX, self.seat.member);
        for count in 0.. {
            sleep(BEAT_EVERY).await;
            if *self.seat.world.phase.borrow() != Phase::Work {
                return;
            }
            let value = format!("p{}-{count}", self.process);
            self.ask(Op::Put(Put { key: key.clone(), value, lease: 0, previous: false })).await;
        }
    }

    /// After an unknown outcome this is another process.
    async fn ask(&mut self, op: Op) -> Outcome {
        let record = &self.seat.world.record;
        let named = writes(&op) && self.dice_for_names();
        let request_id = named.then(|| record.request_id());
        let invoke =
            Invoke { member: self.seat.member.clone(), workload: WORKLOAD.to_owned(), request_id, op };
        let outcome = self.attempt(self.process, invoke).await;
        if matches!(outcome, Outcome::Unknown(_)) {
            self.process = self.seat.world.record.process();
        }
        outcome
    }

    fn dice_for_names(&self) -> bool {
        u64::from(self.process) * 37 % 100 < self.crowd.named_percent
    }

    /// The same request, under its id and as its first process, perhaps of another member.
    async fn ask_again(&self, unresolved: Unresolved) {
        let Unresolved { process, invoke } = unresolved;
        let invoke = Invoke { member: self.seat.member.clone(), ..invoke };
        let _recorded = self.attempt(process, invoke).await;
    }

    async fn attempt(&self, process: u32, invoke: Invoke) -> Outcome {
        let record = &self.seat.world.record;
        record.invoke(process, invoke.clone());
        let outcome = match timeout(PATIENCE, self.perform(&invoke)).await {
            Ok(Ok((revision, answer))) => Outcome::Ok { header: self.seat.header(revision), answer },
            Ok(Err(error)) => convert::failed(&invoke.op, &error),
            Err(_) => {
                let failure = Failure { code: "Timeout".to_owned(), message: "no answer".to_owned() };
                if writes(&invoke.op) { Outcome::Unknown(failure) } else { Outcome::Refused(failure) }
            }
        };
        record.finish(process, outcome.clone());
        outcome
    }

    async fn perform(&self, invoke: &Invoke) -> Result<(u64, Answer), StoreError> {
        let request_id = invoke.request_id.clone().map(Into::into);
        let store = self.seat.store.with(WriteOptions { request_id, fence: None });
        let one = |op: StoreOp| store.txn(store::Txn::of(op));
        match &invoke.op {
            Op::Range(range) => {
                let result = store.range(convert::range(range)).await?;
                Ok((convert::number(result.revision), convert::range_answer(result)))
            }
            Op::Put(put) => one(StoreOp::Put(convert::put(put))).await.map(only),
            Op::Delete(delete) => one(StoreOp::Delete(convert::delete(delete))).await.map(only),
            Op::Txn(txn) => {
                let result = store.txn(convert::txn(txn)).await?;
                Ok((convert::number(result.revision), convert::txn_answer(result)))
            }
            Op::Compact { revision } => {
                store.compact(convert::revision(*revision)).await?;
                Ok((convert::number(store.revision()), Answer::Compact))
            }
            Op::Grant { id, ttl_s } => {
                let lease = store.lease_grant(LeaseId::new(*id), *ttl_s).await?;
                let answer = Answer::Grant { id: lease.id.get(), ttl_s: lease.ttl_seconds };
                Ok((convert::number(store.revision()), answer))
            }
            Op::Revoke { id } => {
                store.lease_revoke(LeaseId::new(*id)).await?;
                Ok((convert::number(store.revision()), Answer::Revoke))
            }
            Op::KeepAlive { id } => {
                let ttl_s = store.lease_keep_alive(LeaseId::new(*id)).await?.unwrap_or(0);
                Ok((convert::number(store.revision()), Answer::KeepAlive { ttl_s }))
            }
            Op::TimeToLive { id } => {
                let status = store.lease_time_to_live(LeaseId::new(*id)).await?;
                let answer = status.map_or(
                    Answer::TimeToLive { ttl_s: -1, granted_s: 0, keys: Vec::new() },
                    |status| Answer::TimeToLive {
                        ttl_s: status.remaining_seconds,
                        granted_s: status.lease.ttl_seconds,
                        keys: status
                            .keys
                            .iter()
                            .map(|key| String::from_utf8_lossy(key).into_owned())
                            .collect(),
                    },
                );
                Ok((convert::number(store.revision()), answer))
            }
            Op::Status => {
                let status = self.seat.status.borrow();
                let leader = status.leader.map_or(0, base::NodeId::get);
                Ok((convert::number(status.revision), Answer::Status { leader, is_learner: false }))
            }
            Op::Lock { .. } | Op::Unlock { .. } => Err(StoreError::Stopping),
        }
    }
}

/// The one answer of a transaction with one operation.
fn only(result: store::TxnResult) -> (u64, Answer) {
    let answer = result.responses.into_iter().next().map(convert::answer);
    (convert::number(result.revision), answer.unwrap_or(Answer::Put { previous: None }))
}
