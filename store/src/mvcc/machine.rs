//! The state machine: one command after the other, each with the same result on every replica.
//!
//! A command carries its time and its request id. Applying it reads neither clock nor chance.

use std::collections::VecDeque;
use std::sync::Arc;

use base::{LeaseId, NodeId, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::alarm::{self, Alarm, AlarmChange, Alarms};
use super::auth::Auth;
use super::auth::change::AuthChange;
use super::auth::permit::By;
use super::auth::rows as auth_rows;
use super::fence::{self, Fence};
use super::head::Head;
use super::keyspace::Horizon;
use super::layout::{self, Mark};
use super::lease::{self, LeaseChange};
use super::newest::Newest;
use super::overlay::Overlay;
use super::request::{Event, Lease, Txn, TxnResult};
use super::retries::{self, Answers, Asker, Earlier, RequestId, Retries};
use super::tables::{Table, TableError, View};
use super::txn::{Finished, Stop, Writer};
use crate::error::{AuthError, StoreError};
use crate::seeded::{self, Bug};

/// A leader names a revision of a moment ago: this many hashes are at hand, older ones are read.
const HASHES_MAX: usize = 4096;

/// What a client asks of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) request: RequestId,
    /// What the sender must still hold when the command is applied.
    pub(crate) fence: Option<Fence>,
    pub(crate) by: By,
    pub(crate) action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    Txn(Txn),
    Compact(Revision),
    LeaseGrant(Lease),
    LeaseRevoke(LeaseId),
    /// Takes a node id that was never used; ids up to `above` are taken too.
    TakeNodeId {
        above: NodeId,
    },
    Alarm(AlarmChange),
    Auth(AuthChange),
}

/// The commands of one entry, as the leader put them into the log.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    pub(crate) index: u64,
    /// The leader's wall time, in milliseconds since 1970.
    pub(crate) time_ms: i64,
    /// A revision that the leader had applied, and its state hash.
    pub(crate) witness: Option<(Revision, u32)>,
    pub(crate) commands: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Txn(TxnResult),
    Compacted,
    Lease(Lease),
    /// The newest revision then: the one that deleted the lease's keys, if it had any.
    Revoked(Revision),
    Node(NodeId),
    /// The alarm that was raised or cleared.
    Alarm(Option<Alarm>),
    AuthChanged,
}

pub(crate) type Outcome = Result<Reply, StoreError>;

/// What applying a command did, beside the rows.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) outcome: Outcome,
    pub(crate) events: Option<(Revision, Vec<Arc<Event>>)>,
    pub(crate) lease: Option<LeaseChange>,
    changed: bool,
}

/// What applying an entry did.
#[derive(Debug, Default)]
pub(crate) struct AppliedEntry {
    /// One for each command.
    pub(crate) done: Vec<Applied>,
    /// The leader was at another state when it proposed this.
    pub(crate) difference: Option<Difference>,
}

/// Two replicas had other hashes at one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) revision: Revision,
    pub(crate) ours: u32,
    pub(crate) theirs: u32,
}

/// Turns an outcome into bytes and back; handed in, because only `disk` knows the codec.
pub(crate) struct OutcomeCodec {
    pub(crate) encode: fn(&Outcome) -> Bytes,
    pub(crate) decode: fn(&[u8]) -> Option<Outcome>,
}

/// What of the state is kept at hand; everything else is rows.
pub(crate) struct Machine {
    head: Head,
    /// Of the newest revisions, in order.
    hashes: VecDeque<(Revision, u32)>,
    newest: Newest,
    alarms: Alarms,
    retries: Retries,
    auth: Arc<Auth>,
    codec: OutcomeCodec,
}

impl Machine {
    pub(crate) fn load(view: &dyn View, codec: OutcomeCodec) -> Result<Self, TableError> {
        Ok(Self {
            head: Head::load(view)?,
            hashes: VecDeque::new(),
            newest: Newest::default(),
            alarms: Alarms::load(view)?,
            retries: Retries::load(view)?,
            auth: Arc::new(Auth::load(view)?),
            codec,
        })
    }

    pub(crate) fn horizon(&self) -> Horizon {
        self.head.horizon
    }

    pub(crate) fn hash(&self) -> u32 {
        self.head.hash
    }

