//! The revision oracle: strict serializability without a search.
//!
//! Every answer names its revision, so the order of writes is known. Each answer must be exactly what a replay of the
//! log gives at its revision; then «by revision, writes before reads, reads by call» is a legal serial order, and it
//! respects real time if no answer's revision is below what anybody had been told before the call. A wrong revision in
//! a header hides nothing: it shows as one or the other.

mod errors;
mod local;

use crate::history::{Answer, Header, Op, Operation};
use crate::model::{Model, View, has_written};
use crate::verdict::Finding;

use super::claims::Claims;
use super::tally::{Tally, unjudged};
use super::{Input, Known};

const PROPERTIES: [&str; 3] = ["response-exact", "historical-read", "strict-serializability"];

/// Judges every answer, every refused revision, and every read without consensus.
pub fn check(input: &Input<'_>) -> Vec<Finding> {
    let known = match &input.known {
        Ok(known) => known,
        Err(reason) => {
            let names = PROPERTIES.iter().chain(&local::PROPERTIES);
            let mut findings: Vec<Finding> = names.map(|name| unjudged(name, reason)).collect();
            findings.extend(errors::check(input));
            return findings;
        }
    };
    let [exact, past, real_time] = PROPERTIES.map(Tally::of);
    let mut oracle = Oracle { known, input, exact, past, real_time };
    for operation in &input.operations {
        if let Some((header, answer)) = operation.ok() {
            oracle.judge(operation, header, answer);
        }
    }
    let Oracle { exact, past, real_time, .. } = oracle;
    let mut findings: Vec<Finding> = [exact, past, real_time].map(Tally::finish).to_vec();
    findings.extend(local::check(input, known));
    findings.extend(errors::check(input));
    findings
}

/// What an answer's revision promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// The newest at some moment between call and return.
    Newest,
    /// What the member has applied, at the moment of the answer.
    Local,
}

fn promise(op: &Op) -> Promise {
    match op {
        Op::Range(range) if !range.serializable => Promise::Newest,
        Op::Put(_) | Op::Delete(_) => Promise::Newest,
        Op::Txn(txn) => {
            let mut ops = txn.then.iter().chain(&txn.otherwise).peekable();
            let is_local = ops.peek().is_some() && ops.all(|op| promise(op) == Promise::Local);
            if is_local { Promise::Local } else { Promise::Newest }
        }
        Op::Range(_)
        | Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. }
        | Op::Status => Promise::Local,
    }
}

struct Oracle<'i, 'a> {
    known: &'i Known<'a>,
    input: &'i Input<'a>,
    exact: Tally,
    past: Tally,
    real_time: Tally,
}

impl Oracle<'_, '_> {
    fn judge(&mut self, operation: &Operation<'_>, header: &Header, answer: &Answer) {
        let model = &self.known.model;
        if !self.known.is_whole && header.revision > model.last() {
            self.real_time.give_up("the log was only watched, and not to its end");
            return;
        }
        if promise(operation.op) == Promise::Newest {
            self.is_newest(operation, header, answer);
        }
        if has_keys(operation.op) && model.has(header.revision) {
            let replayed = replay(model, operation.op, header.revision, answer);
            let is_past = matches!(operation.op, Op::Range(range) if range.revision != 0);
            let tally = if is_past { &mut self.past } else { &mut self.exact };
            tally.hold(replayed.is_ok(), || {
                let wrong = replayed.err().unwrap_or_default();
                let what = format!("{}, answered at revision {}: {wrong}", name(operation), header.revision);
                (what, operation.lines().into_iter().chain(model.line(header.revision)).collect())
            });
        }
    }

    fn is_newest(&mut self, operation: &Operation<'_>, header: &Header, answer: &Answer) {
        let floor = self.input.floors.step_before(operation.invoked.line);
        let lowest = floor.map_or(0, |(_, revision)| revision) + u64::from(has_written(answer));
        self.real_time.hold(header.revision >= lowest, || {
            let (told, revision) = floor.unwrap_or_default();
            let what = format!(
                "{} was answered at revision {}, but revision {revision} had been told before it was called",
                name(operation),
                header.revision
            );
            (what, operation.lines().into_iter().chain([told]).collect())
        });
        self.exists(operation, header);
    }

    fn exists(&mut self, operation: &Operation<'_>, header: &Header) {
        let wrong = not_yet(&self.known.claims, operation, header.revision);
        if let Some(wrong) = wrong {
            self.real_time.violate(|| (format!("{} {wrong}", name(operation)), operation.lines()));
        }
    }
}

/// How an answer speaks of a revision that cannot have existed when it came.
fn not_yet(claims: &Claims, operation: &Operation<'_>, revision: u64) -> Option<String> {
    let returned = operation.returned?.line;
    match claims.births.line(revision) {
        None => Some(format!("was answered at revision {revision}, which no log has")),
        Some(line) if line > returned => Some(format!(
            "was answered at revision {revision}, which was asked for only later, in line {line}"
        )),
        Some(_) => None,
    }
}

/// Holds an answer against the log.
fn replay(model: &Model<'_>, op: &Op, revision: u64, answer: &Answer) -> Result<(), String> {
    let wrote = has_written(answer);
    let before = revision.checked_sub(u64::from(wrote)).ok_or("wrote at revision zero")?;
    let mut view = View::after(model, before);
    view.run(op, Some(answer))?;
    let changes = if wrote { model.changes(revision) } else { &[] };
    if view.did(changes) {
        Ok(())
    } else {
        Err(format!("it wrote {}, but the log has {changes:?}", view.describe()))
    }
}

fn has_keys(op: &Op) -> bool {
    match op {
        Op::Range(_) | Op::Put(_) | Op::Delete(_) | Op::Txn(_) => true,
        Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. }
        | Op::Status => false,
    }
}

/// An operation in a few words.
fn name(operation: &Operation<'_>) -> String {
    let what = match operation.op {
        Op::Range(range) if range.end.is_some() => format!("range from {}", range.key),
        Op::Range(range) => format!("read of {}", range.key),
        Op::Put(put) => format!("put of {} = {:?}", put.key, put.value),
        Op::Delete(delete) => format!("deletion of {}", delete.key),
        Op::Txn(_) => "transaction".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{what} by process {} at {}", operation.process, operation.answered_by)
}
