//! Refusals that speak of revisions: «compacted» only of what was compacted, «future» only of what was not there yet;
//! and what is compacted is not read any more.

use crate::history::{Op, Operation, Outcome};
use crate::verdict::Finding;

use super::super::Input;
use super::super::tally::Tally;
use super::{Promise, name, promise};

const COMPACTED: &str = "required revision has been compacted";
const FUTURE: &str = "required revision is a future revision";

pub(super) fn check(input: &Input<'_>) -> Vec<Finding> {
    let mut tally = Tally::of("revision-errors");
    for operation in &input.operations {
        match operation.outcome {
            Outcome::Refused(failure) if failure.message.contains(COMPACTED) => {
                was_compacted(input, operation, &mut tally);
            }
            Outcome::Refused(failure) if failure.message.contains(FUTURE) => {
                was_future(input, operation, &mut tally)
            }
            Outcome::Ok { .. } => was_not_compacted(input, operation, &mut tally),
            Outcome::Refused(_) | Outcome::Unknown(_) => {}
        }
    }
    vec![tally.finish()]
}

fn was_compacted(input: &Input<'_>, operation: &Operation<'_>, tally: &mut Tally) {
    let end = operation.returned.map_or(u64::MAX, |place| place.line);
    let gone = input.compactions.possible_before(end);
    let (asked, lowest) = match operation.op {
        // What is compacted already cannot be again.
        Op::Compact { revision } => (Some(*revision), *revision),
        op => {
            let asked = revisions(op).into_iter().min();
            (asked, asked.unwrap_or(0) + 1)
        }
    };
    tally.hold(asked.is_some() && gone >= lowest, || {
        let what = match asked {
            Some(asked) => {
                format!("{} was told that {asked} is compacted; at most {gone} was", name(operation))
            }
            None => format!("{} asks for the newest, and was told that it is compacted", name(operation)),
        };
        (what, operation.lines())
    });
}

fn was_not_compacted(input: &Input<'_>, operation: &Operation<'_>, tally: &mut Tally) {
    let gone = input.compactions.done_before(operation.invoked.line);
    let (Some((line, gone)), Op::Range(range)) = (gone, operation.op) else { return };
    if range.revision != 0 && promise(operation.op) == Promise::Newest {
        tally.hold(range.revision >= gone, || {
            let what =
                format!("{} at {} was answered after compaction to {gone}", name(operation), range.revision);
            (what, operation.lines().into_iter().chain([line]).collect())
        });
    }
}

fn was_future(input: &Input<'_>, operation: &Operation<'_>, tally: &mut Tally) {
    let asked = match operation.op {
        Op::Compact { revision } => Some(*revision),
        op => revisions(op).into_iter().max(),
    };
    // Whether a compaction is in the future is decided where it is applied.
    let is_decided_by_all =
        matches!(operation.op, Op::Compact { .. }) || promise(operation.op) == Promise::Newest;
    let floor = input.floors.step_before(operation.invoked.line).filter(|_| is_decided_by_all);
    let (line, reached) = floor.unwrap_or_default();
    tally.hold(asked.is_some_and(|asked| asked > reached), || {
        let asked = asked.unwrap_or(0);
        let what = format!(
            "{} was told that {asked} is in the future, after {reached} had been told",
            name(operation)
        );
        (what, operation.lines().into_iter().chain([line]).collect())
    });
}

/// The past revisions that an operation reads.
fn revisions(op: &Op) -> Vec<u64> {
    match op {
        Op::Range(range) => Some(range.revision).filter(|revision| *revision != 0).into_iter().collect(),
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).flat_map(revisions).collect(),
        Op::Put(_)
        | Op::Delete(_)
        | Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. }
        | Op::Status => Vec::new(),
    }
}
