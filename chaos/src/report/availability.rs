//! When the cluster took writes and when it did not: acknowledgments, failures and terms over time.

use super::calls::{Call, Class};

/// Every list is sorted by its first number; times are nanoseconds since the run began.
#[derive(Debug)]
pub(super) struct Availability {
    /// Between which gaps lie: the ends of the acknowledged writes, the first attempt at one, and the last one's end.
    marks: Vec<u64>,
    /// Acknowledged writes by their beginning, each with the earliest end of all that began no earlier.
    begun: Vec<(u64, u64)>,
    /// Ends of the calls that failed.
    refused: Vec<u64>,
    unknown: Vec<u64>,
    /// When an answer first bore a higher term than all before.
    terms: Vec<u64>,
}

/// A stretch in which no write was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Gap {
    pub(super) fn ns(self) -> u64 {
        self.until.saturating_sub(self.from)
    }
}

impl Availability {
    pub(super) fn of(calls: &[Call<'_>]) -> Self {
        let mut begun = Vec::new();
        let (mut refused, mut unknown) = (Vec::new(), Vec::new());
        let mut headers = Vec::new();
        let mut attempts: Option<(u64, u64)> = None;
        for call in calls {
            if call.is_write() {
                let end = call.end.unwrap_or(call.at);
                attempts = Some(attempts.map_or((call.at, end), |(first, last)| (first, last.max(end))));
            }
            let Some(end) = call.end else { continue };
            match call.class() {
                Class::Ok => headers.push((end, call.header().map_or(0, |header| header.term))),
                Class::Refused => refused.push(end),
                Class::Unknown => unknown.push(end),
            }
            if call.is_acknowledged_write() {
                begun.push((call.at, end));
            }
        }
        let mut marks: Vec<u64> = begun.iter().map(|(_, end)| *end).collect();
        marks.extend(attempts.into_iter().flat_map(|(first, last)| [first, last]));
        marks.sort_unstable();
        refused.sort_unstable();
        unknown.sort_unstable();
        Self { marks, begun: earliest_ends(begun), refused, unknown, terms: rises(headers) }
    }

    /// When the first write that began no earlier than `at` was acknowledged.
    pub(super) fn first_ack_of_new_write(&self, at: u64) -> Option<u64> {
        let place = self.begun.partition_point(|(begin, _)| *begin < at);
        self.begun.get(place).map(|(_, end)| *end)
    }

    /// The longest gap that has a part in this span. It may begin before the span, and end after it.
    pub(super) fn longest_gap(&self, from: u64, until: u64) -> Option<Gap> {
        let first = self.marks.partition_point(|mark| *mark <= from).saturating_sub(1);
        let last = self.marks.partition_point(|mark| *mark < until);
        let marks = self.marks.get(first..=last.min(self.marks.len().checked_sub(1)?))?;
        let gaps = marks.windows(2).map(|pair| Gap { from: pair[0], until: pair[1] });
        gaps.rev().max_by_key(|gap| gap.ns())
    }

    /// How many calls ended refused, and unknown, in this span.
    pub(super) fn failures(&self, from: u64, until: u64) -> (u64, u64) {
        (within(&self.refused, from, until), within(&self.unknown, from, until))
    }

    /// How many times a higher term was seen in this span.
    pub(super) fn leader_changes(&self, from: u64, until: u64) -> u64 {
        within(&self.terms, from, until)
    }
}

fn within(sorted: &[u64], from: u64, until: u64) -> u64 {
    let (first, end) = (sorted.partition_point(|at| *at < from), sorted.partition_point(|at| *at <= until));
    end.saturating_sub(first) as u64
}

fn earliest_ends(mut begun: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    begun.sort_unstable();
    let mut earliest = u64::MAX;
    for (_, end) in begun.iter_mut().rev() {
        earliest = earliest.min(*end);
        *end = earliest;
    }
    begun
}

/// From (time, term) to the times at which the highest term rose. The first term is where it began.
fn rises(mut headers: Vec<(u64, u64)>) -> Vec<u64> {
    headers.sort_unstable();
    let mut highest = headers.first().map_or(0, |(_, term)| *term);
    headers
        .into_iter()
        .filter_map(|(at, term)| {
            let is_rise = term > highest;
            highest = highest.max(term);
            is_rise.then_some(at)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{Script, get, put};
    use crate::report::calls::calls;

    const MS: u64 = 1_000_000;

    /// Acknowledged at 2 ms and 106 ms, refused at 108 ms, acknowledged at 210 ms, and a read long after.
    fn availability() -> Availability {
        let mut script = Script::begin();
        script.run(1, put("r", "a"));
        script.wait_ms(100);
        script.call(1, put("r", "b"));
        script.event(1, crate::history::Event::Note { text: String::new() });
        script.ok(1);
        script.call(1, put("r", "c"));
        script.refused(1, "Unavailable", "no leader");
        script.wait_ms(100);
        script.run(1, put("r", "d"));
        script.wait_ms(900);
        script.run(1, get("r"));
        Availability::of(&calls(&script.lines()))
    }

    #[test]
    fn gaps_are_seen_from_inside_and_from_both_sides() {
        let availability = availability();
        let gap = |from, until| {
            availability.longest_gap(from * MS, until * MS).map(|gap| (gap.from / MS, gap.until / MS))
        };
        expect_test::expect!["Some((106, 210)) Some((3, 106)) Some((106, 210))"].assert_eq(&format!(
            "{:?} {:?} {:?}",
            gap(0, 1_000),
            gap(50, 60),
            gap(150, 151)
        ));
        assert_eq!(Availability::of(&[]).longest_gap(0, 1), None);
    }

    #[test]
    fn only_writes_that_began_later_count_as_first() {
        let availability = availability();
        let first = |at| availability.first_ack_of_new_write(at * MS).map(|at| at / MS);
        expect_test::expect!["Some(3) Some(106) Some(210) None"].assert_eq(&format!(
            "{:?} {:?} {:?} {:?}",
            first(0),
            first(104),
            first(109),
            first(300)
        ));
        assert_eq!(availability.failures(0, 1_000 * MS), (1, 0));
        assert_eq!(availability.failures(0, 50 * MS), (0, 0));
    }

    #[test]
    fn a_write_that_is_never_acknowledged_again_is_a_gap() {
        let mut script = Script::begin();
        script.run(1, put("r", "a"));
        script.wait_ms(500);
        script.call(1, put("r", "b"));
        script.unknown(1);
        let availability = Availability::of(&calls(&script.lines()));
        assert_eq!(availability.longest_gap(0, 1_000 * MS).map(|gap| gap.ns() / MS), Some(502));
    }

    #[test]
    fn a_term_rises_once() {
        assert_eq!(rises(vec![(5, 2), (1, 2), (7, 3), (8, 3), (9, 2), (10, 5)]), [7, 10]);
        assert!(rises(Vec::new()).is_empty());
    }
}
