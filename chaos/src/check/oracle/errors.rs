//! Refusals that speak of revisions: «compacted» only of what was compacted, «future» only of what was not there yet;
//! and what is compacted is not read any more.

use crate::history::{Answer, Event, Op, Operation, Outcome};
use crate::verdict::Finding;

use super::super::Input;
use super::super::floors::Floors;
use super::super::tally::Tally;
use super::{Promise, name, promise};

pub(super) fn check(input: &Input<'_>) -> Vec<Finding> {
    let mut tally = Tally::of("revision-errors");
    let compactions = Compactions::of(input);
    for operation in &input.operations {
        match operation.outcome {
            Outcome::Refused(failure) if failure.message.contains("required revision has been compacted") => {
                compactions.was_compacted(operation, &mut tally);
            }
            Outcome::Refused(failure)
                if failure.message.contains("required revision is a future revision") =>
            {
                was_future(input, operation, &mut tally);
            }
            Outcome::Ok { .. } => compactions.was_not_compacted(operation, &mut tally),
            Outcome::Refused(_) | Outcome::Unknown(_) => {}
        }
    }
    vec![tally.finish()]
}

/// What was given up, and when that was certain, or possible.
struct Compactions {
    /// By return of a compaction.
    certain: Floors,
    /// By call of one, also of one of unknown outcome.
    possible: Floors,
    /// What members and watches tell of compactions that nobody in the history asked for.
    told: u64,
}

impl Compactions {
    fn of(input: &Input<'_>) -> Self {
        let (mut certain, mut possible) = (Vec::new(), Vec::new());
        for operation in &input.operations {
            let Op::Compact { revision } = operation.op else { continue };
            if !matches!(operation.outcome, Outcome::Refused(_)) {
                possible.push((operation.invoked.line, *revision));
            }
            if let (Some((_, Answer::Compact)), Some(returned)) = (operation.ok(), operation.returned) {
                certain.push((returned.line, *revision));
            }
        }
        let told = input.history.lines().iter().filter_map(|line| match &line.event {
            Event::Hash { compacted, .. } => Some(*compacted),
            _ => None,
        });
        let told = told.max().unwrap_or(0);
        Self { certain: Floors::from_told(certain), possible: Floors::from_told(possible), told }
    }

    fn was_compacted(&self, operation: &Operation<'_>, tally: &mut Tally) {
        let end = operation.returned.map_or(u64::MAX, |place| place.line);
        let gone = self.possible.before(end).max(self.told);
        let (asked, lowest) = match operation.op {
            // What is compacted already cannot be again.
            Op::Compact { revision } => (Some(*revision), *revision),
            op => (revisions(op).into_iter().min(), revisions(op).into_iter().min().unwrap_or(0) + 1),
        };
        tally.hold(asked.is_some() && gone >= lowest, || {
            let what = match asked {
                Some(asked) => {
                    format!(
                        "{} was told that {asked} is compacted; up to {gone} was at most",
                        name(operation)
                    )
                }
                None => format!("{} asks for the newest, and was told that it is compacted", name(operation)),
            };
            (what, operation.lines())
        });
    }

    fn was_not_compacted(&self, operation: &Operation<'_>, tally: &mut Tally) {
        let gone = self.certain.step_before(operation.invoked.line);
        let (Some((line, gone)), Op::Range(range)) = (gone, operation.op) else { return };
        if range.revision != 0 && promise(operation.op) == Promise::Newest {
            tally.hold(range.revision >= gone, || {
                let what = format!(
                    "{} at {} was answered after compaction to {gone}",
                    name(operation),
                    range.revision
                );
                (what, operation.lines().into_iter().chain([line]).collect())
            });
        }
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
