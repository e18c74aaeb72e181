//! What the log tells of leases: which keys hung on them, and the revisions that took these away.

use std::collections::{BTreeMap, BTreeSet};

use super::lives::Life;
use crate::check::moments::Moments;
use crate::check::reads::covers;
use crate::history::{Change, LogEntry, Op, Operation, Outcome};

/// A revision that deleted keys of a lease, and not because a client deleted keys.
pub(super) struct Ending<'a> {
    pub(super) lease: i64,
    pub(super) revision: u64,
    pub(super) line: u64,
    pub(super) cause: Cause,
    /// Keys that it should have deleted, too.
    pub(super) left: Vec<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Or it expired while that was under way.
    Revoked,
    Expired,
    /// Perhaps somebody's call of unknown outcome did it.
    Unsure,
}

/// A key that was put on a lease.
pub(super) struct Attached<'a> {
    pub(super) key: &'a str,
    pub(super) lease: i64,
    pub(super) revision: u64,
    pub(super) line: u64,
}

pub(super) struct Outlived<'a> {
    pub(super) lease: i64,
    /// At which it was said.
    pub(super) revision: u64,
    pub(super) keys: Vec<&'a str>,
}

/// What a log does to leases, in order.
#[derive(Default)]
pub(super) struct Course<'a> {
    pub(super) endings: Vec<Ending<'a>>,
    pub(super) puts: Vec<Attached<'a>>,
    /// What hangs on leases at the log's end.
    pub(super) held: BTreeMap<i64, BTreeSet<&'a str>>,
    /// Keys that were there at the revision at which their lease was said to be revoked.
    pub(super) outlived: Vec<Outlived<'a>>,
}

/// Who may have deleted a key.
pub(super) struct Deleters<'a> {
    /// By the revision that it was answered at, which it made if it deleted anything.
    certain: BTreeMap<u64, Vec<&'a Operation<'a>>>,
    possible: Vec<&'a Operation<'a>>,
}

impl<'a> Deleters<'a> {
    pub(super) fn of(operations: &'a [Operation<'a>]) -> Self {
        let deleting = || operations.iter().filter(|operation| may_delete(operation.op));
        let mut certain: BTreeMap<u64, Vec<&Operation<'_>>> = BTreeMap::new();
        for operation in deleting() {
            if let Some((header, _)) = operation.ok() {
                certain.entry(header.revision).or_default().push(operation);
            }
        }
        let possible = deleting().filter(|operation| matches!(operation.outcome, Outcome::Unknown(_)));
        Self { certain, possible: possible.collect() }
    }

    /// Whether a client deleted one of the keys by that revision.
    fn certainly(&self, revision: u64, keys: &[&str]) -> bool {
        let made = self.certain.get(&revision).into_iter().flatten();
        made.into_iter().any(|one| keys.iter().any(|key| deletes(one.op, key)))
    }

    /// Whether a client may have deleted one of the keys by that time.
    fn possibly(&self, by: u64, keys: &[&str]) -> bool {
        let begun = self.possible.iter().filter(|one| one.invoked.at <= by);
        begun.into_iter().any(|one| keys.iter().any(|key| deletes(one.op, key)))
    }
}

fn may_delete(op: &Op) -> bool {
    match op {
        Op::Delete(_) => true,
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(may_delete),
        _ => false,
    }
}

fn deletes(op: &Op, key: &str) -> bool {
    match op {
        Op::Delete(delete) => covers(&delete.key, delete.end.as_deref(), key),
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(|op| deletes(op, key)),
        _ => false,
    }
}

/// Replays the log.
pub(super) fn course<'a>(
    log: &[LogEntry<'a>],
    lives: &BTreeMap<i64, Life<'_>>,
    deleters: &Deleters<'_>,
    moments: &Moments,
) -> Course<'a> {
    let mut revoked = revoked(lives);
    let mut course = Course::default();
    let mut on: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in log {
        while let Some((revision, lease)) = revoked.pop_if(|(revision, _)| *revision < entry.revision) {
            course.note_outlived(lease, revision);
        }
        let mut gone: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
        for change in entry.changes {
            match change {
                Change::Put { kv } => {
                    course.attach(&mut on, &kv.key, kv.lease, entry);
                }
                Change::Delete { key, .. } => {
                    if let Some(lease) = on.remove(key.as_str()) {
                        course.detach(lease, key);
                        gone.entry(lease).or_default().push(key);
                    }
                }
            }
        }
        for (lease, keys) in gone {
            let cause = cause(lease, entry.revision, &keys, lives, deleters, moments);
            let left = course.held.get(&lease).into_iter().flatten().copied().collect();
            course.endings.extend(cause.map(|cause| Ending {
                lease,
                revision: entry.revision,
                line: entry.place.line,
                cause,
                left,
            }));
        }
    }
    while let Some((revision, lease)) = revoked.pop() {
        course.note_outlived(lease, revision);
    }
    course
}

/// The revisions by which leases were revoked, the first last.
fn revoked(lives: &BTreeMap<i64, Life<'_>>) -> Vec<(u64, i64)> {
    let revokes = lives.iter().flat_map(|(id, life)| life.revokes.iter().map(|revoke| (*id, *revoke)));
    let mut revoked: Vec<(u64, i64)> =
        revokes.filter_map(|(id, revoke)| Some((revoke.ok()?.0.revision, id))).collect();
    revoked.sort_unstable_by(|one, other| other.cmp(one));
    revoked
}

/// None: a client deleted the keys.
fn cause(
    lease: i64,
    revision: u64,
    keys: &[&str],
    lives: &BTreeMap<i64, Life<'_>>,
    deleters: &Deleters<'_>,
    moments: &Moments,
) -> Option<Cause> {
    if deleters.certainly(revision, keys) {
        return None;
    }
    let by = moments.existed_by(revision).unwrap_or(u64::MAX);
    let life = lives.get(&lease).filter(|life| life.grants == 1);
    Some(match life {
        None => Cause::Unsure,
        Some(_) if deleters.possibly(by, keys) => Cause::Unsure,
        Some(life) if life.may_be_revoked_by(by) => Cause::Revoked,
        Some(_) => Cause::Expired,
    })
}

impl<'a> Course<'a> {
    fn attach(&mut self, on: &mut BTreeMap<&'a str, i64>, key: &'a str, lease: i64, entry: &LogEntry<'a>) {
        if let Some(before) = on.remove(key) {
            self.detach(before, key);
        }
        if lease != 0 {
            on.insert(key, lease);
            self.held.entry(lease).or_default().insert(key);
            let (revision, line) = (entry.revision, entry.place.line);
            self.puts.push(Attached { key, lease, revision, line });
        }
    }

    fn detach(&mut self, lease: i64, key: &str) {
        if let Some(keys) = self.held.get_mut(&lease) {
            keys.remove(key);
        }
    }

    fn note_outlived(&mut self, lease: i64, revision: u64) {
        let keys: Vec<&str> = self.held.get(&lease).into_iter().flatten().copied().collect();
        if !keys.is_empty() {
            self.outlived.push(Outlived { lease, revision, keys });
        }
    }
}
