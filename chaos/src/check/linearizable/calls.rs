//! The operations of a history as calls on one key each.
//!
//! An operation on several keys becomes a call on each of them that claims no more than is true of that key alone. What
//! cannot be said of a register without revisions is left out of the claim, or the key is set aside: leases take keys
//! away by themselves, and a nested transaction says too much at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::hints::sharpen;
use super::register::{Answered, Asked, Call, Guard, Register, Value, Write};
use crate::check::reads::{covers, is_newest};
use crate::check::words::quoted;
use crate::history::{Answer, Compare, Is, Kv, Op, Operation, Outcome, Target, Txn};

/// Everything that was called on one key.
#[derive(Debug, Default)]
pub(super) struct KeyCalls {
    pub(super) calls: Vec<Call>,
    /// Of each call, its place among the operations.
    pub(super) operations: Vec<usize>,
    /// By number; the first two stand for no value of the run.
    pub(super) values: Vec<String>,
}

/// What the run knows of one key's values.
#[derive(Default)]
struct Known<'a> {
    numbers: BTreeMap<&'a str, Value>,
    /// How often each was put.
    puts: BTreeMap<&'a str, usize>,
    /// Everything that was put, read, or named by a guard.
    values: BTreeSet<&'a str>,
    /// By the revision that wrote it, a number like any other here: what was read.
    modified: BTreeMap<u64, &'a Kv>,
    set_aside: bool,
}

/// The calls on every key that the operations name and that can be judged as a register, and how many keys cannot.
pub(super) fn by_key<'a>(operations: &[&'a Operation<'a>]) -> (BTreeMap<&'a str, KeyCalls>, usize) {
    let mut known: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    for operation in operations {
        learn(&mut known, operation.op, operation.ok().map(|(_, answer)| answer));
    }
    for known in known.values_mut() {
        known.number();
    }
    let mut keys: BTreeMap<&str, KeyCalls> = BTreeMap::new();
    for (place, operation) in operations.iter().enumerate() {
        let drafts = drafts_of(operation, &known);
        for (key, (input, output)) in drafts {
            let calls = keys.entry(key).or_default();
            calls.operations.push(place);
            calls.calls.push(Call {
                process: operation.process,
                invoked: operation.invoked.at,
                returned: Some(operation.ended_at()).filter(|&at| at != u64::MAX),
                input,
                output,
            });
        }
    }
    for (key, calls) in &mut keys {
        calls.values = known[key].names();
        sharpen(&mut calls.calls);
    }
    let set_aside = known.values().filter(|known| known.set_aside).count();
    (keys, set_aside)
}

/// Gathers keys and values from what was asked and answered.
fn learn<'a>(known: &mut BTreeMap<&'a str, Known<'a>>, op: &'a Op, answer: Option<&'a Answer>) {
    for span in spans_of(op).iter().filter(|span| span.end.is_none()) {
        known.entry(span.first).or_default();
    }
    match op {
        Op::Put(put) => {
            let known = known.entry(&put.key).or_default();
            known.values.insert(&put.value);
            *known.puts.entry(&put.value).or_default() += 1;
            known.set_aside |= put.lease != 0;
        }
        Op::Txn(txn) => learn_txn(known, txn),
        Op::Range(_) | Op::Delete(_) | Op::Compact { .. } | Op::Grant { .. } | Op::Revoke { .. } => {}
        Op::KeepAlive { .. } | Op::TimeToLive { .. } | Op::Lock { .. } | Op::Unlock { .. } | Op::Status => {}
    }
    if let Some(answer) = answer {
        learn_answer(known, answer);
    }
}

fn learn_txn<'a>(known: &mut BTreeMap<&'a str, Known<'a>>, txn: &'a Txn) {
    for compare in &txn.compare {
        if let Target::Value(value) = &compare.target {
            known.entry(&compare.key).or_default().values.insert(value);
        }
    }
    for op in txn.then.iter().chain(&txn.otherwise) {
        learn(known, op, None);
        if matches!(op, Op::Txn(_)) {
            keys_in(known, &spans_of(op)).into_iter().for_each(|key| set_aside(known, key));
        }
    }
    for key in keys_in(known, &spans_of_all(txn)) {
        let branches = txn.then.iter().chain(&txn.otherwise);
        if branches.filter(|op| write_of(op, key).is_some()).count() > 1 {
            set_aside(known, key);
        }
    }
}

