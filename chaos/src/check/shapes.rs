//! Transactions at the edge of what may be asked. Whether one may be asked at all follows from itself, so every member
//! and every try must come to the same; what it reads of the past is there, or the whole of it is refused.

use std::collections::BTreeSet;

use super::Input;
use super::tally::Tally;
use crate::history::{Answer, Delete, Op, Operation, Outcome, Txn};
use crate::verdict::Finding;
use crate::workloads::{BYTES_MAX, OPS_MAX};

const WORKLOAD: &str = "wide";

/// What is wrong with a transaction, whatever the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Fit,
    TooLarge,
    TooMany,
    Twice,
}

/// The words of a refusal.
const WORDS: [(Shape, &str); 3] = [
    (Shape::TooLarge, "request is too large"),
    (Shape::TooMany, "too many operations in txn request"),
    (Shape::Twice, "duplicate key given in txn request"),
];

/// `txn-shape` and `txn-past`, of runs with such transactions.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    if !input.uses(WORKLOAD) {
        return Vec::new();
    }
    let (mut shapes, mut past) = (Tally::of("txn-shape"), Tally::of("txn-past"));
    for operation in input.operations.iter().filter(|operation| operation.workload == WORKLOAD) {
        let Op::Txn(txn) = operation.op else { continue };
        judge(operation, shape(txn), &mut shapes);
        if let Some((_, answer)) = operation.ok() {
            read_past(input, operation, answer, &mut past);
        }
    }
    vec![shapes.finish(), past.finish()]
}

fn judge(operation: &Operation<'_>, shape: Shape, tally: &mut Tally) {
    let came_to = match operation.outcome {
        Outcome::Ok { .. } => Shape::Fit,
        Outcome::Refused(failure) | Outcome::Unknown(failure) => {
            match WORDS.iter().find(|(_, words)| failure.message.contains(words)) {
                Some((shape, _)) => *shape,
                // Refused, or lost, for another reason.
                None => return,
            }
        }
    };
    tally.hold(came_to == shape, || {
        let what = format!("a transaction that is {shape:?} was answered as one that is {came_to:?}");
        (what, operation.lines())
    });
}

/// No part of a transaction is answered from what had been compacted before it was asked, or had yet to come.
fn read_past(input: &Input<'_>, operation: &Operation<'_>, answer: &Answer, tally: &mut Tally) {
    let Some((header, _)) = operation.ok() else { return };
    let gone = input.compactions.done_before(operation.invoked.line);
    let mut read = Vec::new();
    taken(operation.op, answer, &mut read);
    for revision in read {
        let (line, gone) = gone.unwrap_or_default();
        tally.hold(revision >= gone && revision <= header.revision, || {
            let what = format!(
                "a transaction at revision {} read {revision}, after compaction to {gone}",
                header.revision
            );
            (what, operation.lines().into_iter().chain([line]).collect())
        });
    }
}

/// The past revisions on the path that was taken.
fn taken(op: &Op, answer: &Answer, read: &mut Vec<u64>) {
    match (op, answer) {
        (Op::Range(range), Answer::Range { .. }) if range.revision != 0 => read.push(range.revision),
        (Op::Txn(txn), Answer::Txn { succeeded, answers }) => {
            let ops = if *succeeded { &txn.then } else { &txn.otherwise };
            for (op, answer) in ops.iter().zip(answers) {
                taken(op, answer, read);
            }
        }
        _ => {}
    }
}

/// As etcd counts: bytes first, then operations, then keys.
fn shape(txn: &Txn) -> Shape {
    if bytes(txn) > BYTES_MAX {
        Shape::TooLarge
    } else if longest(txn) > OPS_MAX {
        Shape::TooMany
    } else if changed(&txn.then).is_none() || changed(&txn.otherwise).is_none() {
        Shape::Twice
    } else {
        Shape::Fit
    }
}

fn bytes(txn: &Txn) -> usize {
    let of_end = |end: &Option<String>| end.as_ref().map_or(0, String::len);
    let of_op = |op: &Op| match op {
        Op::Range(range) => range.key.len() + of_end(&range.end),
        Op::Put(put) => put.key.len() + put.value.len(),
        Op::Delete(delete) => delete.key.len() + of_end(&delete.end),
        Op::Txn(inner) => bytes(inner),
        _ => 0,
    };
    txn.compare.iter().map(|compare| compare.key.len()).sum::<usize>()
        + txn.then.iter().chain(&txn.otherwise).map(of_op).sum::<usize>()
}

/// What a transaction needs of the limit: its own longest list, and that of the longest inside.
fn longest(txn: &Txn) -> usize {
    let own = txn.compare.len().max(txn.then.len()).max(txn.otherwise.len());
    let inside = txn.then.iter().chain(&txn.otherwise).filter_map(|op| match op {
        Op::Txn(inner) => Some(longest(inner)),
        _ => None,
    });
    own + inside.max().unwrap_or(0)
}

