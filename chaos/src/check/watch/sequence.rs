//! One watch's events, revision by revision, beside what the log says they should be.

use crate::history::{Change, Watch};
use crate::model::{key_of, revision_of, tells};

use super::shape::is_progress;
use super::{Against, is_asked_for, name, start};

/// How far a watch got.
pub(super) struct Heard<'a> {
    /// What it asked for, of everything that there ever was.
    pub(super) expected: Vec<&'a Change>,
    /// How many of these it was told, or told to be past.
    pub(super) past: usize,
    /// The first revision of which nothing was said; none, if nobody knows where it began.
    pub(super) next: Option<u64>,
}

/// What a stream says next.
enum Word<'w> {
    /// All that it tells of one revision, and the lines that tell it; whether more was announced.
    Revision {
        revision: u64,
        changes: Vec<&'w Change>,
        lines: Vec<u64>,
        is_cut: bool,
    },
    Progress {
        revision: u64,
        line: u64,
    },
}

impl<'a> Against<'_, 'a> {
    pub(super) fn sequence(&mut self, watch: &Watch<'_>) -> Heard<'a> {
        let Some(start) = start(watch) else { return Heard { expected: Vec::new(), past: 0, next: None } };
        let (key, end) = (watch.open.key.as_str(), watch.open.end.as_deref());
        let mut expected = self.known.model.between(key, end, start, u64::MAX);
        expected.retain(|change| is_asked_for(watch, change));
        let mut walk = Walk { watch, expected, past: 0, next: start, start };
        for word in words(watch) {
            match word {
                Word::Revision { revision, changes, lines, is_cut } => {
                    walk.skip_to(revision, &lines, self);
                    walk.compare(revision, &changes, &lines, is_cut, self);
                }
                Word::Progress { revision, line } => walk.progress(revision, line, self),
            }
        }
        Heard { expected: walk.expected, past: walk.past, next: Some(walk.next) }
    }
}

struct Walk<'w, 'a> {
    watch: &'w Watch<'w>,
    expected: Vec<&'a Change>,
    past: usize,
    next: u64,
    start: u64,
}

impl Walk<'_, '_> {
    /// Everything below a revision must have been told.
    fn skip_to(&mut self, revision: u64, lines: &[u64], against: &mut Against<'_, '_>) {
        let is_first = self.next == self.start;
        let tally = if is_first { &mut against.resumable } else { &mut against.reliable };
        let missed = self.missed_before(revision);
        tally.hold(missed.is_none(), || {
            let (key, at) = missed.unwrap_or_default();
            let what = format!(
                "{} from {} told revision {revision}, but not {key} at {at}",
                name(self.watch),
                self.start
            );
            (what, lines_of(self.watch, lines, against.known.model.line(at)))
        });
    }

    /// The first that was left out, if one was; those are not waited for any more.
    fn missed_before(&mut self, revision: u64) -> Option<(String, u64)> {
        let missed = *self.expected.get(self.past).filter(|change| revision_of(change) < revision)?;
        self.past +=
            self.expected[self.past..].iter().take_while(|change| revision_of(change) < revision).count();
        Some((key_of(missed).to_owned(), revision_of(missed)))
    }

    fn compare(
        &mut self,
        revision: u64,
        changes: &[&Change],
        lines: &[u64],
        is_cut: bool,
        against: &mut Against<'_, '_>,
    ) {
        let watch = self.watch;
        if revision < self.next {
            // Out of order, or again, which others judge; but never before the start.
            against.resumable.hold(revision >= self.start, || {
                let what = format!("{} from {} told revision {revision}", name(watch), self.start);
                (what, lines_of(watch, lines, None))
            });
            return;
        }
        let is_beyond = !against.known.is_whole && revision > against.known.model.last();
        if is_beyond {
            return against.reliable.give_up("the log was only watched, and not to its end");
        }
        let all = &self.expected[self.past..];
        let count = all.iter().take_while(|change| revision_of(change) == revision).count();
        let expected = if is_cut { &all[..count.min(changes.len())] } else { &all[..count] };
        let are_told = changes.len() == expected.len()
            && changes.iter().zip(expected).all(|(told, change)| tells(told, change));
        against.reliable.hold(are_told, || {
            let what = format!("{} told of revision {revision}: {changes:?}, not {expected:?}", name(watch));
            (what, lines_of(watch, lines, against.known.model.line(revision)))
        });
        if is_cut {
            self.past += expected.len();
            self.next = revision;
        } else {
            self.past += count;
            self.next = revision + 1;
        }
    }

    fn progress(&mut self, revision: u64, line: u64, against: &mut Against<'_, '_>) {
        let missed = self.missed_before(revision + 1);
        against.progress.hold(missed.is_none(), || {
            let (key, at) = missed.unwrap_or_default();
            let what = format!("{} was told progress to {revision}, but not {key} at {at}", name(self.watch));
            (what, lines_of(self.watch, &[line], against.known.model.line(at)))
        });
        self.next = self.next.max(revision + 1);
    }
}

fn words<'w>(watch: &'w Watch<'_>) -> Vec<Word<'w>> {
    let mut words: Vec<Word<'w>> = Vec::new();
    for (place, answer) in &watch.answers {
        if is_progress(answer) {
            words.push(Word::Progress { revision: answer.header.revision, line: place.line });
        }
        for event in &answer.events {
            let (of, change) = (revision_of(&event.change), &event.change);
            match words.last_mut() {
                Some(Word::Revision { revision, changes, lines, is_cut }) if *revision == of => {
                    changes.push(change);
                    if lines.last() != Some(&place.line) {
                        lines.push(place.line);
                    }
                    *is_cut = answer.fragment;
                }
                _ => {
                    let (changes, lines) = (vec![change], vec![place.line]);
                    words.push(Word::Revision { revision: of, changes, lines, is_cut: answer.fragment });
                }
            }
        }
    }
    // Only the last revision of a fragment goes on, and only the stream's end can cut it.
    let count = words.len();
    for word in words.iter_mut().take(count.saturating_sub(1)) {
        if let Word::Revision { is_cut, .. } = word {
            *is_cut = false;
        }
    }
    words
}

fn lines_of(watch: &Watch<'_>, told: &[u64], log: Option<u64>) -> Vec<u64> {
    [watch.opened.line].into_iter().chain(told.iter().copied()).chain(log).collect()
}