fn set_aside<'a>(known: &mut BTreeMap<&'a str, Known<'a>>, key: &'a str) {
    known.entry(key).or_default().set_aside = true;
}

fn learn_answer<'a>(known: &mut BTreeMap<&'a str, Known<'a>>, answer: &'a Answer) {
    match answer {
        Answer::Range { kvs, .. } | Answer::Delete { previous: kvs, .. } => {
            kvs.iter().for_each(|kv| learn_kv(known, kv));
        }
        Answer::Put { previous } => previous.iter().for_each(|kv| learn_kv(known, kv)),
        Answer::Txn { answers, .. } => answers.iter().for_each(|answer| learn_answer(known, answer)),
        Answer::Compact | Answer::Grant { .. } | Answer::Revoke | Answer::KeepAlive { .. } => {}
        Answer::TimeToLive { .. } | Answer::Lock { .. } | Answer::Unlock | Answer::Status { .. } => {}
    }
}

fn learn_kv<'a>(known: &mut BTreeMap<&'a str, Known<'a>>, kv: &'a Kv) {
    let known = known.entry(&kv.key).or_default();
    known.values.insert(&kv.value);
    known.modified.insert(kv.modified, kv);
    known.set_aside |= kv.lease != 0;
}

impl<'a> Known<'a> {
    fn number(&mut self) {
        for (value, number) in self.values.iter().zip(2..) {
            self.numbers.insert(value, Value(number));
        }
    }

    fn value(&self, value: &str) -> Value {
        self.numbers.get(value).copied().unwrap_or(Value::UNSEEN)
    }

    fn names(&self) -> Vec<String> {
        let reserved = ["nothing", "a value that nobody saw"].map(str::to_owned);
        reserved.into_iter().chain(self.numbers.keys().map(|value| quoted(value))).collect()
    }

    fn register(&self, kv: Option<&Kv>) -> Register {
        kv.map_or(Register::NOTHING, |kv| Register {
            value: Some(self.value(&kv.value)),
            version: Some(kv.version),
        })
    }

    /// The guards that must hold if the comparison does; and whether, the other way round, they are all it takes.
    fn guards(&self, compare: &Compare) -> (Vec<Guard>, bool) {
        let is_there = Guard::Value(Is::NotEqual, Value::NOTHING);
        match (&compare.target, compare.is) {
            (Target::Version(version), is) => (vec![Guard::Version(is, *version)], true),
            // etcd: no comparison of values holds of a key that is not there.
            (Target::Value(value), is) => (vec![is_there, Guard::Value(is, self.value(value))], true),
            (Target::Created(0) | Target::Modified(0), Is::Equal) => {
                (vec![Guard::Value(Is::Equal, Value::NOTHING)], true)
            }
            (Target::Created(0) | Target::Modified(0), Is::NotEqual | Is::Greater) => (vec![is_there], true),
            (Target::Modified(revision), Is::Equal) => match self.modified.get(revision) {
                Some(kv) => {
                    let value = Guard::Value(Is::Equal, self.value(&kv.value));
                    let once = self.puts.get(kv.value.as_str()).is_some_and(|&puts| puts == 1);
                    (vec![value, Guard::Version(Is::Equal, kv.version)], once)
                }
                None => (vec![is_there], false),
            },
            (Target::Created(_) | Target::Modified(_) | Target::Lease(_), _) => (Vec::new(), false),
        }
    }
}

type Draft = (Asked, Answered);

