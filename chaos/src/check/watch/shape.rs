//! What can be seen from a stream alone: that it tells only what was asked for, in order, once, in whole revisions, and
//! nothing old after a word of progress.

use crate::history::{Place, Watch, WatchAnswer};
use crate::model::{key_of, revision_of};
use crate::verdict::Finding;

use super::super::Input;
use super::super::tally::Tally;
use super::{events, is_asked_for, name};

const PROPERTIES: [&str; 5] =
    ["watch-filter", "watch-ordered", "watch-unique", "watch-atomic", "watch-bookmarkable"];

pub(super) fn check(input: &Input<'_>) -> Vec<Finding> {
    let [filter, ordered, unique, atomic, bookmarkable] = PROPERTIES.map(Tally::of);
    let mut shape = Shape { filter, ordered, unique, atomic, bookmarkable };
    for watch in &input.watches {
        shape.filter(watch);
        shape.ordered(watch);
        shape.unique(watch);
        shape.atomic(watch);
        shape.bookmarkable(watch);
    }
    let Shape { filter, ordered, unique, atomic, bookmarkable } = shape;
    [filter, ordered, unique, atomic, bookmarkable].map(Tally::finish).to_vec()
}

struct Shape {
    filter: Tally,
    ordered: Tally,
    unique: Tally,
    atomic: Tally,
    bookmarkable: Tally,
}

impl Shape {
    fn filter(&mut self, watch: &Watch<'_>) {
        for (place, event) in events(watch) {
            self.filter.hold(is_asked_for(watch, &event.change), || {
                let what = format!("{} told {:?}, which it did not ask for", name(watch), event.change);
                (what, vec![watch.opened.line, place.line])
            });
        }
    }

    fn ordered(&mut self, watch: &Watch<'_>) {
        let mut last = (0, 0);
        for (place, event) in events(watch) {
            let revision = revision_of(&event.change);
            self.ordered.hold(revision >= last.0, || {
                (
                    format!("{} told revision {revision} after {}", name(watch), last.0),
                    vec![last.1, place.line],
                )
            });
            last = last.max((revision, place.line));
        }
    }

    fn unique(&mut self, watch: &Watch<'_>) {
        let mut told: Vec<(u64, &str, u64)> = events(watch)
            .map(|(place, event)| (revision_of(&event.change), key_of(&event.change), place.line))
            .collect();
        told.sort_unstable();
        for pair in told.windows(2) {
            let ((revision, key, first), (again_revision, again_key, second)) = (pair[0], pair[1]);
            self.unique.hold((revision, key) != (again_revision, again_key), || {
                (format!("{} told {key} at revision {revision} twice", name(watch)), vec![first, second])
            });
        }
    }

    /// A revision goes on in the next answer only if this one says that it is a fragment, to a client that takes them.
    fn atomic(&mut self, watch: &Watch<'_>) {
        let with_events: Vec<&(Place, &WatchAnswer)> =
            watch.answers.iter().filter(|(_, answer)| !answer.events.is_empty()).collect();
        for (place, answer) in &with_events {
            self.atomic.hold(!answer.fragment || watch.open.fragment, || {
                (
                    format!("{} was told a fragment, and takes none", name(watch)),
                    vec![watch.opened.line, place.line],
                )
            });
        }
        for pair in with_events.windows(2) {
            let ((place, answer), (next_place, next)) = (pair[0], pair[1]);
            let last = answer.events.last().map(|event| revision_of(&event.change));
            let first = next.events.first().map(|event| revision_of(&event.change));
            self.atomic.hold(last != first || answer.fragment, || {
                let what = format!("{} was told revision {} in two answers", name(watch), last.unwrap_or(0));
                (what, vec![place.line, next_place.line])
            });
        }
    }

    fn bookmarkable(&mut self, watch: &Watch<'_>) {
        let (mut progress, mut last) = ((0, 0), (0, 0));
        for (place, answer) in &watch.answers {
            if is_progress(answer) {
                let reached = answer.header.revision;
                let (lowest, line) = progress.max(last);
                self.bookmarkable.hold(reached >= lowest, || {
                    (
                        format!("{} is told progress to {reached} after {lowest}", name(watch)),
                        vec![line, place.line],
                    )
                });
                progress = progress.max((reached, place.line));
            }
            for revision in answer.events.iter().map(|event| revision_of(&event.change)) {
                if progress.0 > 0 {
                    self.bookmarkable.hold(revision > progress.0, || {
                        let what = format!(
                            "{} told revision {revision} after progress to {}",
                            name(watch),
                            progress.0
                        );
                        (what, vec![progress.1, place.line])
                    });
                }
                last = last.max((revision, place.line));
            }
        }
    }
}

/// A word that everything up to the header's revision was told.
pub(super) fn is_progress(answer: &WatchAnswer) -> bool {
    answer.events.is_empty() && !answer.created && answer.canceled.is_none() && !answer.fragment
}
