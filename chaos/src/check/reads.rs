//! What an operation read of the newest state, be it the operation itself or a part of a transaction.

use crate::history::{Answer, Kv, Op, Operation, Range};

/// Every read that was answered with all that it covers.
pub(super) fn reads<'a>(operation: &Operation<'a>) -> Vec<(&'a Range, &'a [Kv])> {
    operation.ok().map_or_else(Vec::new, |(_, answer)| reads_of(operation.op, answer))
}

fn reads_of<'a>(op: &'a Op, answer: &'a Answer) -> Vec<(&'a Range, &'a [Kv])> {
    match (op, answer) {
        (Op::Range(range), Answer::Range { kvs, .. }) if is_newest(range) => vec![(range, kvs)],
        (Op::Txn(txn), Answer::Txn { succeeded, answers }) => {
            let branch = if *succeeded { &txn.then } else { &txn.otherwise };
            branch.iter().zip(answers).flat_map(|(op, answer)| reads_of(op, answer)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether it reads all of the newest state that it covers.
pub(super) const fn is_newest(range: &Range) -> bool {
    range.revision == 0 && !range.serializable && !range.count_only && range.limit == 0
}

/// Whether the half-open span from `first`, as `Range` has it, holds the key.
pub(super) fn covers(first: &str, end: Option<&str>, key: &str) -> bool {
    match end {
        None => key == first,
        Some("\0") => key >= first,
        Some(end) => key >= first && key < end,
    }
}