/// What the operation claims of each key.
fn drafts_of<'a>(operation: &Operation<'a>, known: &BTreeMap<&'a str, Known<'a>>) -> Vec<(&'a str, Draft)> {
    let answer = match operation.outcome {
        Outcome::Ok { answer, .. } => Some(answer),
        Outcome::Refused(_) => return Vec::new(),
        Outcome::Unknown(_) => None,
    };
    let keys = keys_in(known, &spans_of(operation.op)).into_iter().filter(|key| !known[key].set_aside);
    let drafts = keys.filter_map(|key| {
        let known = &known[key];
        let draft = match (operation.op, answer) {
            (Op::Txn(txn), Some(Answer::Txn { succeeded, answers })) => {
                txn_draft(txn, key, known, *succeeded, answers)
            }
            (Op::Txn(txn), _) => unknown_txn_draft(txn, key, known),
            (op, answer) => one_draft(op, answer, key, known),
        };
        draft.map(|draft| (key, draft))
    });
    drafts.collect()
}

/// As `Range` has it.
struct Span<'a> {
    first: &'a str,
    end: Option<&'a str>,
}

/// Everything that the operation names.
fn spans_of(op: &Op) -> Vec<Span<'_>> {
    match op {
        Op::Range(range) => vec![Span { first: &range.key, end: range.end.as_deref() }],
        Op::Put(put) => vec![Span { first: &put.key, end: None }],
        Op::Delete(delete) => vec![Span { first: &delete.key, end: delete.end.as_deref() }],
        Op::Txn(txn) => spans_of_all(txn),
        Op::Compact { .. } | Op::Grant { .. } | Op::Revoke { .. } | Op::KeepAlive { .. } => Vec::new(),
        Op::TimeToLive { .. } | Op::Lock { .. } | Op::Unlock { .. } | Op::Status => Vec::new(),
    }
}

fn spans_of_all(txn: &Txn) -> Vec<Span<'_>> {
    let compared = txn.compare.iter().map(|compare| Span { first: &compare.key, end: None });
    compared.chain(txn.then.iter().chain(&txn.otherwise).flat_map(spans_of)).collect()
}

/// The keys of the run in any of the spans.
fn keys_in<'a, T>(known: &BTreeMap<&'a str, T>, spans: &[Span<'_>]) -> BTreeSet<&'a str> {
    let mut keys = BTreeSet::new();
    for span in spans {
        match span.end {
            None => keys.extend(known.get_key_value(span.first).map(|(key, _)| *key)),
            Some(_) => {
                let from = known.range::<str, _>((Bound::Included(span.first), Bound::Unbounded));
                keys.extend(from.map(|(key, _)| *key).take_while(|key| covers(span.first, span.end, key)));
            }
        }
    }
    keys
}

fn one_draft(op: &Op, answer: Option<&Answer>, key: &str, known: &Known<'_>) -> Option<Draft> {
    let before = answer.and_then(|answer| seen_by(op, answer, key, known));
    match op {
        Op::Range(_) => before.map(|before| (Asked::default(), Answered { before, ..Answered::default() })),
        Op::Put(_) | Op::Delete(_) => {
            let mut input =
                Asked { guards: Vec::new(), write: write_of(op, key).map(|write| write.number(known)) };
            let mut output = Answered { before: before.unwrap_or_default(), ..Answered::default() };
            if let (Op::Delete(delete), Some(Answer::Delete { deleted, .. })) = (op, answer)
                && delete.end.is_none()
            {
                input.guards.push(Guard::Value(Is::NotEqual, Value::NOTHING));
                output.held = Some(*deleted > 0);
            }
            Some((input, output))
        }
        Op::Txn(_) | Op::Compact { .. } | Op::Grant { .. } | Op::Revoke { .. } | Op::KeepAlive { .. } => None,
        Op::TimeToLive { .. } | Op::Lock { .. } | Op::Unlock { .. } | Op::Status => None,
    }
}

enum WriteOf<'a> {
    Put(&'a str),
    Delete,
}

impl WriteOf<'_> {
    fn number(&self, known: &Known<'_>) -> Write {
        match self {
            Self::Put(value) => Write::Put(known.value(value)),
            Self::Delete => Write::Delete,
        }
    }
}

