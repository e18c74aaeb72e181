//! Operations on one key as a register knows them: read, write, compare and set.

use std::collections::BTreeMap;

use crate::history::{Answer, Is, Kv, Op, Operation, Outcome, Target};

/// What an operation is to whoever models registers; values of keys that are not there are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View<'a> {
    Read { key: &'a str },
    Write { key: &'a str, value: &'a str },
    CompareAndSet { key: &'a str, from: Option<&'a str>, to: &'a str },
    Other(&'a Op),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended<'a> {
    /// With what a read saw.
    Ok(Option<&'a str>),
    /// It changed nothing.
    Failed,
    Unknown,
}

/// Which value each revision gave to a key, as far as anyone read it: guards name revisions.
pub(super) struct Values<'a>(BTreeMap<(&'a str, u64), &'a str>);

impl<'a> Values<'a> {
    pub(super) fn of(operations: &[Operation<'a>]) -> Self {
        let mut values = BTreeMap::new();
        for operation in operations {
            if let Some((_, answer)) = operation.ok() {
                learn(&mut values, answer);
            }
        }
        Self(values)
    }

    pub(super) fn view(&self, op: &'a Op) -> View<'a> {
        match op {
            Op::Range(range) if range.end.is_none() && range.revision == 0 && !range.count_only => {
                View::Read { key: &range.key }
            }
            Op::Put(put) if put.lease == 0 => View::Write { key: &put.key, value: &put.value },
            Op::Txn(_) => self.compare_and_set(op).unwrap_or(View::Other(op)),
            _ => View::Other(op),
        }
    }

    /// One guard, and one write of the same key.
    fn compare_and_set(&self, op: &'a Op) -> Option<View<'a>> {
        let Op::Txn(txn) = op else { return None };
        let ([compare], [Op::Put(put)]) = (txn.compare.as_slice(), txn.then.as_slice()) else { return None };
        let only_reads = txn.otherwise.iter().all(|op| matches!(op, Op::Range(_)));
        if compare.key != put.key || compare.is != Is::Equal || put.lease != 0 || !only_reads {
            return None;
        }
        let from = match &compare.target {
            Target::Value(value) => Some(value.as_str()),
            Target::Modified(0) => None,
            Target::Modified(revision) => Some(*self.0.get(&(compare.key.as_str(), *revision))?),
            Target::Version(_) | Target::Created(_) | Target::Lease(_) => return None,
        };
        Some(View::CompareAndSet { key: &put.key, from, to: &put.value })
    }
}

pub(super) fn ended<'a>(operation: &Operation<'a>) -> Ended<'a> {
    match operation.outcome {
        Outcome::Ok { answer: Answer::Range { kvs, .. }, .. } => {
            Ended::Ok(kvs.first().map(|kv| kv.value.as_str()))
        }
        Outcome::Ok { answer: Answer::Txn { succeeded: false, .. }, .. } | Outcome::Refused(_) => {
            Ended::Failed
        }
        Outcome::Ok { .. } => Ended::Ok(None),
        Outcome::Unknown(_) => Ended::Unknown,
    }
}

fn learn<'a>(values: &mut BTreeMap<(&'a str, u64), &'a str>, answer: &'a Answer) {
    let known = |kv: &'a Kv| ((kv.key.as_str(), kv.modified), kv.value.as_str());
    match answer {
        Answer::Range { kvs, .. } => values.extend(kvs.iter().map(known)),
        Answer::Put { previous } => values.extend(previous.iter().map(known)),
        Answer::Txn { answers, .. } => answers.iter().for_each(|answer| learn(values, answer)),
        _ => {}
    }
}
