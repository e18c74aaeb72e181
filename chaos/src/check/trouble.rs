//! When something was broken, and which member may have begun a new life meanwhile.
//!
//! A fault is told when it is done: most take a moment, some are a course of their own.

use std::collections::BTreeMap;

use crate::history::{FaultCourse, History};

/// Faults that leave a process alive; all others may end it.
const HARMLESS: [&str; 10] = [
    "pause",
    "partition",
    "impair",
    "shift-clock",
    "move-leader",
    "compact",
    "defragment",
    "snapshot",
    "back-up",
    "block-log",
];

/// Faults that are under way for a while before they are told, and how long at most.
const LONG: [&str; 9] = [
    "restart",
    "crash-loop",
    "damage",
    "wipe",
    "remove-member",
    "add-member",
    "swap-data",
    "clone-data",
    "put-back",
];
const LONG_NS_MAX: u64 = 60_000_000_000;

/// From a fault's beginning to its end, in the run's nanoseconds.
type Span = (u64, u64);

/// All faults of a run.
pub struct Trouble<'a> {
    all: Vec<Span>,
    /// By member, when its process may have ended and begun.
    deadly: BTreeMap<&'a str, Vec<Span>>,
}

impl<'a> Trouble<'a> {
    pub fn of(history: &'a History) -> Self {
        let mut trouble = Self { all: Vec::new(), deadly: BTreeMap::new() };
        for course in history.faults() {
            let Some(span) = span(&course) else { continue };
            trouble.all.push(span);
            if !HARMLESS.contains(&course.fault.kind.as_str()) {
                for member in &course.fault.target {
                    trouble.deadly.entry(member).or_default().push(span);
                }
            }
        }
        trouble
    }

    /// Whether nothing was broken from one moment to another.
    pub fn is_quiet(&self, from: u64, to: u64) -> bool {
        self.all.iter().all(|(start, end)| *end < from || to < *start)
    }

    /// The number of the life that a member led from one moment to another; none, if it may have ended between.
    pub fn life(&self, member: &str, from: u64, to: u64) -> Option<usize> {
        let spans = self.deadly.get(member).map_or(&[][..], Vec::as_slice);
        let is_ending = spans.iter().any(|(start, end)| from <= *end && *start <= to);
        let before = spans.iter().filter(|(_, end)| *end < from).count();
        (!is_ending).then_some(before)
    }
}

fn span(course: &FaultCourse<'_>) -> Option<Span> {
    let (first, _) = course.steps.first()?;
    let untold = if LONG.contains(&course.fault.kind.as_str()) { LONG_NS_MAX } else { 0 };
    let end = course.healed().map_or(u64::MAX, |healed| healed.at);
    Some((first.at.saturating_sub(untold), end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Step;
    use crate::history::script::Script;

    const SECOND: u64 = 1_000_000_000;

    /// A fault of `n1` from second 100 to 110.
    fn history(kind: &str, is_healed: bool) -> History {
        let mut script = Script::begin();
        script.wait_ms(100_000);
        script.fault(1, kind, "n1", Step::Installed { evidence: String::new() });
        script.wait_ms(10_000);
        if is_healed {
            script.fault(1, kind, "n1", Step::Healed { evidence: String::new() });
        }
        script.history()
    }

    fn lives(kind: &str, is_healed: bool) -> [Option<usize>; 3] {
        let history = history(kind, is_healed);
        let trouble = Trouble::of(&history);
        [90, 105, 120].map(|second| trouble.life("n1", second * SECOND, second * SECOND))
    }

    #[test]
    fn a_life_ends_with_what_may_end_it() {
        assert_eq!(lives("pause", true), [Some(0), Some(0), Some(0)]);
        assert_eq!(lives("kill", true), [Some(0), None, Some(1)]);
        assert_eq!(lives("kill", false), [Some(0), None, None]);
        assert_eq!(lives("restart", true), [None, None, Some(1)], "it began before it was told");
        let history = history("kill", true);
        assert_eq!(Trouble::of(&history).life("n2", 0, 200 * SECOND), Some(0), "another's fault");
    }

    #[test]
    fn it_is_quiet_when_nothing_is_broken() {
        let history = history("pause", true);
        let trouble = Trouble::of(&history);
        assert!(trouble.is_quiet(90 * SECOND, 95 * SECOND));
        assert!(!trouble.is_quiet(90 * SECOND, 105 * SECOND));
        assert!(!trouble.is_quiet(105 * SECOND, 120 * SECOND));
        assert!(trouble.is_quiet(111 * SECOND, 120 * SECOND));
    }
}
