//! When a revision came to be, as far as answers tell: by when somebody had heard of it, and when somebody who asked was
//! still told of an earlier one.

use super::Input;
use crate::history::Op;

/// Times are nanoseconds since the run began.
pub(super) struct Moments {
    /// Revisions that were told, upwards; each with the first time at which it or a later one was.
    told: Vec<(u64, u64)>,
    /// Revisions, upwards; each with the last time at which somebody asked who was told it or an earlier one.
    newest: Vec<(u64, u64)>,
    /// Terms, upwards, each with the first time at which it was told.
    terms: Vec<(u64, u64)>,
}

impl Moments {
    pub(super) fn of(input: &Input<'_>) -> Self {
        let (mut told, mut newest, mut terms) = (Vec::new(), Vec::new(), Vec::new());
        for operation in &input.operations {
            let (Some((header, _)), Some(returned)) = (operation.ok(), operation.returned) else { continue };
            told.push((header.revision, returned.at));
            terms.push((header.term, returned.at));
            if is_linearizable(operation.op) {
                newest.push((header.revision, operation.invoked.at));
            }
        }
        for (place, answer) in input.watches.iter().flat_map(|watch| &watch.answers) {
            told.push((answer.header.revision, place.at));
        }
        told.sort_unstable();
        for at in (1..told.len()).rev() {
            told[at - 1].1 = told[at - 1].1.min(told[at].1);
        }
        newest.sort_unstable();
        for at in 1..newest.len() {
            newest[at].1 = newest[at].1.max(newest[at - 1].1);
        }
        terms.sort_unstable();
        terms.dedup_by_key(|(term, _)| *term);
        Self { told, newest, terms }
    }

    /// By when it was there; none if nobody was told of it or of a later one.
    pub(super) fn existed_by(&self, revision: u64) -> Option<u64> {
        self.told.get(self.told.partition_point(|(told, _)| *told < revision)).map(|(_, at)| *at)
    }

    /// The last time of which it is certain that it was not there yet.
    pub(super) fn absent_at(&self, revision: u64) -> Option<u64> {
        let earlier = self.newest.partition_point(|(newest, _)| *newest < revision);
        earlier.checked_sub(1).map(|last| self.newest[last].1)
    }

    /// How many leaders were heard of first between the two times.
    pub(super) fn new_leaders(&self, from: u64, until: u64) -> u64 {
        // Who was heard of first of all was no change.
        self.terms.iter().skip(1).filter(|(_, at)| (from..=until).contains(at)).count() as u64
    }
}

/// Whether its header's revision is the newest there was after it was asked. Answers on leases and on members tell what
/// the member that was asked has heard.
const fn is_linearizable(op: &Op) -> bool {
    match op {
        Op::Range(range) => !range.serializable,
        Op::Put(_) | Op::Delete(_) | Op::Txn(_) => true,
        Op::Compact { .. } | Op::Grant { .. } | Op::Revoke { .. } | Op::KeepAlive { .. } => false,
        Op::TimeToLive { .. } | Op::Lock { .. } | Op::Unlock { .. } | Op::Status => false,
    }
}