/// Keys that are put, and spans that are deleted, on any path; none when one path changes a key twice.
fn changed(ops: &[Op]) -> Option<(BTreeSet<&str>, Vec<&Delete>)> {
    let (mut puts, mut deletes) = (BTreeSet::<&str>::new(), Vec::new());
    for op in ops {
        let (new_puts, new_deletes) = match op {
            Op::Put(put) => (BTreeSet::from([put.key.as_str()]), Vec::new()),
            Op::Delete(delete) => (BTreeSet::new(), vec![delete]),
            Op::Txn(inner) => {
                let (mut puts, mut deletes) = changed(&inner.then)?;
                let (other_puts, other_deletes) = changed(&inner.otherwise)?;
                puts.extend(other_puts);
                deletes.extend(other_deletes);
                (puts, deletes)
            }
            _ => continue,
        };
        let met = new_puts.iter().any(|key| puts.contains(key) || covers(&deletes, key))
            || puts.iter().any(|key| covers(&new_deletes, key));
        if met {
            return None;
        }
        puts.extend(new_puts);
        deletes.extend(new_deletes);
    }
    Some((puts, deletes))
}

fn covers(deletes: &[&Delete], key: &str) -> bool {
    deletes.iter().any(|delete| match &delete.end {
        None => delete.key == key,
        Some(end) => delete.key.as_str() <= key && (key < end.as_str() || end == "\0"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{Script, delete, get, put, txn};
    use crate::history::{Event, Invoke, Range};

    fn of(then: Vec<Op>) -> Txn {
        Txn { compare: Vec::new(), then, otherwise: Vec::new() }
    }

    fn puts(count: usize) -> Vec<Op> {
        (0..count).map(|number| put(&format!("k{number}"), "v")).collect()
    }

    #[test]
    fn what_may_be_asked_follows_from_itself() {
        assert_eq!(shape(&of(puts(128))), Shape::Fit);
        assert_eq!(shape(&of(puts(129))), Shape::TooMany);
        let inner = Op::Txn(of((0..64).map(|number| get(&format!("k{number}"))).collect()));
        let nested = |count| of(puts(count).into_iter().chain([inner.clone()]).collect());
        assert_eq!(shape(&nested(63)), Shape::Fit);
        assert_eq!(shape(&nested(64)), Shape::TooMany);
        assert_eq!(shape(&of(vec![put("a", "1"), put("a", "2")])), Shape::Twice);
        assert_eq!(shape(&of(vec![delete("a"), delete("a")])), Shape::Fit);
        assert_eq!(shape(&of(vec![delete("a"), put("a", "1")])), Shape::Twice);
        let span = Op::Delete(Delete { key: "a".to_owned(), end: Some("c".to_owned()), previous: false });
        assert_eq!(shape(&of(vec![put("b", "1"), Op::Txn(of(vec![span]))])), Shape::Twice);
        let either = Txn { otherwise: vec![put("a", "2")], ..of(vec![put("a", "1")]) };
        assert_eq!(shape(&of(vec![Op::Txn(either.clone())])), Shape::Fit);
        assert_eq!(shape(&of(vec![Op::Txn(either), put("a", "3")])), Shape::Twice);
        assert_eq!(shape(&of(vec![put("k", &"x".repeat(BYTES_MAX - 1))])), Shape::Fit);
        assert_eq!(shape(&of(vec![put("k", &"x".repeat(BYTES_MAX))])), Shape::TooLarge);
    }

    /// What is found of one transaction that was answered, or refused in these words.
    fn verdicts(op: Op, refused: Option<&str>, compacted: bool) -> String {
        let mut script = Script::begin();
        script.run(1, put("a", "1"));
        script.run(1, put("a", "2"));
        if compacted {
            script.run(1, Op::Compact { revision: 2 });
            // The honest store would refuse what is asked next.
            for line in &mut script.lines {
                if let Event::Invoke(Invoke { op: Op::Compact { revision }, .. }) = &mut line.event {
                    *revision = 3;
                }
            }
        }
        script.workload = WORKLOAD.to_owned();
        script.call(2, op);
        match refused {
            Some(words) => script.refused(2, "InvalidArgument", words),
            None => script.ok(2),
        }
        script.logs();
        let findings = findings(&Input::new(&script.history()));
        let one = |finding: &Finding| format!("{} {:?}", finding.property, finding.verdict());
        findings.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_transaction_is_refused_for_what_it_is_or_not_at_all() {
        let (fit, twice) = (vec![put("b", "1")], vec![put("b", "1"), put("b", "2")]);
        let of = |ops: &[Op]| txn(Vec::new(), ops.to_vec(), Vec::new());
        assert_eq!(verdicts(of(&fit), None, false), "txn-shape Pass, txn-past Inconclusive");
        assert_eq!(verdicts(of(&fit), Some(WORDS[1].1), false), "txn-shape Fail, txn-past Inconclusive");
        assert_eq!(verdicts(of(&twice), Some(WORDS[2].1), false), "txn-shape Pass, txn-past Inconclusive");
        assert_eq!(verdicts(of(&twice), Some(WORDS[0].1), false), "txn-shape Fail, txn-past Inconclusive");
        assert_eq!(verdicts(of(&twice), None, false), "txn-shape Fail, txn-past Inconclusive");
    }

    #[test]
    fn what_is_compacted_is_not_read_beside_writes_either() {
        let reads = |revision| {
            let past = Op::Range(Range { key: "a".to_owned(), revision, ..Range::default() });
            txn(Vec::new(), vec![put("b", "1"), past], Vec::new())
        };
        assert_eq!(verdicts(reads(2), None, false), "txn-shape Pass, txn-past Pass");
        assert_eq!(verdicts(reads(3), None, true), "txn-shape Pass, txn-past Pass");
        assert_eq!(verdicts(reads(2), None, true), "txn-shape Pass, txn-past Fail");
    }
}
