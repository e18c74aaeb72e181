//! What callers ask and what they are told: ranges, transactions, events. Shapes follow etcd's v3 API.

use std::sync::Arc;

use base::{LeaseId, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::span::Span;

/// One version of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    /// The revision that created the key, after its last deletion.
    pub create_revision: Revision,
    pub mod_revision: Revision,
    /// 1 for a creation, one more with each put.
    pub version: i64,
    pub lease: LeaseId,
}

/// Reads keys at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub span: Span,
    /// `None`: the newest.
    pub revision: Option<Revision>,
    /// 0: all.
    pub limit: usize,
    pub keys_only: bool,
    pub count_only: bool,
    /// Answer from what this node has applied, without asking whether it is the newest.
    pub serializable: bool,
    /// Look no further than the limit: the answer's `count` is of what was looked at. Within a transaction everything is
    /// counted.
    #[serde(skip)]
    pub uncounted: bool,
    pub sort: Option<Sort>,
    pub min_mod_revision: Option<Revision>,
    pub max_mod_revision: Option<Revision>,
    pub min_create_revision: Option<Revision>,
    pub max_create_revision: Option<Revision>,
}

impl Range {
    /// Every key of `span`, newest revision, linearizable, in key order.
    pub fn of(span: Span) -> Self {
        Self {
            span,
            revision: None,
            limit: 0,
            keys_only: false,
            count_only: false,
            serializable: false,
            uncounted: false,
            sort: None,
            min_mod_revision: None,
            max_mod_revision: None,
            min_create_revision: None,
            max_create_revision: None,
        }
    }

    pub fn key(key: impl Into<Bytes>) -> Self {
        Self::of(Span::key(key))
    }

    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        Self::of(Span::prefix(prefix))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sort {
    pub target: SortTarget,
    pub descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortTarget {
    Key,
    Version,
    Create,
    Mod,
    Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResult {
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the answer.
    pub more: bool,
    /// How many keys the span holds, whatever the limit and the filters; unless they were not to be counted.
    pub count: u64,
    /// The store's revision when the range ran, also when an older one was asked for.
    pub revision: Revision,
}

/// If every compare holds, `success`, else `failure`; all of it is one revision, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

impl Txn {
    /// One unconditional operation.
    pub fn of(op: Op) -> Self {
        Self { compares: Vec::new(), success: vec![op], failure: Vec::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Range(Range),
    Put(Put),
    Delete(Delete),
    Txn(Txn),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpResult {
    Range(RangeResult),
    Put { prev: Option<KeyValue> },
    Delete { deleted: u64, prev: Vec<KeyValue> },
    Txn(TxnResult),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    pub key: Bytes,
    pub value: Bytes,
    pub lease: LeaseId,
    /// Return what the key held before.
    pub prev_kv: bool,
    /// Keep the value, which must exist.
    pub ignore_value: bool,
    /// Keep the lease of the key, which must exist.
    pub ignore_lease: bool,
}

impl Put {
    pub fn of(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            lease: LeaseId::NONE,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    pub span: Span,
    /// Return what was deleted.
    pub prev_kv: bool,
}

impl Delete {
    pub fn of(span: Span) -> Self {
        Self { span, prev_kv: false }
    }
}

/// A condition that must hold for every key of `span`; a single absent key compares as zeros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    pub span: Span,
    pub target: Target,
    pub relation: Relation,
}

impl Compare {
    /// The key was last changed at exactly this revision; revision 0 means that it is absent.
    pub fn mod_revision(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self { span: Span::key(key), target: Target::Mod(revision), relation: Relation::Equal }
    }

    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::mod_revision(key, Revision::new(0))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Version(i64),
    Create(Revision),
    Mod(Revision),
    Value(Bytes),
    Lease(LeaseId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    Equal,
    NotEqual,
    Greater,
    Less,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnResult {
    /// Whether every compare held.
    pub succeeded: bool,
    pub responses: Vec<OpResult>,
    /// The revision that this transaction made; the current one when it changed nothing.
    pub revision: Revision,
}

/// Asks for the events of `span` from a revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub span: Span,
    /// The first revision to deliver; `None`: from now.
    pub start: Option<Revision>,
    /// Also deliver what the key held before.
    pub prev_kv: bool,
}

impl Watch {
    pub fn of(span: Span) -> Self {
        Self { span, start: None, prev_kv: false }
    }

    #[must_use]
    pub fn from(self, start: Revision) -> Self {
        Self { start: Some(start), ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// A change of one key. Of a deletion, `kv` holds only the key and the revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub kv: KeyValue,
    /// What the key held before. Absent for a creation, and when compaction took it.
    pub prev: Option<KeyValue>,
}

/// All events of one revision that a watch asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    pub revision: Revision,
    pub events: Vec<Arc<Event>>,
}

/// A lease as the log knows it; how long it has left only the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub id: LeaseId,
    pub ttl_seconds: i64,
}
