//! Where a watch ends: with everything told that there was time for, or canceled for a good reason.

use crate::history::Watch;
use crate::model::{key_of, revision_of};

use super::super::trouble::Trouble;
use super::sequence::Heard;
use super::{Against, name};

/// What everybody could know for so long, with nothing broken meanwhile, a watch must have told.
const LAG_NS_MAX: u64 = 4_000_000_000;

impl Against<'_, '_> {
    /// A stream that the client closed, or that was never closed, has told all that it had the time to tell.
    pub(super) fn is_complete(&mut self, watch: &Watch<'_>, heard: &Heard<'_>, trouble: &Trouble<'_>) {
        let is_canceled = watch.answers.iter().any(|(_, answer)| answer.canceled.is_some());
        let is_broken = watch.end.is_some_and(|(_, error)| error.is_some());
        if is_canceled || is_broken || heard.next.is_none() {
            return;
        }
        let end = watch.end.map_or_else(|| self.end_of_work(), |(place, _)| place);
        let known = self.input.floors.before(end.line);
        let Some(missing) = heard.expected.get(heard.past).filter(|change| revision_of(change) <= known)
        else {
            if !heard.expected.is_empty() {
                self.complete.hold(true, || unreachable!("it holds"));
            }
            return;
        };
        let (key, revision) = (key_of(missing), revision_of(missing));
        let Some(told) = self.input.floors.line_of(revision) else { return };
        let told_at = usize::try_from(told).map_or(0, |line| self.input.history.lines()[line].at);
        let since = told_at.max(watch.opened.at);
        if end.at.saturating_sub(since) < LAG_NS_MAX || !trouble.is_quiet(end.at - LAG_NS_MAX, end.at) {
            return;
        }
        self.complete.hold(false, || {
            let what =
                format!("{} ended without {key} at revision {revision}, known long before", name(watch));
            (
                what,
                [watch.opened.line, told, end.line]
                    .into_iter()
                    .chain(self.known.model.line(revision))
                    .collect(),
            )
        });
    }

    /// The last that any client did. What members tell afterwards takes time of its own.
    fn end_of_work(&self) -> crate::history::Place {
        let returns = self.input.operations.iter().filter_map(|operation| operation.returned);
        let answers =
            self.input.watches.iter().filter_map(|watch| watch.answers.last().map(|(place, _)| *place));
        returns.chain(answers).max().unwrap_or_else(|| self.input.history.last())
    }

    /// Canceled for a compaction that there was, and that it had not passed.
    pub(super) fn was_needed(&mut self, watch: &Watch<'_>, heard: &Heard<'_>) {
        for (place, answer) in watch.answers.iter().filter(|(_, answer)| answer.compacted > 0) {
            let is_real = answer.compacted <= self.input.compactions.possible_before(place.line);
            let next = heard.next.unwrap_or(u64::MAX);
            self.resumable.hold(is_real && next < answer.compacted, || {
                let what = format!(
                    "{} was canceled for compaction to {}, but it waited for {next}, and at most {} was compacted",
                    name(watch),
                    answer.compacted,
                    self.input.compactions.possible_before(place.line)
                );
                (what, vec![watch.opened.line, place.line])
            });
        }
    }
}