    pub(crate) fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    pub(crate) fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// Applies the commands of one entry to `rows`, in order. An error is final: this replica cannot go on.
    pub(crate) fn apply(
        &mut self,
        rows: &mut Overlay<'_>,
        entry: &Stamped,
    ) -> Result<AppliedEntry, TableError> {
        let difference = self.compare_with_leader(rows, entry)?;
        // The clock of a new leader may be behind the last one's; the times of revisions never fall.
        let time_ms = self.head.time_ms.max(entry.time_ms);
        let mut done = Vec::with_capacity(entry.commands.len());
        let mut answers = Answers::default();
        for command in &entry.commands {
            done.push(self.apply_one(rows, command, time_ms, &mut answers)?);
        }
        self.retries.keep(rows, entry.index, time_ms, answers);
        if done.iter().any(|applied| applied.changed) {
            self.head.save(rows);
        }
        Ok(AppliedEntry { done, difference })
    }

    fn apply_one(
        &mut self,
        rows: &mut Overlay<'_>,
        command: &Command,
        time_ms: i64,
        answers: &mut Answers,
    ) -> Result<Applied, TableError> {
        let request = command.request;
        let earlier = match answers.find(request) {
            Some(earlier) => Some(earlier),
            None => self.retries.find(rows, request)?,
        };
        if let Some(earlier) = earlier.filter(|_| !seeded::is(Bug::RetryAppliedTwice)) {
            let outcome = match earlier {
                Earlier::Answer(bytes) => self.again(rows, command, &bytes)?,
                Earlier::TooLargeToKeep => Err(StoreError::Timeout),
            };
            return Ok(Applied { outcome, events: None, lease: None, changed: false });
        }
        let before = self.head.horizon;
        let permitted = self.auth.permit(rows, &command.by, &command.action);
        let admitted = permitted.and_then(|()| match &command.fence {
            Some(fence) => fence::check(&mut self.newest, rows, fence, before.newest),
            None => Ok(()),
        });
        let acted = admitted.and_then(|()| self.act(rows, &command.action, time_ms));
        let (outcome, events, lease) = match acted {
            Ok(done) => (Ok(done.reply), done.events, done.lease),
            Err(Stop::Refused(refusal)) => (Err(refusal), None, None),
            Err(Stop::Failed(failure)) => return Err(failure),
        };
        let noted = matches!(outcome, Ok(Reply::Node(_) | Reply::Alarm(Some(_)) | Reply::AuthChanged));
        let changed = before != self.head.horizon || lease.is_some() || noted;
        // Running a command of our own again is harmless when it changed nothing; a client is promised one answer.
        let refused_for_now = matches!(outcome, Err(StoreError::Auth(_)));
        if changed || (request.asker == Asker::Client && !refused_for_now) {
            answers.push(request, retries::signed(command.by.user(), &(self.codec.encode)(&outcome)));
        }
        Ok(Applied { outcome, events, lease, changed })
    }

    /// The answer that was given before, to whoever may hear it. Auth may have been turned on or off between two attempts
    /// of one client, which is nobody while it is off: that is no reason to do it twice.
    fn again(
        &self,
        rows: &Overlay<'_>,
        command: &Command,
        kept: &[u8],
    ) -> Result<Result<Reply, StoreError>, TableError> {
        let unreadable = TableError::Corrupt { table: "meta", what: "a kept answer is unreadable" };
        let Some((was_asked_by, bytes)) = retries::signature(kept) else { return Err(unreadable) };
        let asks = retries::sign(command.by.user());
        if asks != was_asked_by {
            if asks != retries::NOBODY && was_asked_by != retries::NOBODY {
                return Ok(Err(AuthError::PermissionDenied.into()));
            }
            match self.auth.permit(rows, &command.by, &command.action) {
                Ok(()) => {}
                Err(Stop::Refused(refusal)) => return Ok(Err(refusal)),
                Err(Stop::Failed(failure)) => return Err(failure),
            }
        }
        (self.codec.decode)(bytes).ok_or(unreadable)
    }

