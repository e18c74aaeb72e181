//! The history's words for what is asked of a store, and the store's.

use base::{LeaseId, Revision};
use store::{End, Span, StoreError};

use crate::history::{
    Answer, Change, Compare, Delete, Failure, Is, Kv, Op, Outcome, Put, Range, Target, Txn, WatchEvent,
};
use crate::sim::record::writes;

pub(super) fn span(key: &str, end: Option<&str>) -> Span {
    let end = match end {
        None => End::Single,
        Some("\0") => End::Unbounded,
        Some(end) => End::Before(end.to_owned().into()),
    };
    Span { start: key.to_owned().into(), end }
}

pub(super) fn range(range: &Range) -> store::Range {
    store::Range {
        revision: (range.revision != 0).then(|| revision(range.revision)),
        limit: usize::try_from(range.limit).unwrap_or(usize::MAX),
        serializable: range.serializable,
        count_only: range.count_only,
        ..store::Range::of(span(&range.key, range.end.as_deref()))
    }
}

pub(super) fn put(put: &Put) -> store::Put {
    store::Put {
        lease: LeaseId::new(put.lease),
        prev_kv: put.previous,
        ..store::Put::of(put.key.clone(), put.value.clone())
    }
}

pub(super) fn delete(delete: &Delete) -> store::Delete {
    store::Delete { span: span(&delete.key, delete.end.as_deref()), prev_kv: delete.previous }
}

pub(super) fn txn(txn: &Txn) -> store::Txn {
    store::Txn {
        compares: txn.compare.iter().map(compare).collect(),
        success: txn.then.iter().filter_map(op).collect(),
        failure: txn.otherwise.iter().filter_map(op).collect(),
    }
}

/// None of what no transaction may hold.
fn op(op: &Op) -> Option<store::Op> {
    Some(match op {
        Op::Range(inner) => store::Op::Range(range(inner)),
        Op::Put(inner) => store::Op::Put(put(inner)),
        Op::Delete(inner) => store::Op::Delete(delete(inner)),
        Op::Txn(inner) => store::Op::Txn(txn(inner)),
        Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. }
        | Op::Status => return None,
    })
}

fn compare(compare: &Compare) -> store::Compare {
    let relation = match compare.is {
        Is::Equal => store::Relation::Equal,
        Is::NotEqual => store::Relation::NotEqual,
        Is::Less => store::Relation::Less,
        Is::Greater => store::Relation::Greater,
    };
    let target = match &compare.target {
        Target::Version(version) => store::Target::Version(version.cast_signed()),
        Target::Created(at) => store::Target::Create(revision(*at)),
        Target::Modified(at) => store::Target::Mod(revision(*at)),
        Target::Lease(lease) => store::Target::Lease(LeaseId::new(*lease)),
        Target::Value(value) => store::Target::Value(value.clone().into()),
    };
    store::Compare { span: span(&compare.key, None), target, relation }
}

pub(super) fn range_answer(result: store::RangeResult) -> Answer {
    Answer::Range { kvs: result.kvs.into_iter().map(kv).collect(), count: result.count, more: result.more }
}

pub(super) fn txn_answer(result: store::TxnResult) -> Answer {
    let answers = result.responses.into_iter().map(answer).collect();
    Answer::Txn { succeeded: result.succeeded, answers }
}

pub(super) fn answer(result: store::OpResult) -> Answer {
    match result {
        store::OpResult::Range(result) => range_answer(result),
        store::OpResult::Put { prev } => Answer::Put { previous: prev.map(kv) },
        store::OpResult::Delete { deleted, prev } => {
            Answer::Delete { deleted, previous: prev.into_iter().map(kv).collect() }
        }
        store::OpResult::Txn(result) => txn_answer(result),
    }
}

pub(super) fn kv(kv: store::KeyValue) -> Kv {
    Kv {
        key: text(&kv.key),
        value: text(&kv.value),
        created: number(kv.create_revision),
        modified: number(kv.mod_revision),
        version: kv.version.cast_unsigned(),
        lease: kv.lease.get(),
    }
}

pub(super) fn change(event: &store::Event) -> Change {
    match event.kind {
        store::EventKind::Put => Change::Put { kv: kv(event.kv.clone()) },
        store::EventKind::Delete => {
            Change::Delete { key: text(&event.kv.key), modified: number(event.kv.mod_revision) }
        }
    }
}

pub(super) fn watch_event(event: &store::Event) -> WatchEvent {
    WatchEvent { change: change(event), previous: event.prev.clone().map(kv) }
}

/// A write is unknown only when the store says so; every other error of it means that nothing was done.
pub(super) fn failed(op: &Op, error: &StoreError) -> Outcome {
    let failure = failure(error);
    match error {
        StoreError::Timeout if writes(op) => Outcome::Unknown(failure),
        _ => Outcome::Refused(failure),
    }
}

/// With the code that a client of the network would see.
pub(super) fn failure(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Compacted { .. }
        | StoreError::FutureRevision { .. }
        | StoreError::BeforeHistory { .. } => "OutOfRange",
        StoreError::NoLeader | StoreError::Stopping | StoreError::Corrupt => "Unavailable",
        StoreError::Timeout => "Timeout",
        StoreError::LeaseNotFound | StoreError::MemberNotFound => "NotFound",
        StoreError::NoSpace => "ResourceExhausted",
        StoreError::LeaseExists => "FailedPrecondition",
        _ => "InvalidArgument",
    };
    Failure { code: code.to_owned(), message: error.to_string() }
}

pub(super) fn revision(number: u64) -> Revision {
    Revision::new(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn number(revision: Revision) -> u64 {
    u64::try_from(revision.get()).unwrap_or(0)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
