//! What must be true of a Kubernetes cluster at every revision of its store, told from the store's log alone.
//!
//! Keys are `/registry/<resource>/<namespace>/<name>`, or without a namespace; values are objects as JSON, anything else
//! is passed over. One fold over the log shows every invariant each revision, with what it changed and what was there
//! before. An invariant that had nothing to look at in a run is not among its findings.
//!
//! Not to be seen in a log, and so not judged here: preconditions of a delete or a bind that were asked for and held;
//! whether a process still runs whose pod is gone (its witness tells); and who sent a write. That no fenced controller
//! writes is judged by the epochs of leases, and by what else a history has: guards of transactions, calls under a
//! fence, and what members say of the leaders' writes that they let through.
//!
//! What clients of the API were answered is judged beside the log.

mod calls;
mod fences;
mod generations;
mod jobs;
mod nodes;
mod object;
mod owners;
mod pods;
mod quantity;
mod rollouts;
#[cfg(test)]
mod script;
mod settled;

use std::collections::BTreeMap;
use std::rc::Rc;

use self::object::Object;
pub use self::settled::{SETTLE, deployments, lacking};
use super::Input;
use super::tally::Tally;
use crate::history::{Change, History, LogEntry};
use crate::verdict::Finding;

const KEYS: &str = "/registry/";

/// Something that is true of every revision.
trait Invariant {
    /// The property's name.
    fn property(&self) -> &'static str;

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally);

    /// After the last revision.
    fn end(&mut self, _objects: &Objects<'_>, _tally: &mut Tally) {}
}

type Make = fn() -> Box<dyn Invariant>;

/// All of them, in the order of the catalogue.
const ALL: &[Make] = &[
    || Box::<pods::BoundOnce>::default(),
    || Box::<pods::OneIdentity>::default(),
    || Box::<jobs::CountedOnce>::default(),
    || Box::<rollouts::Surge>::default(),
    || Box::<rollouts::Unavailable>::default(),
    || Box::<rollouts::Excess>::default(),
    || Box::<nodes::Requests>::default(),
    || Box::<owners::Orphans>::default(),
    || Box::<fences::Epochs>::default(),
    || Box::<owners::OneLife>::default(),
    || Box::<generations::Observed>::default(),
    || Box::<pods::OneAddress>::default(),
];

/// Everything that is there, by key.
type Objects<'a> = BTreeMap<&'a str, Rc<Object<'a>>>;

/// One revision.
struct Step<'a> {
    revision: u64,
    /// Of the history.
    line: u64,
    moves: Vec<Move<'a>>,
    /// After it.
    objects: &'a Objects<'a>,
}

/// What became of one key. Neither is there if what was there before is not known.
struct Move<'a> {
    key: &'a str,
    before: Option<Rc<Object<'a>>>,
    after: Option<Rc<Object<'a>>>,
    /// By this revision. What was there before the log begins was not.
    is_created: bool,
}

impl Step<'_> {
    /// What is wrong with it, if anything, as a test of a property.
    fn test(&self, tally: &mut Tally, wrong: Option<String>) {
        tally.test(wrong.map(|what| (format!("revision {}: {what}", self.revision), vec![self.line])));
    }
}

/// Every invariant that the log puts to the test.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    let log = &merged(input.history);
    let mut findings = judge(log);
    findings.extend(fences::guards(&input.operations, log));
    if input.known.as_ref().is_ok_and(|known| known.is_whole) {
        findings.push(fences::landed(input.history, log));
        findings.extend(calls::findings(input, log));
        findings.extend(settled::finding(input.history, log));
    }
    findings.retain(|finding| finding.checked > 0);
    findings
}

/// What any member tells: one that was sent a snapshot does not tell what was before.
fn merged(history: &History) -> Vec<LogEntry<'_>> {
    let logs = history.logs().into_values().flatten();
    let by_revision: BTreeMap<u64, LogEntry<'_>> = logs.map(|entry| (entry.revision, entry)).collect();
    by_revision.into_values().collect()
}

/// The verdicts of all invariants over a log.
pub fn judge(log: &[LogEntry<'_>]) -> Vec<Finding> {
    let mut invariants: Vec<(Box<dyn Invariant>, Tally)> = ALL
        .iter()
        .map(|make| {
            let invariant = make();
            let tally = Tally::of(invariant.property());
            (invariant, tally)
        })
        .collect();
    let mut objects = Objects::new();
    for entry in log {
        let moves = moves(entry, &mut objects);
        if moves.is_empty() {
            continue;
        }
        let step = Step { revision: entry.revision, line: entry.place.line, moves, objects: &objects };
        for (invariant, tally) in &mut invariants {
            invariant.see(&step, tally);
        }
    }
    let finished = invariants.into_iter().map(|(mut invariant, mut tally)| {
        invariant.end(&objects, &mut tally);
        tally.finish()
    });
    finished.collect()
}

/// Applies a revision, and tells what it did to objects.
fn moves<'a>(entry: &LogEntry<'a>, objects: &mut Objects<'a>) -> Vec<Move<'a>> {
    let mut moves = Vec::new();
    for change in entry.changes {
        let (key, after, is_created) = match change {
            Change::Put { kv } => {
                (kv.key.as_str(), Object::of(&kv.key, &kv.value), kv.created == kv.modified)
            }
            Change::Delete { key, .. } => (key.as_str(), None, false),
        };
        if !key.starts_with(KEYS) {
            continue;
        }
        let after = after.map(Rc::new);
        let before = match &after {
            Some(after) => objects.insert(key, Rc::clone(after)),
            None => objects.remove(key),
        };
        moves.push(Move { key, before, after, is_created });
    }
    moves
}
