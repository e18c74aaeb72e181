//! What was compacted, and when that was certain, or possible.

use crate::history::{Answer, Event, History, Op, Operation, Outcome, Watch};

use super::floors::Floors;

#[derive(Default)]
pub struct Compactions {
    /// By the return of a compaction.
    certain: Floors,
    /// By the call of one, also of one of unknown outcome.
    possible: Floors,
    /// What members tell of compactions, also those that nobody in the history asked for.
    told: u64,
    highest: u64,
}

impl Compactions {
    pub fn of(history: &History, operations: &[Operation<'_>], watches: &[Watch<'_>]) -> Self {
        let (mut certain, mut possible) = (Vec::new(), Vec::new());
        for operation in operations {
            let Op::Compact { revision } = operation.op else { continue };
            if !matches!(operation.outcome, Outcome::Refused(_)) {
                possible.push((operation.invoked.line, *revision));
            }
            if let (Some((_, Answer::Compact)), Some(returned)) = (operation.ok(), operation.returned) {
                certain.push((returned.line, *revision));
            }
        }
        let told = history.lines().iter().filter_map(|line| match &line.event {
            Event::Hash { compacted, .. } => Some(*compacted),
            _ => None,
        });
        let told = told.max().unwrap_or(0);
        let canceled = watches.iter().flat_map(|watch| &watch.answers).map(|(_, answer)| answer.compacted);
        let asked = possible.iter().map(|(_, revision)| *revision);
        let highest = asked.chain(canceled).chain([told]).max().unwrap_or(0);
        Self { certain: Floors::from_told(certain), possible: Floors::from_told(possible), told, highest }
    }

    /// The highest that was done before a call of that line, and the line that told it.
    pub fn done_before(&self, line: u64) -> Option<(u64, u64)> {
        self.certain.step_before(line)
    }

    /// The highest that may have been done before something was seen in that line.
    pub fn possible_before(&self, line: u64) -> u64 {
        self.possible.before(line).max(self.told)
    }

    /// The highest of all, by anybody's word.
    pub fn highest(&self) -> u64 {
        self.highest
    }
}
