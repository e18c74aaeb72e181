//! A client of etcd's v3 API that is asked one thing at a time and tells the history of it.
//!
//! It talks to one member, never asks again unless it is told to, and takes a new process number when it does not know
//! what became of its last call. Whoever wants an unknown call resolved asks it again under its request id ([`Asker::ask_again`]).

pub mod accounts;
mod api;
mod bare;
mod convert;
mod outcome;
mod prefix;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::history::{Answer, Event, Header, Invoke, Op, Outcome, Reply, Writer, version};

pub use api::{Api, ApiTarget, Ask, FENCED, ObjectStream, Refusal, marked};
pub(crate) use api::{FENCE_HEADER, open_end, plain, understand};
pub use bare::Bare;
pub use outcome::{TIMEOUT, UNCONNECTED, can_be_asked_again, writes};
pub use prefix::Prefix;
pub use stream::{Stream, StreamEnd};
pub use target::Target;
pub use watch::{Feed, Watching};

/// The metadata by which a write can be asked again.
const REQUEST_ID: &str = "navarch-request-id";
/// The metadata by which a write is refused once its sender has lost a key.
const FENCE: &str = "navarch-fence";

/// Who a client says that it is, and whom it believes; PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

/// What all clients of a run share: the history, the numbers that are given once, and what came of the calls.
#[derive(Clone)]
pub struct Recorder {
    pub history: Writer,
    shared: Arc<Shared>,
}

struct Shared {
    /// In front of every request id of this run; none when the system knows no request ids.
    ids: Option<String>,
    next_process: AtomicU32,
    next_request: AtomicU64,
    next_watch: AtomicU64,
    /// The newest revision, and the latest compaction, that any client was told of.
    newest: AtomicU64,
    compacted: AtomicU64,
    /// The last revision of which some member's log is known.
    logged: AtomicU64,
    ok: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    unresolved: Mutex<Vec<Unresolved>>,
}

/// A write of which nobody knows whether it happened.
#[derive(Clone, Debug)]
pub struct Unresolved {
    pub process: u32,
    pub request_id: String,
    pub workload: &'static str,
    pub op: Op,
    /// As it was sent.
    pub fence: Option<String>,
    /// When it was asked first.
    pub since: Instant,
}

