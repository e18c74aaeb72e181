//! The state machine: one command after the other, each with the same result on every replica.
//!
//! A command carries its time and its request id. Applying it reads neither clock nor chance.

use std::sync::Arc;

use base::{LeaseId, NodeId, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::alarm::{self, Alarm, AlarmChange, Alarms};
use super::auth::Auth;
use super::auth::change::AuthChange;
use super::auth::permit::By;
use super::fence::{self, Fence};
use super::keyspace::Horizon;
use super::layout::{self, Mark};
use super::lease::{self, LeaseChange};
use super::overlay::Overlay;
use super::request::{Event, Lease, Txn, TxnResult};
use super::retries::{Answers, Asker, Earlier, RequestId, Retries};
use super::tables::{Table, TableError, View};
use super::txn::{Finished, Stop, Writer};
use crate::error::StoreError;

pub(super) const REVISION: &[u8] = b"revision";
pub(super) const COMPACTED: &[u8] = b"compacted";
const HASH: &[u8] = b"hash";
const TIME: &[u8] = b"time";
const WRITTEN: &[u8] = b"written";
pub(super) const LAST_NODE: &[u8] = b"last_node";

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
    Revoked,
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
    horizon: Horizon,
    hash: u32,
    /// Of the newest revision: its time, and the bytes written up to it.
    time_ms: i64,
    written: u64,
    last_node: NodeId,
    alarms: Alarms,
    retries: Retries,
    auth: Arc<Auth>,
    codec: OutcomeCodec,
}

impl Machine {
    pub(crate) fn load(view: &dyn View, codec: OutcomeCodec) -> Result<Self, TableError> {
        let number = |name: &[u8], absent: i64| match view.get(Table::Meta, name)? {
            Some(row) => layout::decode_i64("meta", &row),
            None => Ok(absent),
        };
        let hash = match view.get(Table::Meta, HASH)? {
            Some(row) => layout::decode_u32("meta", &row)?,
            None => 0,
        };
        Ok(Self {
            // A new store is at revision 1, so that its first write makes revision 2, as in etcd.
            horizon: Horizon {
                newest: Revision::new(number(REVISION, 1)?),
                // Below what can be asked for: the first compaction may be one at revision 0, as in etcd.
                compacted: Revision::new(number(COMPACTED, -1)?),
            },
            hash,
            time_ms: number(TIME, 0)?,
            written: number(WRITTEN, 0)?.cast_unsigned(),
            last_node: NodeId::new(number(LAST_NODE, 0)?.cast_unsigned()),
            alarms: Alarms::load(view)?,
            retries: Retries::load(view)?,
            auth: Arc::new(Auth::load(view)?),
            codec,
        })
    }

    pub(crate) fn horizon(&self) -> Horizon {
        self.horizon
    }