/// What the operation writes to the key, if it covers it.
fn write_of<'a>(op: &'a Op, key: &str) -> Option<WriteOf<'a>> {
    match op {
        Op::Put(put) => (put.key == key).then_some(WriteOf::Put(&put.value)),
        Op::Delete(delete) => covers(&delete.key, delete.end.as_deref(), key).then_some(WriteOf::Delete),
        Op::Range(_) | Op::Txn(_) | Op::Compact { .. } | Op::Grant { .. } | Op::Revoke { .. } => None,
        Op::KeepAlive { .. } | Op::TimeToLive { .. } | Op::Lock { .. } | Op::Unlock { .. } | Op::Status => {
            None
        }
    }
}

/// What the operation's answer tells of the key as it was just before the operation wrote, if anything.
fn seen_by(op: &Op, answer: &Answer, key: &str, known: &Known<'_>) -> Option<Register> {
    let of = |kvs: &[Kv]| known.register(kvs.iter().find(|kv| kv.key == key));
    match (op, answer) {
        (Op::Range(range), Answer::Range { kvs, .. }) => {
            (is_newest(range) && covers(&range.key, range.end.as_deref(), key)).then(|| of(kvs))
        }
        (Op::Put(put), Answer::Put { previous }) if put.key == key && put.previous => {
            Some(known.register(previous.as_ref()))
        }
        (Op::Delete(delete), Answer::Delete { previous, .. }) if delete.previous => {
            covers(&delete.key, delete.end.as_deref(), key).then(|| of(previous))
        }
        _ => None,
    }
}

fn txn_draft(txn: &Txn, key: &str, known: &Known<'_>, succeeded: bool, answers: &[Answer]) -> Option<Draft> {
    let (guards, exact) = guards_of(txn, key, known);
    let branch = if succeeded { &txn.then } else { &txn.otherwise };
    let mut output = Answered::default();
    let mut write = None;
    for (op, answer) in branch.iter().zip(answers) {
        if let Some(seen) = seen_by(op, answer, key, known) {
            let side = if write.is_none() { &mut output.before } else { &mut output.after };
            *side = seen;
        }
        write = write.or(write_of(op, key).map(|write| write.number(known)));
    }
    if succeeded {
        output.held = Some(true);
        return Some((Asked { guards, write }, output)).filter(|draft| draft.tells());
    }
    if exact && write.is_none() {
        output.held = Some(false);
        return Some((Asked { guards, write }, output)).filter(|draft| draft.tells());
    }
    Some((Asked { guards: Vec::new(), write }, output)).filter(|draft| draft.tells())
}

/// It may have written only what it writes when its comparisons hold, or only what it writes when they do not: a key
/// that both sides write is set aside.
fn unknown_txn_draft(txn: &Txn, key: &str, known: &Known<'_>) -> Option<Draft> {
    let written = |ops: &[Op]| ops.iter().find_map(|op| write_of(op, key)).map(|write| write.number(known));
    let (write, guards) = match written(&txn.then) {
        Some(write) => (write, guards_of(txn, key, known).0),
        None => (written(&txn.otherwise)?, Vec::new()),
    };
    Some((Asked { guards, write: Some(write) }, Answered::default()))
}

/// What must hold of the key if all comparisons do; and whether they fail only if that does.
fn guards_of(txn: &Txn, key: &str, known: &Known<'_>) -> (Vec<Guard>, bool) {
    let (mut guards, mut exact) = (Vec::new(), true);
    for compare in &txn.compare {
        let (more, as_exact) = if compare.key == key { known.guards(compare) } else { (Vec::new(), false) };
        guards.extend(more);
        exact &= as_exact;
    }
    (guards, exact)
}

/// Whether a call says anything about the key.
trait Tells {
    fn tells(&self) -> bool;
}

impl Tells for Draft {
    fn tells(&self) -> bool {
        let (input, output) = self;
        let saw = output.before != Register::ANY || output.after != Register::ANY;
        input.write.is_some() || saw || !input.guards.is_empty()
    }
}
