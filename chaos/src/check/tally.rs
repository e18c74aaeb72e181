//! Counts how often a property was put to the test, and keeps what broke it.

use crate::verdict::{Finding, Violation};

/// More violations of one property than this are only counted: a run that is all wrong stays readable.
const SHOWN_MAX: usize = 50;

/// One property under judgement.
#[derive(Clone, Debug)]
pub struct Tally {
    property: &'static str,
    checked: u64,
    violations: Vec<Violation>,
    unshown: u64,
    inconclusive: Option<String>,
}

impl Tally {
    pub fn of(property: &'static str) -> Self {
        Self { property, checked: 0, violations: Vec::new(), unshown: 0, inconclusive: None }
    }

    /// One test of the property: it holds, or `broken` tells what is wrong and which lines show it.
    pub fn hold(&mut self, holds: bool, broken: impl FnOnce() -> (String, Vec<u64>)) {
        self.checked += 1;
        if !holds {
            self.violate(broken);
        }
    }

    /// One test of the property: what is wrong, if anything, and which lines show it.
    pub fn test(&mut self, wrong: Option<(String, Vec<u64>)>) {
        self.checked += 1;
        if let Some(wrong) = wrong {
            self.violate(|| wrong);
        }
    }

    /// A violation found by a test that is counted already.
    pub fn violate(&mut self, broken: impl FnOnce() -> (String, Vec<u64>)) {
        if self.violations.len() == SHOWN_MAX {
            self.unshown += 1;
            return;
        }
        let (what, mut lines) = broken();
        lines.sort_unstable();
        lines.dedup();
        self.violations.push(Violation { what, lines });
    }

    /// It cannot be judged in full; the first reason is kept.
    pub fn give_up(&mut self, reason: impl Into<String>) {
        self.inconclusive.get_or_insert(reason.into());
    }

    pub fn finish(mut self) -> Finding {
        if self.unshown > 0 {
            let what = format!("… and {} more like these", self.unshown);
            self.violations.push(Violation { what, lines: Vec::new() });
        }
        Finding {
            property: self.property.to_owned(),
            checked: self.checked,
            violations: self.violations,
            inconclusive: self.inconclusive,
        }
    }
}

/// The finding of a property that cannot be judged at all.
pub fn unjudged(property: &'static str, reason: &str) -> Finding {
    let mut tally = Tally::of(property);
    tally.give_up(reason);
    tally.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn what_was_never_tested_is_no_pass() {
        assert_eq!(Tally::of("p").finish().verdict(), Verdict::Inconclusive);
        let mut tally = Tally::of("p");
        tally.hold(true, || unreachable!("it holds"));
        assert_eq!(tally.finish().verdict(), Verdict::Pass);
    }

    #[test]
    fn a_flood_of_violations_is_counted() {
        let mut tally = Tally::of("p");
        for line in 0..SHOWN_MAX as u64 + 7 {
            tally.hold(false, || ("wrong".to_owned(), vec![line, 0, line]));
        }
        let finding = tally.finish();
        assert_eq!(finding.verdict(), Verdict::Fail);
        assert_eq!(finding.violations[3].lines, [0, 3]);
        assert_eq!(finding.violations.last().map(|last| last.what.as_str()), Some("… and 7 more like these"));
    }
}