    pub(crate) fn hash(&self) -> u32 {
        self.hash
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
        let difference = compare_with_leader(rows, entry)?;
        // The clock of a new leader may be behind the last one's; the times of revisions never fall.
        let time_ms = self.time_ms.max(entry.time_ms);
        let mut done = Vec::with_capacity(entry.commands.len());
        let mut answers = Answers::default();
        for command in &entry.commands {
            done.push(self.apply_one(rows, command, time_ms, &mut answers)?);
        }
        self.retries.keep(rows, entry.index, time_ms, answers);
        if done.iter().any(|applied| applied.changed) {
            self.save(rows);
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
        if let Some(earlier) = earlier {
            let outcome = match earlier {
                Earlier::Answer(bytes) => (self.codec.decode)(&bytes)
                    .ok_or(TableError::Corrupt { table: "meta", what: "a kept answer is unreadable" })?,
                Earlier::TooLargeToKeep => Err(StoreError::Timeout),
            };
            return Ok(Applied { outcome, events: None, lease: None, changed: false });
        }
        let before = self.horizon;
        let fence = command.fence.as_ref();
        let permitted = self.auth.permit(rows, &command.by, &command.action);
        let admitted =
            permitted.and_then(|()| fence.map_or(Ok(()), |fence| fence::check(rows, fence, before.newest)));
        let acted = admitted.and_then(|()| self.act(rows, &command.action, time_ms));
        let (outcome, events, lease) = match acted {
            Ok(done) => (Ok(done.reply), done.events, done.lease),
            Err(Stop::Refused(refusal)) => (Err(refusal), None, None),
            Err(Stop::Failed(failure)) => return Err(failure),
        };
        let noted = matches!(outcome, Ok(Reply::Node(_) | Reply::Alarm(Some(_)) | Reply::AuthChanged));
        let changed = before != self.horizon || lease.is_some() || noted;
        // Running a command of our own again is harmless when it changed nothing; a client is promised one answer.
        let refused_for_now = matches!(outcome, Err(StoreError::Auth(_)));
        if changed || (request.asker == Asker::Client && !refused_for_now) {
            answers.push(request, (self.codec.encode)(&outcome));
        }
        Ok(Applied { outcome, events, lease, changed })
    }

    fn act(&mut self, rows: &mut Overlay<'_>, action: &Action, time_ms: i64) -> Result<Done, Stop> {
        match action {
            Action::Txn(txn) => {
                if self.alarms.no_space() && alarm::grows(txn) {
                    return Err(StoreError::NoSpace.into());
                }
                let mut writer = Writer::new(rows, self.horizon, self.hash);
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
                let granted = Some(LeaseChange::Granted(lease));
                Ok(Done { reply: Reply::Lease(lease), events: None, lease: granted })
            }
            Action::LeaseRevoke(id) => {
                if lease::find(rows, *id)?.is_none() {
                    return Err(StoreError::LeaseNotFound.into());
                }
                let keys = lease::keys(rows, *id)?;
                let mut writer = Writer::new(rows, self.horizon, self.hash);
                lease::revoke(&mut writer, &keys)?;
                let finished = writer.finish();
                rows.delete(Table::Lease, layout::lease_key(*id));
                let events = self.advance(rows, finished, time_ms);
                Ok(Done { reply: Reply::Revoked, events, lease: Some(LeaseChange::Ended(*id)) })
            }
            Action::TakeNodeId { above } => {
                self.last_node = NodeId::new(self.last_node.max(*above).get() + 1);
                Ok(Done::quiet(Reply::Node(self.last_node)))
            }
            Action::Alarm(change) => Ok(Done::quiet(Reply::Alarm(self.alarms.change(rows, *change)))),
            Action::Auth(change) => {
                Arc::make_mut(&mut self.auth).apply(rows, change).map_err(StoreError::from)?;
                Ok(Done::quiet(Reply::AuthChanged))
            }
        }
    }

    fn compact(&mut self, at: Revision) -> Result<(), StoreError> {
        let Horizon { newest, compacted } = self.horizon;
        if at <= compacted {
            return Err(StoreError::Compacted { asked: at, compacted });
        }
        if at > newest {
            return Err(StoreError::FutureRevision { asked: at, newest });
        }
        self.horizon.compacted = at;
        Ok(())
    }

    /// Takes over the revision that a writer made, if it made one.
    fn advance(
        &mut self,
        rows: &mut Overlay<'_>,
        finished: Option<Finished>,
        time_ms: i64,
    ) -> Option<(Revision, Vec<Arc<Event>>)> {
        let Finished { events, hash, bytes } = finished?;
        let revision = self.horizon.newest.next();
        self.horizon.newest = revision;
        self.hash = hash;
        self.time_ms = time_ms;
        self.written += bytes;
        let mark = Mark { hash, time_ms, written: self.written };
        rows.put(Table::Rev, layout::hash_key(revision), layout::encode_mark(&mark));
        Some((revision, events))
    }

    fn save(&self, rows: &mut Overlay<'_>) {
        let mut number = |name: &'static [u8], value: i64| {
            rows.put(Table::Meta, Bytes::from_static(name), Bytes::copy_from_slice(&value.to_be_bytes()));
        };
        number(REVISION, self.horizon.newest.get());
        number(COMPACTED, self.horizon.compacted.get());
        number(TIME, self.time_ms);
        number(WRITTEN, self.written.cast_signed());
        number(LAST_NODE, self.last_node.get().cast_signed());
        rows.put(Table::Meta, Bytes::from_static(HASH), Bytes::copy_from_slice(&self.hash.to_be_bytes()));
    }
}

fn compare_with_leader(view: &dyn View, entry: &Stamped) -> Result<Option<Difference>, TableError> {
    let Some((revision, theirs)) = entry.witness else { return Ok(None) };
    let Some(row) = view.get(Table::Rev, &layout::hash_key(revision))? else { return Ok(None) };
    let ours = layout::decode_u32("rev", &row)?;
    Ok((ours != theirs).then_some(Difference { revision, ours, theirs }))
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
