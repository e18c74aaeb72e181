//! Reads list transactions out of a history's operations.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::reads::is_newest;
use crate::history::{Answer, Is, Kv, Op, Operation, Outcome, Target, Txn};
use crate::verdict::Violation;

/// The workload whose operations are read.
pub(super) const WORKLOAD: &str = "append";

/// What one transaction did, all at one moment between its invocation and its return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub process: u32,
    /// Nanoseconds since the run began.
    pub invoked: u64,
    /// None: nobody knows when, or whether, it happened.
    pub returned: Option<u64>,
    pub happened: Happened,
    /// In order.
    pub micros: Vec<Micro>,
    /// Of the history.
    pub lines: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Yes,
    No,
    Maybe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Micro {
    Read { key: String, list: Vec<u64> },
    Append { key: String, element: u64 },
}

/// What could be read, a sentence for each operation that could not, and what contradicts itself.
#[derive(Default)]
pub(super) struct Read {
    pub(super) transactions: Vec<Transaction>,
    pub(super) unreadable: Vec<String>,
    pub(super) contradictions: Vec<Violation>,
}

/// The transactions of a history, in the order of their invocation, as far as they make sense.
pub fn transactions(operations: &[Operation<'_>]) -> Vec<Transaction> {
    read(operations).transactions
}

pub(super) fn read(operations: &[Operation<'_>]) -> Read {
    let mut read = Read::default();
    let mut versions = Versions::new();
    let chosen = || operations.iter().filter(|operation| operation.workload == WORKLOAD);
    for operation in chosen() {
        let Some((_, answer)) = operation.ok() else { continue };
        for kv in kvs(answer) {
            let lines = operation.lines();
            let (first, told) =
                versions.entry((&kv.key, kv.modified)).or_insert((&kv.value, operation.invoked.line));
            if *first != kv.value {
                let what =
                    format!("{} of revision {} was read as {first} and as {}", kv.key, kv.modified, kv.value);
                read.contradictions.push(Violation { what, lines: [vec![*told], lines].concat() });
            }
        }
    }
    for operation in chosen() {
        let line = operation.invoked.line;
        match micros(operation, &versions) {
            Ok((_, micros)) if micros.is_empty() => {}
            Ok((happened, micros)) => read.transactions.push(Transaction {
                process: operation.process,
                invoked: operation.invoked.at,
                returned: operation.returned.map(|place| place.at).filter(|_| happened != Happened::Maybe),
                happened,
                micros,
                lines: operation.lines(),
            }),
            Err(why) => read.unreadable.push(format!("line {line}: {why}")),
        }
    }
    read
}

/// Elements that more than one transaction asked to append: nobody can tell whose was read.
pub(super) fn asked_twice(transactions: &[Transaction]) -> BTreeSet<(&str, u64)> {
    let mut asked = BTreeSet::new();
    let micros = transactions.iter().flat_map(|transaction| &transaction.micros);
    let appends = micros.filter_map(|micro| match micro {
        Micro::Append { key, element } => Some((key.as_str(), *element)),
        Micro::Read { .. } => None,
    });
    appends.filter(|append| !asked.insert(*append)).collect()
}

/// What was read first, by key and by the revision that wrote it, and the line of whoever read it.
type Versions<'a> = BTreeMap<(&'a str, u64), (&'a str, u64)>;

fn kvs(answer: &Answer) -> Vec<&Kv> {
    match answer {
        Answer::Range { kvs, .. } => kvs.iter().collect(),
        Answer::Txn { answers, .. } => answers.iter().flat_map(kvs).collect(),
        Answer::Put { .. }
        | Answer::Delete { .. }
        | Answer::Compact
        | Answer::Grant { .. }
        | Answer::Revoke => Vec::new(),
        Answer::KeepAlive { .. } | Answer::TimeToLive { .. } | Answer::Lock { .. } | Answer::Unlock => {
            Vec::new()
        }
        Answer::Status { .. } => Vec::new(),
    }
}

fn micros(operation: &Operation<'_>, versions: &Versions<'_>) -> Result<(Happened, Vec<Micro>), String> {
    match (operation.op, operation.outcome) {
        (Op::Txn(txn), Outcome::Ok { answer: Answer::Txn { succeeded: true, answers }, .. }) => {
            let mut micros = guarded_reads(txn, versions)?;
            micros.extend(reads_of(&txn.then, answers, Side::BeforeWrites)?);
            micros.extend(appends(txn, versions)?);
            micros.extend(reads_of(&txn.then, answers, Side::AfterWrites)?);
            Ok((Happened::Yes, micros))
        }
        // Its guards failed. Whatever it read instead is a transaction of its own, and its appends must never be seen.
        (Op::Txn(txn), Outcome::Ok { answer: Answer::Txn { succeeded: false, answers }, .. }) => {
            let reads = reads_of(&txn.otherwise, answers, Side::BeforeWrites)?;
            if reads.is_empty() {
                Ok((Happened::No, appends(txn, versions)?))
            } else {
                Ok((Happened::Yes, reads))
            }
        }
        (Op::Txn(txn), Outcome::Refused(_)) => Ok((Happened::No, appends(txn, versions)?)),
        (Op::Txn(txn), Outcome::Unknown(_)) => Ok((Happened::Maybe, appends(txn, versions)?)),
        (op @ Op::Range(_), Outcome::Ok { answer, .. }) => {
            let reads = reads_of(std::slice::from_ref(op), std::slice::from_ref(answer), Side::BeforeWrites)?;
            Ok((Happened::Yes, reads))
        }
        (Op::Range(_), Outcome::Refused(_) | Outcome::Unknown(_)) => Ok((Happened::No, Vec::new())),
        (op, _) => Err(format!("the workload does not use {op:?}")),
    }
}

/// Which of a branch's reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    BeforeWrites,
    AfterWrites,
}

fn reads_of(ops: &[Op], answers: &[Answer], side: Side) -> Result<Vec<Micro>, String> {
    let writes = ops.iter().position(|op| matches!(op, Op::Put(_))).unwrap_or(ops.len());
    let chosen = match side {
        Side::BeforeWrites => 0..writes,
        Side::AfterWrites => writes..ops.len(),
    };
    let mut micros = Vec::new();
    for (op, answer) in ops.iter().zip(answers).take(chosen.end).skip(chosen.start) {
        let (Op::Range(range), Answer::Range { kvs, .. }) = (op, answer) else { continue };
        if !is_newest(range) {
            continue;
        }
        if range.end.is_none() {
            let list = kvs.first().map_or(Ok(Vec::new()), |kv| elements(&kv.value))?;
            micros.push(Micro::Read { key: range.key.clone(), list });
        } else {
            for Kv { key, value, .. } in kvs {
                micros.push(Micro::Read { key: key.clone(), list: elements(value)? });
            }
        }
    }
    Ok(micros)
}

/// What the keys held when all guards held.
fn guarded_reads(txn: &Txn, versions: &Versions<'_>) -> Result<Vec<Micro>, String> {
    let mut micros = Vec::new();
    for compare in &txn.compare {
        if let Some(list) = guarded(txn, &compare.key, versions)? {
            micros.push(Micro::Read { key: compare.key.clone(), list });
        }
    }
    Ok(micros)
}

/// What the guards say that the key holds, if they say anything.
fn guarded(txn: &Txn, key: &str, versions: &Versions<'_>) -> Result<Option<Vec<u64>>, String> {
    let guards = txn.compare.iter().filter(|compare| compare.key == key && compare.is == Is::Equal);
    let mut modified = guards.filter_map(|compare| match compare.target {
        Target::Modified(revision) => Some(revision),
        Target::Version(_) | Target::Created(_) | Target::Lease(_) | Target::Value(_) => None,
    });
    match modified.next_back() {
        None => Ok(None),
        Some(0) => Ok(Some(Vec::new())),
        Some(revision) => match versions.get(&(key, revision)) {
            Some((value, _)) => elements(value).map(Some),
            None => Err(format!("nobody read {key} as of {revision}")),
        },
    }
}

/// What it adds to the end of each list that it writes.
fn appends(txn: &Txn, versions: &Versions<'_>) -> Result<Vec<Micro>, String> {
    let mut micros = Vec::new();
    for op in &txn.then {
        let Op::Put(put) = op else { continue };
        let (key, before) = (&put.key, guarded(txn, &put.key, versions)?);
        let before = before.ok_or_else(|| format!("{key} is written without a guard"))?;
        let after = elements(&put.value)?;
        let added = after.strip_prefix(&before[..]).filter(|added| !added.is_empty());
        let added = added.ok_or_else(|| format!("{after:?} adds nothing to {before:?}"))?;
        micros.extend(added.iter().map(|&element| Micro::Append { key: key.clone(), element }));
    }
    Ok(micros)
}

fn elements(value: &str) -> Result<Vec<u64>, String> {
    let parts = value.split(',').filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_| format!("{value:?} is no list of numbers"))).collect()
}
