//! The one record of a run that all layers write and all checkers read: what was asked, answered, watched and broken,
//! in the order in which it was seen.
//!
//! A history is lines of JSON, the first of which is `Begin`; a line's number is its place in the file, from zero.
//! Keys and values are text. A process does one thing at a time; a process whose call came to nothing that is known
//! (`Outcome::Unknown`) is not used again. A request that is asked again under the same request id is the same
//! operation: it began with the first attempt and ended with the last.

mod calls;
mod operations;
mod reader;
#[cfg(test)]
pub mod script;
#[cfg(test)]
pub mod serial;
mod sights;
mod writer;

use serde::{Deserialize, Serialize};

pub use calls::{ApiCall, Fence, Landed, MARK, Reply, Request, Verb, mark, version};
pub use operations::{FaultCourse, HashEntry, LogEntry, Operation, Operations, Phase, Place, Watch};
pub use reader::{History, Misfit, ReadError};
pub use sights::{Asked, CameTo, Deceit, Heard, Sight};
pub use writer::Writer;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Nanoseconds of monotonic time since the run began.
    pub at: u64,
    /// Who did it. Watches have processes of their own; the faults are process 0.
    pub process: u32,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    Begin(Begin),
    /// Safety, healing, final reads …
    Phase {
        name: String,
    },
    Invoke(Invoke),
    /// Ends the process's open `Invoke`.
    Return {
        outcome: Outcome,
    },
    /// A call of the Kubernetes API. Its process does nothing else meanwhile.
    Request(Request),
    /// Ends the process's open `Request`.
    Reply {
        reply: Reply,
    },
    /// Told after the run: a write of an elected leader that a member let through.
    Landed(Landed),
    WatchOpen(WatchOpen),
    WatchAnswer(WatchAnswer),
    /// The stream ended, by the client's will (`error` is none) or not.
    WatchEnd {
        watch: u64,
        error: Option<Failure>,
    },
    Fault(Fault),
    Sight(Sight),
    /// One revision as a member has it in its log, told after the run. Each member's come in order and leave out none
    /// from `Begin`'s revision to its last, except what was compacted.
    Revision {
        member: String,
        revision: u64,
        changes: Vec<Change>,
    },
    /// A member's hash over everything up to a revision.
    Hash {
        member: String,
        revision: u64,
        compacted: u64,
        hash: u64,
    },
    Note {
        text: String,
    },
}

/// What ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    pub scenario: String,
    pub seed: u64,
    /// `navarch`, `etcd`, `sim`, `live`.
    pub system: String,
    pub version: String,
    pub members: Vec<String>,
    /// Of the empty store, before the first operation.
    pub revision: u64,
    /// A write asked again under its request id is applied once.
    pub has_request_ids: bool,
    /// The command that runs it again.
    pub command: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invoke {
    /// Who was asked.
    pub member: String,
    /// Which workload it is a part of: `register`, `append` …
    pub workload: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
    pub op: Op,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    Range(Range),
    Put(Put),
    Delete(Delete),
    Txn(Txn),
    Compact {
        revision: u64,
    },
    /// `id` zero lets the server choose.
    Grant {
        id: i64,
        ttl_s: i64,
    },
    Revoke {
        id: i64,
    },
    KeepAlive {
        id: i64,
    },
    TimeToLive {
        id: i64,
    },
    /// Takes etcd's lock; `lease` is the owner's.
    Lock {
        name: String,
        lease: i64,
    },
    /// Gives back the lock whose ownership key this is.
    Unlock {
        key: String,
    },
    /// The member's revision and leader, without consensus.
    Status,
}

/// A half-open span `[key, end)`; without `end` the one key; `end` of `"\0"` is everything from `key` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<String>,
    /// Zero is the newest.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub revision: u64,
    /// Zero is no limit.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub limit: u64,
    #[serde(skip_serializing_if = "is_false", default)]
    pub serializable: bool,
    #[serde(skip_serializing_if = "is_false", default)]
    pub count_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    pub key: String,
    pub value: String,
    #[serde(skip_serializing_if = "is_none_lease", default)]
    pub lease: i64,
    #[serde(skip_serializing_if = "is_false", default)]
    pub previous: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<String>,
    #[serde(skip_serializing_if = "is_false", default)]
    pub previous: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub then: Vec<Op>,
    #[serde(rename = "else")]
    pub otherwise: Vec<Op>,
}