    fn act(&mut self, rows: &mut Overlay<'_>, action: &Action, time_ms: i64) -> Result<Done, Stop> {
        match action {
            Action::Txn(txn) => {
                if self.alarms.no_space() && alarm::grows(txn) {
                    return Err(StoreError::NoSpace.into());
                }
                let mut writer = Writer::new(rows, &mut self.newest, self.head.horizon, self.head.seed());
                let reply = Reply::Txn(writer.run(txn)?);
                let finished = writer.finish();
                Ok(Done { reply, events: self.advance(rows, finished, time_ms), lease: None })
            }
            Action::Compact(at) => {
                self.compact(*at)?;
                Ok(Done::quiet(Reply::Compacted))
            }
            Action::LeaseGrant(asked) => {
                if self.alarms.no_space() {
                    return Err(StoreError::NoSpace.into());
                }
                let lease = lease::grant(rows, *asked)?;
                self.head.note(&[lease.id.get().to_be_bytes(), lease.ttl_seconds.to_be_bytes()].concat());
                let granted = Some(LeaseChange::Granted(lease));
                Ok(Done { reply: Reply::Lease(lease), events: None, lease: granted })
            }
            Action::LeaseRevoke(id) => {
                if lease::find(rows, *id)?.is_none() {
                    return Err(StoreError::LeaseNotFound.into());
                }
                let keys = lease::keys(rows, *id)?;
                let mut writer = Writer::new(rows, &mut self.newest, self.head.horizon, self.head.seed());
                lease::revoke(&mut writer, &keys)?;
                let finished = writer.finish();
                rows.delete(Table::Lease, layout::lease_key(*id));
                let events = self.advance(rows, finished, time_ms);
                self.head.note(&id.get().to_be_bytes());
                let reply = Reply::Revoked(self.head.horizon.newest);
                Ok(Done { reply, events, lease: Some(LeaseChange::Ended(*id)) })
            }
            Action::TakeNodeId { above } => {
                self.head.last_node = NodeId::new(self.head.last_node.max(*above).get().saturating_add(1));
                Ok(Done::quiet(Reply::Node(self.head.last_node)))
            }
            Action::Alarm(change) => Ok(Done::quiet(Reply::Alarm(self.alarms.change(rows, *change)))),
            Action::Auth(change) => {
                Arc::make_mut(&mut self.auth).apply(rows, change).map_err(StoreError::from)?;
                self.head.note(&auth_rows::hash(rows)?.to_be_bytes());
                Ok(Done::quiet(Reply::AuthChanged))
            }
        }
    }

    fn compact(&mut self, at: Revision) -> Result<(), StoreError> {
        let Horizon { newest, compacted } = self.head.horizon;
        if at <= compacted {
            return Err(StoreError::Compacted { asked: at, compacted });
        }
        if at > newest {
            return Err(StoreError::FutureRevision { asked: at, newest });
        }
        self.head.horizon.compacted = at;
        Ok(())
    }

    /// Takes over the revision that a writer made, if it made one.
    fn advance(
        &mut self,
        rows: &mut Overlay<'_>,
        finished: Option<Finished>,
        time_ms: i64,
    ) -> Option<(Revision, Vec<Arc<Event>>)> {
        let Finished { events, hash, recorded, bytes } = finished?;
        let revision = self.head.horizon.newest.next();
        let written = self.head.written + bytes;
        self.head.horizon.newest = revision;
        self.head.hash = hash;
        self.head.quiet = 0;
        self.head.time_ms = time_ms;
        self.head.written = written;
        self.hashes.push_back((revision, hash));
        if self.hashes.len() > HASHES_MAX {
            self.hashes.pop_front();
        }
        let row = layout::encode_revision(&Mark { hash, time_ms, written }, &recorded);
        rows.put(Table::Rev, layout::rev_key(revision), row);
        Some((revision, events))
    }

    fn compare_with_leader(
        &self,
        view: &dyn View,
        entry: &Stamped,
    ) -> Result<Option<Difference>, TableError> {
        let Some((revision, theirs)) = entry.witness else { return Ok(None) };
        let Some(ours) = self.hash_at(view, revision)? else { return Ok(None) };
        Ok((ours != theirs).then_some(Difference { revision, ours, theirs }))
    }

    fn hash_at(&self, view: &dyn View, revision: Revision) -> Result<Option<u32>, TableError> {
        if let Ok(at) = self.hashes.binary_search_by_key(&revision, |(at, _)| *at) {
            return Ok(self.hashes.get(at).map(|(_, hash)| *hash));
        }
        Ok(layout::mark_at(view, revision)?.map(|mark| mark.hash))
    }
}

struct Done {
    reply: Reply,
    events: Option<(Revision, Vec<Arc<Event>>)>,
    lease: Option<LeaseChange>,
}

impl Done {
    fn quiet(reply: Reply) -> Self {
        Self { reply, events: None, lease: None }
    }
}

#[cfg(test)]
mod known_bugs;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
