//! A call in a few words, as one would tell it to a colleague: `put r7 = a3`, `rev 8412`.

use std::fmt::Write as _;

use super::words::{counted, shortened};
use crate::history::{Answer, Change, Compare, Is, Kv, Op, Outcome, Target};

const VALUE_CHARS_MAX: usize = 28;
const OP_CHARS_MAX: usize = 96;

/// What was asked.
pub(super) fn op(op: &Op) -> String {
    shortened(&whole_op(op), OP_CHARS_MAX)
}

/// What came of it; `None` is a call that never returned.
pub(super) fn outcome(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "never returned".to_owned(),
        Some(Outcome::Refused(failure)) => format!("refused: {}", failure.code),
        Some(Outcome::Unknown(failure)) => format!("unknown: {}", failure.code),
        Some(Outcome::Ok { header, answer }) => match self::answer(answer) {
            said if said.is_empty() => format!("rev {}", header.revision),
            said => shortened(&format!("{said}, rev {}", header.revision), OP_CHARS_MAX),
        },
    }
}

pub(super) fn change(change: &Change) -> String {
    match change {
        Change::Put { kv } => format!("put {}", self::kv(kv)),
        Change::Delete { key, .. } => format!("delete {key}"),
    }
}

fn whole_op(op: &Op) -> String {
    match op {
        Op::Range(range) => {
            let mut text = format!("get {}", span(&range.key, range.end.as_deref()));
            if range.revision > 0 {
                let _infallible = write!(text, " at rev {}", range.revision);
            }
            if range.serializable {
                text.push_str(" (serializable)");
            }
            text
        }
        Op::Put(put) => {
            let mut text = format!("put {} = {}", put.key, value(&put.value));
            if put.lease != 0 {
                let _infallible = write!(text, " lease {:x}", put.lease);
            }
            text
        }
        Op::Delete(delete) => format!("delete {}", span(&delete.key, delete.end.as_deref())),
        Op::Txn(txn) => {
            let mut text = String::from("txn");
            if !txn.compare.is_empty() {
                let _infallible = write!(text, " if {}", joined(&txn.compare, " and ", compare));
            }
            if !txn.then.is_empty() {
                let _infallible = write!(text, " then {}", joined(&txn.then, "; ", whole_op));
            }
            if !txn.otherwise.is_empty() {
                let _infallible = write!(text, " else {}", joined(&txn.otherwise, "; ", whole_op));
            }
            text
        }
        Op::Compact { revision } => format!("compact at rev {revision}"),
        Op::Grant { ttl_s, .. } => format!("grant a lease of {ttl_s} s"),
        Op::Revoke { id } => format!("revoke lease {id:x}"),
        Op::KeepAlive { id } => format!("keep lease {id:x} alive"),
        Op::TimeToLive { id } => format!("time to live of lease {id:x}"),
        Op::Lock { name, lease } => format!("lock {name} with lease {lease:x}"),
        Op::Unlock { key } => format!("unlock {key}"),
        Op::Status => "status".to_owned(),
    }
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Range { kvs, count, .. } => match kvs.as_slice() {
            [] if *count == 0 => "nothing".to_owned(),
            [one] if *count <= 1 => format!("{} (mod {})", value(&one.value), one.modified),
            _ => counted(*count, "key"),
        },
        Answer::Delete { deleted, .. } => format!("{} deleted", counted(*deleted, "key")),
        Answer::Txn { succeeded, answers } => {
            let branch = if *succeeded { "then" } else { "else" };
            let said: Vec<String> =
                answers.iter().map(self::answer).filter(|said| !said.is_empty()).collect();
            if said.is_empty() { branch.to_owned() } else { format!("{branch}: {}", said.join("; ")) }
        }
        Answer::Grant { id, ttl_s } => format!("lease {id:x} for {ttl_s} s"),
        Answer::KeepAlive { ttl_s } | Answer::TimeToLive { ttl_s, .. } => format!("{ttl_s} s"),
        Answer::Lock { key } => key.clone(),
        Answer::Status { leader, .. } => format!("leader {leader:x}"),
        Answer::Put { .. } | Answer::Compact | Answer::Revoke | Answer::Unlock => String::new(),
    }
}