/// `target` of `key` is, is less than, … the number or the text given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    pub key: String,
    pub is: Is,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Is {
    Equal,
    NotEqual,
    Less,
    Greater,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Version(u64),
    Created(u64),
    Modified(u64),
    Lease(i64),
    Value(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Ok {
        header: Header,
        answer: Answer,
    },
    /// It certainly did not happen.
    Refused(Failure),
    /// It happened once, or not at all.
    Unknown(Failure),
}

/// gRPC's code by name (`Unavailable`) and the server's sentence; `Timeout` is the client's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub cluster: u64,
    pub member: u64,
    pub revision: u64,
    pub term: u64,
}

/// As the `Op` of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Range {
        kvs: Vec<Kv>,
        count: u64,
        more: bool,
    },
    Put {
        previous: Option<Kv>,
    },
    Delete {
        deleted: u64,
        previous: Vec<Kv>,
    },
    Txn {
        succeeded: bool,
        answers: Vec<Answer>,
    },
    Compact,
    Grant {
        id: i64,
        ttl_s: i64,
    },
    Revoke,
    /// Zero or less: the lease is gone.
    KeepAlive {
        ttl_s: i64,
    },
    TimeToLive {
        ttl_s: i64,
        granted_s: i64,
        keys: Vec<String>,
    },
    Lock {
        key: String,
    },
    Unlock,
    Status {
        leader: u64,
        is_learner: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kv {
    pub key: String,
    pub value: String,
    pub created: u64,
    pub modified: u64,
    pub version: u64,
    #[serde(skip_serializing_if = "is_none_lease", default)]
    pub lease: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchOpen {
    /// Of the run, never used again: a stream that is opened anew is another watch.
    pub watch: u64,
    pub member: String,
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<String>,
    /// Zero is from now on.
    pub start: u64,
    pub previous: bool,
    pub progress: bool,
    pub fragment: bool,
    pub no_put: bool,
    pub no_delete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchAnswer {
    pub watch: u64,
    pub header: Header,
    pub created: bool,
    /// Why it was canceled, if it was; may be empty.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub canceled: Option<String>,
    #[serde(skip_serializing_if = "is_zero", default)]
    pub compacted: u64,
    /// More of the same revision follows.
    #[serde(skip_serializing_if = "is_false", default)]
    pub fragment: bool,
    /// None at all, of an answer that neither creates nor cancels: progress up to the header's revision.
    pub events: Vec<WatchEvent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEvent {
    #[serde(flatten)]
    pub change: Change,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<Kv>,
}

/// What a revision did to a key. A deletion's `modified` is the revision that deleted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    Put { kv: Kv },
    Delete { key: String, modified: u64 },
}

/// A step in the life of a fault; all steps of one bear its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub fault: u64,
    /// `kill`, `pause`, `partition` …
    pub kind: String,
    /// Members, in order; links as `n1>n2`.
    pub target: Vec<String>,
    pub step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// It was seen to have happened, which `evidence` tells.
    Installed {
        evidence: String,
    },
    Skipped {
        reason: String,
    },
    /// Nobody knows whether it happened.
    Indeterminate {
        reason: String,
    },
    Healed {
        evidence: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_none_lease(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_line_is_json_that_a_person_can_read() {
        let key = "/chaos/r/1".to_owned();
        let guard = Compare { key: key.clone(), is: Is::Equal, target: Target::Modified(7) };
        let put = Op::Put(Put { key: key.clone(), value: "p3-12".to_owned(), lease: 0, previous: false });
        let otherwise = vec![Op::Range(Range { key, ..Range::default() })];
        let line = Line {
            at: 1_500_000,
            process: 3,
            event: Event::Invoke(Invoke {
                member: "n1".to_owned(),
                workload: "register".to_owned(),
                request_id: Some("r-9".to_owned()),
                op: Op::Txn(Txn { compare: vec![guard], then: vec![put], otherwise }),
            }),
        };
        let text = serde_json::to_string(&line).unwrap();
        expect![[r#"{"at":1500000,"process":3,"event":"invoke","member":"n1","workload":"register","request_id":"r-9","op":{"op":"txn","compare":[{"key":"/chaos/r/1","is":"equal","target":{"modified":7}}],"then":[{"op":"put","key":"/chaos/r/1","value":"p3-12"}],"else":[{"op":"range","key":"/chaos/r/1"}]}}"#]]
        .assert_eq(&text);
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }
}
