//! What revision was certainly reached by a line of the history, and what line certainly came before a revision.
//!
//! Lines are numbered under one lock: a call is recorded before it is sent and its answer after it came, so an answer's
//! line before a call's line means that the one was over before the other began.

use crate::history::{Operation, Watch};
use crate::model::revision_of;

/// By line, the highest revision that anybody had been told.
#[derive(Default)]
pub struct Floors {
    /// Lines in order, and the highest revision up to each; only where it rises.
    steps: Vec<(u64, u64)>,
}

impl Floors {
    /// From everything that was answered well, and from what watches delivered.
    pub fn of(operations: &[Operation<'_>], watches: &[Watch<'_>]) -> Self {
        let answered = operations.iter().filter_map(|operation| {
            let (header, _) = operation.ok()?;
            Some((operation.returned?.line, header.revision))
        });
        let seen = watches.iter().flat_map(|watch| &watch.answers).filter_map(|(place, answer)| {
            let newest = answer.events.iter().map(|event| revision_of(&event.change)).max()?;
            Some((place.line, newest))
        });
        Self::from_told(answered.chain(seen).collect())
    }

    /// From lines and the revisions told there, in any order.
    pub fn from_told(mut told: Vec<(u64, u64)>) -> Self {
        told.sort_unstable();
        let mut steps: Vec<(u64, u64)> = Vec::new();
        for (line, revision) in told {
            if steps.last().is_none_or(|(_, highest)| *highest < revision) {
                steps.push((line, revision));
            }
        }
        Self { steps }
    }

    /// What must be visible to a call that begins at that line; zero, if nothing had been told.
    pub fn before(&self, line: u64) -> u64 {
        self.step_before(line).map_or(0, |(_, revision)| revision)
    }

    /// The line that told it, and the revision.
    pub fn step_before(&self, line: u64) -> Option<(u64, u64)> {
        let after = self.steps.partition_point(|(told, _)| *told < line);
        self.steps[..after].last().copied()
    }

    /// The line by which a revision had been told.
    pub fn line_of(&self, revision: u64) -> Option<u64> {
        let told = self.steps.partition_point(|(_, highest)| *highest < revision);
        self.steps.get(told).map(|(line, _)| *line)
    }
}

/// By revision, the line before which it cannot have existed: that of the latest call among those that made it and the
/// ones before it.
#[derive(Default)]
pub struct Births {
    first: u64,
    lines: Vec<u64>,
}

impl Births {
    /// `invoked` tells, for each revision from `first` on, the line of the call that made it, where that is known.
    pub fn of(first: u64, invoked: impl Iterator<Item = Option<u64>>) -> Self {
        let lines = invoked.scan(0, |latest, line| {
            *latest = line.unwrap_or(0).max(*latest);
            Some(*latest)
        });
        Self { first, lines: lines.collect() }
    }

    /// None, for a revision that never existed.
    pub fn line(&self, revision: u64) -> Option<u64> {
        if revision < self.first {
            return Some(0);
        }
        self.lines.get(usize::try_from(revision - self.first).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_rises_only_after_its_line() {
        let floors = Floors::from_told(vec![(9, 4), (3, 5), (5, 2), (12, 8)]);
        assert_eq!([2, 3, 4, 10, 12, 13].map(|line| floors.before(line)), [0, 0, 5, 5, 5, 8]);
        assert_eq!([4, 5, 6, 9].map(|revision| floors.line_of(revision)), [Some(3), Some(3), Some(12), None]);
    }

    #[test]
    fn a_revision_is_no_older_than_those_before_it() {
        let births = Births::of(2, [Some(7), None, Some(3), Some(9)].into_iter());
        assert_eq!([1, 2, 3, 4, 5].map(|revision| births.line(revision)), [0, 7, 7, 7, 9].map(Some));
        assert_eq!(births.line(6), None);
    }
}
