//! What any two watches tell of the same key at the same revision is the same, whichever members they are at.

use crate::history::{Change, Watch};
use crate::model::{key_of, revision_of, tells};
use crate::verdict::Finding;

use super::super::tally::Tally;
use super::{events, name};

pub(super) fn check(watches: &[Watch<'_>]) -> Finding {
    let mut tally = Tally::of("watch-members");
    let mut told: Vec<Told<'_>> = Vec::new();
    for (index, watch) in watches.iter().enumerate() {
        told.extend(events(watch).map(|(place, event)| Told {
            change: &event.change,
            line: place.line,
            watch: index,
        }));
    }
    told.sort_by_key(|told| (revision_of(told.change), key_of(told.change)));
    for pair in told.windows(2) {
        let (one, other) = (&pair[0], &pair[1]);
        let is_same_event = revision_of(one.change) == revision_of(other.change)
            && key_of(one.change) == key_of(other.change)
            && one.watch != other.watch;
        if is_same_event {
            let is_same = tells(one.change, other.change) || tells(other.change, one.change);
            tally.hold(is_same, || {
                let (first, second) = (name(&watches[one.watch]), name(&watches[other.watch]));
                let what = format!("{first} told {:?}, and {second} {:?}", one.change, other.change);
                (what, vec![one.line, other.line])
            });
        }
    }
    tally.finish()
}

struct Told<'w> {
    change: &'w Change,
    line: u64,
    watch: usize,
}