fn compare(compare: &Compare) -> String {
    let is = match compare.is {
        Is::Equal => "=",
        Is::NotEqual => "≠",
        Is::Less => "<",
        Is::Greater => ">",
    };
    let key = &compare.key;
    match &compare.target {
        Target::Version(number) => format!("ver({key}) {is} {number}"),
        Target::Created(number) => format!("create({key}) {is} {number}"),
        Target::Modified(number) => format!("mod({key}) {is} {number}"),
        Target::Lease(id) => format!("lease({key}) {is} {id:x}"),
        Target::Value(text) => format!("{key} {is} {}", value(text)),
    }
}

fn kv(kv: &Kv) -> String {
    format!("{} = {}", kv.key, value(&kv.value))
}

fn span(key: &str, end: Option<&str>) -> String {
    match end {
        None => key.to_owned(),
        Some("\0") => format!("[{key}, …)"),
        Some(end) => format!("[{key}, {end})"),
    }
}

fn value(text: &str) -> String {
    if text.is_empty() { "\"\"".to_owned() } else { shortened(text, VALUE_CHARS_MAX) }
}

fn joined<T>(all: &[T], between: &str, each: impl Fn(&T) -> String) -> String {
    all.iter().map(each).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::history::{Delete, Failure, Header, Put, Range, Txn};

    fn check(asked: &Op, expected: &Expect) {
        expected.assert_eq(&op(asked));
    }

    fn put(key: &str, value: &str, lease: i64) -> Op {
        Op::Put(Put { key: key.to_owned(), value: value.to_owned(), lease, previous: false })
    }

    #[test]
    fn requests() {
        let get = |revision, serializable| {
            Op::Range(Range { key: "r1".to_owned(), revision, serializable, ..Range::default() })
        };
        check(&get(0, false), &expect!["get r1"]);
        check(&get(7, true), &expect!["get r1 at rev 7 (serializable)"]);
        check(&put("r1", "a3", 0), &expect!["put r1 = a3"]);
        check(&put("r1", "", 255), &expect![[r#"put r1 = "" lease ff"#]]);
        check(&put("r1", &"x".repeat(99), 0), &expect!["put r1 = xxxxxxxxxxxxxxxxxxxxxxxxxxx…"]);
        let delete = Delete { key: "a".to_owned(), end: Some("\0".to_owned()), previous: false };
        check(&Op::Delete(delete), &expect!["delete [a, …)"]);
        let is = Compare { key: "r1".to_owned(), is: Is::Equal, target: Target::Modified(7) };
        let txn = Txn { compare: vec![is], then: vec![put("r1", "b", 0)], otherwise: vec![get(0, false)] };
        check(&Op::Txn(txn), &expect!["txn if mod(r1) = 7 then put r1 = b else get r1"]);
        check(&Op::Lock { name: "l".to_owned(), lease: 16 }, &expect!["lock l with lease 10"]);
    }

    #[test]
    fn outcomes() {
        let header = Header { cluster: 1, member: 1, revision: 9, term: 2 };
        let ok = |answer| outcome(Some(&Outcome::Ok { header, answer }));
        let kv =
            Kv { key: "r1".to_owned(), value: "b".to_owned(), created: 3, modified: 7, version: 2, lease: 0 };
        let all = [
            ok(Answer::Put { previous: None }),
            ok(Answer::Range { kvs: vec![kv], count: 1, more: false }),
            ok(Answer::Range { kvs: Vec::new(), count: 0, more: false }),
            ok(Answer::Txn {
                succeeded: false,
                answers: vec![Answer::Delete { deleted: 2, previous: Vec::new() }],
            }),
            outcome(Some(&Outcome::Unknown(Failure { code: "Timeout".to_owned(), message: String::new() }))),
            outcome(None),
        ];
        expect!["rev 9 | b (mod 7), rev 9 | nothing, rev 9 | else: 2 keys deleted, rev 9 | unknown: Timeout | never returned"]
            .assert_eq(&all.join(" | "));
    }
}
