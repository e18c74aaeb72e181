//! A part of somebody else's key space, used as if it were a whole one: keys get a prefix on their way to the server and
//! lose it on their way back. The history knows nothing of it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::history::{
    Answer, Change, Compare, Delete, Kv, Op, Put, Range, Txn, WatchAnswer, WatchEvent, WatchOpen,
};

/// The end of a range that has none.
const NO_END: &str = "\0";

/// Nothing, or what stands before every key.
#[derive(Clone, Debug, Default)]
pub struct Prefix(Option<Arc<str>>);

impl Prefix {
    /// It ends in a plain character.
    pub fn new(prefix: &str) -> Self {
        Self(Some(prefix.into()))
    }

    pub(super) const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.0.as_deref().unwrap_or_default())
    }

    pub(super) fn op<'a>(&self, op: &'a Op) -> Cow<'a, Op> {
        match &self.0 {
            None => Cow::Borrowed(op),
            Some(prefix) => Cow::Owned(inside(prefix, op)),
        }
    }

    pub(super) fn answer(&self, mut answer: Answer) -> Answer {
        if let Some(prefix) = &self.0 {
            take_off(prefix, &mut answer);
        }
        answer
    }

    pub(super) fn open(&self, open: &WatchOpen) -> WatchOpen {
        let Some(prefix) = &self.0 else { return open.clone() };
        let (key, end) = span(prefix, &open.key, open.end.as_deref());
        WatchOpen { key, end, ..open.clone() }
    }

    pub(super) fn watch_answer(&self, mut answer: WatchAnswer) -> WatchAnswer {
        let Some(prefix) = &self.0 else { return answer };
        for WatchEvent { change, previous } in &mut answer.events {
            match change {
                Change::Put { kv } => without(prefix, &mut kv.key),
                Change::Delete { key, .. } => without(prefix, key),
            }
            previous.iter_mut().for_each(|kv| without(prefix, &mut kv.key));
        }
        answer
    }
}

/// A key, or a span, below the prefix. The smallest key and an end that is none stay within it.
fn span(prefix: &str, key: &str, end: Option<&str>) -> (String, Option<String>) {
    let within = |key: &str| if key == NO_END { prefix.to_owned() } else { format!("{prefix}{key}") };
    let end = end.map(|end| if end == NO_END { crate::workloads::after(prefix) } else { within(end) });
    (within(key), end)
}

fn inside(prefix: &str, op: &Op) -> Op {
    let all = |ops: &[Op]| ops.iter().map(|op| inside(prefix, op)).collect();
    match op {
        Op::Range(range) => {
            let (key, end) = span(prefix, &range.key, range.end.as_deref());
            Op::Range(Range { key, end, ..range.clone() })
        }
        Op::Put(put) => Op::Put(Put { key: format!("{prefix}{}", put.key), ..put.clone() }),
        Op::Delete(delete) => {
            let (key, end) = span(prefix, &delete.key, delete.end.as_deref());
            Op::Delete(Delete { key, end, previous: delete.previous })
        }
        Op::Txn(txn) => {
            let compare = txn.compare.iter().map(|one| Compare {
                key: format!("{prefix}{}", one.key),
                is: one.is,
                target: one.target.clone(),
            });
            let compare = compare.collect();
            Op::Txn(Txn { compare, then: all(&txn.then), otherwise: all(&txn.otherwise) })
        }
        Op::Lock { name, lease } => Op::Lock { name: format!("{prefix}{name}"), lease: *lease },
        Op::Unlock { key } => Op::Unlock { key: format!("{prefix}{key}") },
        Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Status => op.clone(),
    }
}

fn take_off(prefix: &str, answer: &mut Answer) {
    let all = |kvs: &mut Vec<Kv>| kvs.iter_mut().for_each(|kv| without(prefix, &mut kv.key));
    match answer {
        Answer::Range { kvs, .. } => all(kvs),
        Answer::Put { previous } => previous.iter_mut().for_each(|kv| without(prefix, &mut kv.key)),
        Answer::Delete { previous, .. } => all(previous),
        Answer::Txn { answers, .. } => answers.iter_mut().for_each(|answer| take_off(prefix, answer)),
        Answer::TimeToLive { keys, .. } => keys.iter_mut().for_each(|key| without(prefix, key)),
        Answer::Lock { key } => without(prefix, key),
        Answer::Compact
        | Answer::Grant { .. }
        | Answer::Revoke
        | Answer::KeepAlive { .. }
        | Answer::Unlock
        | Answer::Status { .. } => {}
    }
}

/// A key of somebody else's stays as it is: no range asks for one, so the checkers will not like it.
fn without(prefix: &str, key: &mut String) {
    if let Some(rest) = key.strip_prefix(prefix) {
        *key = rest.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Is, Target};

    fn range(key: &str, end: Option<&str>) -> Op {
        Op::Range(Range { key: key.to_owned(), end: end.map(str::to_owned), ..Range::default() })
    }

    fn kv(key: &str) -> Kv {
        Kv { key: key.to_owned(), value: "v".to_owned(), created: 7, modified: 7, version: 1, lease: 0 }
    }

    #[test]
    fn every_key_that_is_asked_for_is_below_the_prefix() {
        let prefix = Prefix::new("/own/");
        let asked = |op: &Op| prefix.op(op).into_owned();
        assert_eq!(asked(&range("/a", Some("/b"))), range("/own//a", Some("/own//b")));
        assert_eq!(asked(&range("/a", Some("\0"))), range("/own//a", Some("/own0")));
        assert_eq!(
            asked(&range("\0", Some("\0"))),
            range("/own/", Some("/own0")),
            "everything is all of ours"
        );
        let put = |key: &str| {
            Op::Put(Put { key: key.to_owned(), value: "v".to_owned(), lease: 0, previous: false })
        };
        let compare = |key: &str| Compare { key: key.to_owned(), is: Is::Equal, target: Target::Version(0) };
        let txn = |key: &str| {
            let nested =
                Op::Txn(Txn { compare: vec![compare(key)], then: vec![put(key)], otherwise: vec![] });
            Op::Txn(Txn {
                compare: vec![compare(key)],
                then: vec![nested],
                otherwise: vec![range(key, None)],
            })
        };
        assert_eq!(asked(&txn("/a")), txn("/own//a"));
        let open = WatchOpen {
            watch: 1,
            member: "n1".to_owned(),
            key: "\0".to_owned(),
            end: Some("\0".to_owned()),
            start: 3,
            previous: false,
            progress: false,
            fragment: false,
            no_put: false,
            no_delete: false,
        };
        let opened = prefix.open(&open);
        assert_eq!((opened.key.as_str(), opened.end.as_deref()), ("/own/", Some("/own0")));
        assert_eq!(*Prefix::default().op(&put("/a")), put("/a"));
    }

    #[test]
    fn every_key_that_is_answered_has_lost_it() {
        let prefix = Prefix::new("/own/");
        let answered = |key: &str| {
            let range = Answer::Range { kvs: vec![kv(key)], count: 1, more: false };
            let deleted = Answer::Delete { deleted: 1, previous: vec![kv(key)] };
            let put = Answer::Put { previous: Some(kv(key)) };
            Answer::Txn { succeeded: true, answers: vec![range, deleted, put] }
        };
        assert_eq!(prefix.answer(answered("/own//a")), answered("/a"));
        assert_eq!(prefix.answer(answered("/registry/x")), answered("/registry/x"), "not ours is not hidden");
    }
}
