//! Everything that a watch promises, stream by stream, and among streams.
//!
//! What a watch tells is held against the log: from its start to the last thing that it said, every change of its keys,
//! whole revisions, in order, once, no word of what is not committed, and nothing left out before a word of progress.

mod complete;
mod members;
mod sequence;
mod shape;

use crate::history::{Change, Place, Watch, WatchEvent};
use crate::model::{key_of, revision_of, spans};
use crate::verdict::Finding;

use super::tally::Tally;
use super::trouble::Trouble;
use super::{Input, Known};

/// Those that need the log.
const OF_LOG: [&str; 6] = [
    "watch-reliable",
    "watch-resumable",
    "watch-previous",
    "watch-never-future",
    "watch-progress-complete",
    "watch-complete",
];

pub fn check(input: &Input<'_>) -> Vec<Finding> {
    let mut findings = shape::check(input);
    findings.push(members::check(&input.watches));
    match &input.known {
        Ok(known) => findings.extend(Against::new(input, known).check()),
        Err(reason) => {
            findings.extend(OF_LOG.iter().map(|property| super::tally::unjudged(property, reason)))
        }
    }
    findings
}

/// Watches held against the log.
struct Against<'i, 'a> {
    input: &'i Input<'a>,
    known: &'i Known<'a>,
    reliable: Tally,
    resumable: Tally,
    previous: Tally,
    never_future: Tally,
    progress: Tally,
    complete: Tally,
}

impl<'i, 'a> Against<'i, 'a> {
    fn new(input: &'i Input<'a>, known: &'i Known<'a>) -> Self {
        let [reliable, resumable, previous, never_future, progress, complete] = OF_LOG.map(Tally::of);
        Self { input, known, reliable, resumable, previous, never_future, progress, complete }
    }

    fn check(mut self) -> Vec<Finding> {
        let trouble = Trouble::of(self.input.history);
        for watch in &self.input.watches {
            for (place, event) in events(watch) {
                self.existed(watch, place, event);
                self.previous(watch, place, event);
            }
            let heard = self.sequence(watch);
            self.was_needed(watch, &heard);
            self.is_complete(watch, &heard, &trouble);
        }
        let Self { reliable, resumable, previous, never_future, progress, complete, .. } = self;
        [reliable, resumable, previous, never_future, progress, complete].map(Tally::finish).to_vec()
    }

    fn existed(&mut self, watch: &Watch<'_>, place: Place, event: &WatchEvent) {
        let revision = revision_of(&event.change);
        if !self.known.is_whole && revision > self.known.model.last() {
            return self.never_future.give_up("the log was only watched, and not to its end");
        }
        let born = self.known.claims.births.line(revision);
        self.never_future.hold(born.is_some_and(|line| line < place.line), || match born {
            None => (format!("{} told revision {revision}, which no log has", name(watch)), vec![place.line]),
            Some(line) => (
                format!("{} told revision {revision} before it was asked for", name(watch)),
                vec![place.line, line],
            ),
        });
    }

    /// What was there before comes along if it was asked for; only what was compacted may be missing.
    fn previous(&mut self, watch: &Watch<'_>, place: Place, event: &WatchEvent) {
        let revision = revision_of(&event.change);
        let model = &self.known.model;
        if !model.has(revision) || revision == model.begin() {
            return;
        }
        let key = key_of(&event.change);
        let before = model.get(key, revision - 1).filter(|_| watch.open.previous);
        let is_gone =
            event.previous.is_none() && revision - 1 < self.input.compactions.possible_before(place.line);
        self.previous.hold(event.previous.as_ref() == before || is_gone, || {
            let what = format!(
                "{} told of {key} at revision {revision} that it was {:?} before, not {before:?}",
                name(watch),
                event.previous
            );
            (what, vec![watch.opened.line, place.line])
        });
    }
}

/// What it told, in order.
fn events<'w>(watch: &'w Watch<'_>) -> impl Iterator<Item = (Place, &'w WatchEvent)> {
    watch.answers.iter().flat_map(|(place, answer)| answer.events.iter().map(|event| (*place, event)))
}

/// Whether it is one of the changes that the watch asked for.
fn is_asked_for(watch: &Watch<'_>, change: &Change) -> bool {
    let filtered = match change {
        Change::Put { .. } => watch.open.no_put,
        Change::Delete { .. } => watch.open.no_delete,
    };
    !filtered && spans(&watch.open.key, watch.open.end.as_deref(), key_of(change))
}

/// The first revision that it asked for; none while a watch from now on has not been told what now is.
fn start(watch: &Watch<'_>) -> Option<u64> {
    if watch.open.start > 0 {
        return Some(watch.open.start);
    }
    let created = watch.answers.iter().find(|(_, answer)| answer.created);
    created.filter(|(_, answer)| answer.canceled.is_none()).map(|(_, answer)| answer.header.revision + 1)
}

fn name(watch: &Watch<'_>) -> String {
    let open = watch.open;
    let keys = match &open.end {
        None => open.key.clone(),
        Some(_) => format!("{}…", open.key),
    };
    format!("watch {} of {keys} at {}", open.watch, open.member)
}