/// How many calls ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: u64,
    pub refused: u64,
    pub unknown: u64,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Recorder {
    /// `ids` is a word that no other run on this system has used, if the system answers a repeated request by its id.
    pub fn new(history: Writer, ids: Option<String>) -> Self {
        let shared = Shared {
            ids,
            next_process: AtomicU32::new(1),
            next_request: AtomicU64::new(1),
            next_watch: AtomicU64::new(1),
            newest: AtomicU64::new(0),
            compacted: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            unresolved: Mutex::default(),
        };
        Self { history, shared: Arc::new(shared) }
    }

    /// A number for somebody who does one thing at a time.
    pub fn process(&self) -> u32 {
        self.shared.next_process.fetch_add(1, Ordering::Relaxed)
    }

    fn watch(&self) -> u64 {
        self.shared.next_watch.fetch_add(1, Ordering::Relaxed)
    }

    fn request_id(&self, op: &Op) -> Option<String> {
        let run = self.shared.ids.as_ref().filter(|_| can_be_asked_again(op))?;
        Some(format!("{run}-{}", self.shared.next_request.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            ok: count(&self.shared.ok),
            refused: count(&self.shared.refused),
            unknown: count(&self.shared.unknown),
        }
    }

    /// The newest revision that any client was told of.
    pub fn newest(&self) -> u64 {
        self.shared.newest.load(Ordering::Relaxed)
    }

    /// The latest revision up to which a compaction was acknowledged.
    pub fn compacted(&self) -> u64 {
        self.shared.compacted.load(Ordering::Relaxed)
    }

    /// What is not above this revision is not to be asked for, as if it were compacted.
    pub fn forget(&self, revision: u64) {
        self.shared.compacted.fetch_max(revision, Ordering::Relaxed);
    }

    /// Every revision up to this one is in the log of some member that is kept for the end: it may be compacted.
    pub fn logged(&self) -> u64 {
        self.shared.logged.load(Ordering::Relaxed)
    }

    pub fn has_logged(&self, revision: u64) {
        self.shared.logged.fetch_max(revision, Ordering::Relaxed);
    }

    fn learn(&self, op: &Op, outcome: &Outcome) {
        if let Outcome::Ok { header, .. } = outcome {
            self.shared.newest.fetch_max(header.revision, Ordering::Relaxed);
            if let Op::Compact { revision } = op {
                self.shared.compacted.fetch_max(*revision, Ordering::Relaxed);
            }
        }
        let counter = match outcome {
            Outcome::Ok { .. } => &self.shared.ok,
            Outcome::Refused(_) => &self.shared.refused,
            Outcome::Unknown(_) => &self.shared.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn learn_reply(&self, reply: &Reply) {
        let counter = match reply {
            Reply::Ok { object } => {
                self.shared.newest.fetch_max(version(object), Ordering::Relaxed);
                &self.shared.ok
            }
            Reply::Refused(_) => &self.shared.refused,
            Reply::Unknown(_) => &self.shared.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what is unresolved, oldest first.
    pub fn take_unresolved(&self) -> Vec<Unresolved> {
        std::mem::take(&mut *self.unresolved())
    }

    /// Gives back what could not be resolved.
    pub fn leave_unresolved(&self, unresolved: Unresolved) {
        self.unresolved().push(unresolved);
    }

    fn unresolved(&self) -> std::sync::MutexGuard<'_, Vec<Unresolved>> {
        self.shared.unresolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process: it asks one member one thing at a time.
pub struct Client {
    recorder: Recorder,
    target: Target,
    channel: Option<Channel>,
    process: u32,
    workload: &'static str,
    deadline: Duration,
}

impl Client {
    /// `deadline` is for each call.
    pub fn new(recorder: Recorder, target: Target, workload: &'static str, deadline: Duration) -> Self {
        let process = recorder.process();
        Self { recorder, target, channel: None, process, workload, deadline }
    }

    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub fn member(&self) -> &str {
        &self.target.member
    }

    pub fn process(&self) -> u32 {
        self.process
    }

    /// Talks to another member from now on.
    pub fn turn_to(&mut self, target: Target) {
        self.target = target;
        self.channel = None;
    }

    /// Asks once. After an unknown outcome this is another process.
    pub async fn call(&mut self, op: Op) -> Outcome {
        self.call_with(op, None).await
    }

    /// As [`Self::call`], of a system that knows fences: refused unless the key is still the one that `created` made.
    pub async fn call_fenced(&mut self, op: Op, key: &str, created: u64) -> Outcome {
        self.call_with(op, Some(format!("{created} {}", self.target.prefix.key(key)))).await
    }

    async fn call_with(&mut self, op: Op, fence: Option<String>) -> Outcome {
        let request_id = self.recorder.request_id(&op);
        let since = Instant::now();
        let process = self.process;
        let terms = Terms { request_id: request_id.as_deref(), fence: fence.as_deref() };
        let outcome = self.attempt(&op, terms).await;
        if let (Outcome::Unknown(_), Some(request_id)) = (&outcome, request_id) {
            let workload = self.workload;
            self.recorder.leave_unresolved(Unresolved { process, request_id, workload, op, fence, since });
        }
        outcome
    }

    /// Asks twice under one request id, the second time of `another` member and whatever the first answer was: once only
    /// of a system that knows no request ids. Whether any was a success.
    pub async fn call_twice(&mut self, op: Op, another: Target) -> bool {
        let Some(request_id) = self.recorder.request_id(&op) else {
            return matches!(self.call(op).await, Outcome::Ok { .. });
        };
        let (since, workload) = (Instant::now(), self.workload);
        let terms = Terms { request_id: Some(&request_id), fence: None };
        let first = (self.process, self.attempt(&op, terms).await);
        let home = (std::mem::replace(&mut self.target, another), self.channel.take());
        let attempts = [first, (self.process, self.attempt(&op, terms).await)];
        (self.target, self.channel) = home;
        let is_known = attempts.iter().any(|(_, outcome)| matches!(outcome, Outcome::Ok { .. }));
        let open = attempts.iter().find(|(_, outcome)| matches!(outcome, Outcome::Unknown(_)));
        if let (false, Some(&(process, _))) = (is_known, open) {
            let unresolved = Unresolved { process, request_id, workload, op, fence: None, since };
            self.recorder.leave_unresolved(unresolved);
        }
        is_known
    }

    /// As [`Self::call`], for callers that do nothing different about the two ways not to succeed.
    pub async fn ask(&mut self, op: Op) -> Option<(Header, Answer)> {
        match self.call(op).await {
            Outcome::Ok { header, answer } => Some((header, answer)),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    async fn attempt(&mut self, op: &Op, terms: Terms<'_>) -> Outcome {
        let invoke = Invoke {
            member: self.target.member.clone(),
            workload: self.workload.to_owned(),
            request_id: terms.request_id.map(str::to_owned),
            op: op.clone(),
        };
        let channel = self.channel.get_or_insert_with(|| self.target.connect()).clone();
        self.recorder.history.record(self.process, Event::Invoke(invoke));
        let prefix = &self.target.prefix;
        let asked = prefix.op(op);
        let outcome = match tokio::time::timeout(self.deadline, perform(channel, &asked, terms)).await {
            Ok(Ok((header, answer))) => Outcome::Ok { header, answer: prefix.answer(answer) },
            Ok(Err(status)) => outcome::of_status(op, &status),
            Err(_) => outcome::of_timeout(op),
        };
        self.recorder.history.record(self.process, Event::Return { outcome: outcome.clone() });
        self.recorder.learn(op, &outcome);
        if !matches!(outcome, Outcome::Ok { .. }) {
            // What is wrong with a connection must not be found out again by the next call.
            self.channel = None;
        }
        if matches!(outcome, Outcome::Unknown(_)) {
            self.process = self.recorder.process();
        }
        outcome
    }
}

/// Asks for what became of calls of unknown outcome, by asking them again.
pub struct Asker {
    client: Client,
}

impl Asker {
    pub fn new(recorder: Recorder, target: Target, deadline: Duration) -> Self {
        Self { client: Client::new(recorder, target, "", deadline) }
    }

    pub fn turn_to(&mut self, target: Target) {
        self.client.turn_to(target);
    }

    /// The same request, under its id and as its first process. Left unresolved when it is unknown again.
    pub async fn ask_again(&mut self, unresolved: Unresolved) -> Outcome {
        self.client.process = unresolved.process;
        self.client.workload = unresolved.workload;
        let terms = Terms { request_id: Some(&unresolved.request_id), fence: unresolved.fence.as_deref() };
        let outcome = self.client.attempt(&unresolved.op, terms).await;
        if !matches!(outcome, Outcome::Ok { .. }) {
            self.client.recorder.leave_unresolved(unresolved);
        }
        outcome
    }
}

/// What goes with a write, as metadata.
#[derive(Clone, Copy, Debug)]
struct Terms<'a> {
    request_id: Option<&'a str>,
    fence: Option<&'a str>,
}

type Answered = Result<(Header, Answer), Status>;

async fn perform(channel: Channel, op: &Op, terms: Terms<'_>) -> Answered {
    match op {
        Op::Range(_) | Op::Put(_) | Op::Delete(_) | Op::Txn(_) | Op::Compact { .. } => {
            on_keys(channel, op, terms).await
        }
        Op::Grant { .. } | Op::Revoke { .. } | Op::KeepAlive { .. } | Op::TimeToLive { .. } => {
            on_leases(channel, op, terms).await
        }
        Op::Status => {
            let mut members = MaintenanceClient::new(channel);
            let status = members.status(pb::StatusRequest {}).await?.into_inner();
            let answer = Answer::Status { leader: status.leader, is_learner: status.is_learner };
            Ok((convert::header(status.header), answer))
        }
        Op::Lock { .. } | Op::Unlock { .. } => {
            Err(Status::unimplemented("locks are made of other calls: see workloads::mutex"))
        }
    }
}

async fn on_keys(channel: Channel, op: &Op, terms: Terms<'_>) -> Answered {
    let mut kv = KvClient::new(channel).max_decoding_message_size(usize::MAX);
    Ok(match op {
        Op::Range(range) => {
            let answer = kv.range(convert::range(range)).await?.into_inner();
            (convert::header(answer.header), convert::range_answer(answer))
        }
        Op::Put(put) => {
            let answer = kv.put(on_terms(convert::put(put), terms)).await?.into_inner();
            (convert::header(answer.header), convert::put_answer(answer))
        }
        Op::Delete(delete) => {
            let answer = kv.delete_range(on_terms(convert::delete(delete), terms)).await?.into_inner();
            (convert::header(answer.header), convert::delete_answer(answer))
        }
        Op::Txn(txn) => {
            let answer = kv.txn(on_terms(convert::txn(txn), terms)).await?.into_inner();
            (convert::header(answer.header), convert::txn_answer(answer))
        }
        Op::Compact { revision } => {
            let revision = i64::try_from(*revision).unwrap_or(i64::MAX);
            let request = pb::CompactionRequest { revision, physical: false };
            let answer = kv.compact(on_terms(request, terms)).await?.into_inner();
            (convert::header(answer.header), Answer::Compact)
        }
        Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. }
        | Op::Status => return Err(Status::unimplemented("not about keys")),
    })
}

async fn on_leases(channel: Channel, op: &Op, terms: Terms<'_>) -> Answered {
    let mut leases = LeaseClient::new(channel);
    Ok(match op {
        Op::Grant { id, ttl_s } => {
            let request = pb::LeaseGrantRequest { id: *id, ttl: *ttl_s };
            let answer = leases.lease_grant(on_terms(request, terms)).await?.into_inner();
            (convert::header(answer.header), Answer::Grant { id: answer.id, ttl_s: answer.ttl })
        }
        Op::Revoke { id } => {
            let request = pb::LeaseRevokeRequest { id: *id };
            let answer = leases.lease_revoke(on_terms(request, terms)).await?.into_inner();
            (convert::header(answer.header), Answer::Revoke)
        }
        Op::KeepAlive { id } => {
            let beat = futures::stream::iter([pb::LeaseKeepAliveRequest { id: *id }]);
            let mut answers = leases.lease_keep_alive(beat).await?.into_inner();
            let answer = answers.message().await?;
            let answer = answer.ok_or_else(|| Status::unavailable("the stream ended without an answer"))?;
            (convert::header(answer.header), Answer::KeepAlive { ttl_s: answer.ttl })
        }
        Op::TimeToLive { id } => {
            let request = pb::LeaseTimeToLiveRequest { id: *id, keys: true };
            let answer = leases.lease_time_to_live(request).await?.into_inner();
            (convert::header(answer.header), convert::time_to_live_answer(answer))
        }
        Op::Range(_)
        | Op::Put(_)
        | Op::Delete(_)
        | Op::Txn(_)
        | Op::Compact { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. }
        | Op::Status => return Err(Status::unimplemented("not about leases")),
    })
}

fn on_terms<T>(message: T, terms: Terms<'_>) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in [(REQUEST_ID, terms.request_id), (FENCE, terms.fence)] {
        if let Some(value) = value.and_then(|value| value.parse().ok()) {
            request.metadata_mut().insert(name, value);
        }
    }
    request
}
