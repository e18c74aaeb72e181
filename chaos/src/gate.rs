//! Runs whose verdicts are known before: what every change has to pass, and what shows that the harness tells right from
//! wrong on a system that is not ours.
//!
//! A run is as expected when it passes, or when exactly the named properties are broken: one that fails for another
//! reason is no more welcome than one that passes.

use crate::bugs::{self, Trap};
use crate::cluster::System;
use crate::dice::Dice;
use crate::report::Summary;
use crate::verdict::Verdict;

/// A run, and what it must come to.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Of the catalogue.
    pub scenario: &'static str,
    pub system: System,
    pub seed: u64,
    /// For how long faults go on.
    pub seconds: u64,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Pass,
    /// Some of these are broken, and nothing else is.
    Broken(&'static [&'static str]),
    /// It passes, or these are broken, which are known to be now and then.
    Tolerated(&'static [&'static str]),
}

/// Of every change: some scenarios of each kind of fault, shortened.
pub const GATE: &[Trial] = &[
    ours("calm", 8),
    // Seeds whose plans are short, and have all that is required.
    Trial { seed: 42, ..ours("S-01", 12) },
    ours("S-02", 16),
    Trial { seed: 28, ..ours("S-03", 12) },
    ours("S-06", 12),
    ours("S-12", 10),
    Trial { seed: 10, ..ours("S-17", 16) },
    Trial { expected: Expected::Broken(&["lock-set"]), ..ours("lock-set", 12) },
];

/// Of Debian's etcd 3.4.23, which has lost deletions (etcd issue 18089), beside ours, which must not. Now and then it tells
/// a progress below what it has told already (etcd issue 15220).
pub const CALIBRATION: &[Trial] = &[
    Trial {
        expected: Expected::Broken(&[
            "watch-reliable",
            "watch-resumable",
            "watch-progress-complete",
            "log-heard",
        ]),
        ..theirs("tombstones", 10)
    },
    ours("tombstones", 10),
    Trial { expected: Expected::Tolerated(&["watch-bookmarkable"]), ..theirs("calm", 10) },
    ours("calm", 10),
    Trial { expected: Expected::Broken(&["lock-set"]), ..theirs("lock-set", 15) },
    Trial { expected: Expected::Broken(&["lock-set"]), ..ours("lock-set", 15) },
];

const fn ours(scenario: &'static str, seconds: u64) -> Trial {
    Trial { scenario, system: System::Navarch, seed: 1, seconds, expected: Expected::Pass }
}

const fn theirs(scenario: &'static str, seconds: u64) -> Trial {
    Trial { system: System::Etcd, ..ours(scenario, seconds) }
}

/// So many of the bugs on purpose, chosen by a text such as a commit's name: the same for the same text, and each bug
/// has its turn.
pub fn turn(text: &str, count: usize) -> Vec<&'static Trap> {
    let mut order: Vec<&Trap> = bugs::ALL.iter().collect();
    Dice::of(0, text, 0).shuffle(&mut order);
    order.truncate(count);
    order
}

impl Expected {
    /// Whether the run came to that.
    pub fn is_met(&self, summary: &Summary) -> bool {
        let broken: Vec<&str> = summary
            .properties
            .iter()
            .filter(|property| property.violations > 0)
            .map(|property| property.property.as_str())
            .collect();
        match self {
            Self::Pass => summary.verdict == Verdict::Pass,
            Self::Tolerated(properties) => {
                summary.verdict == Verdict::Pass || Self::Broken(properties).is_met(summary)
            }
            Self::Broken(properties) => {
                summary.verdict == Verdict::Fail
                    && !broken.is_empty()
                    && broken.iter().all(|property| properties.contains(property))
            }
        }
    }

    /// As people read it.
    pub fn tell(&self) -> String {
        match self {
            Self::Pass => "must pass".to_owned(),
            Self::Broken(properties) => format!("must break {} and nothing else", properties.join(" or ")),
            Self::Tolerated(properties) => format!("may break {} and nothing else", properties.join(" or ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{Script, get, put};
    use crate::report::Judged;
    use crate::scenario::{Plan, Scenario, Stroke};
    use crate::verdict::{Finding, Violation};

    #[test]
    fn every_trial_is_long_enough_for_what_its_scenario_requires() {
        for trial in GATE.iter().chain(CALIBRATION) {
            let scenario = Scenario::named(trial.scenario).unwrap();
            let plan = Plan::new(scenario, trial.seed, trial.seconds * 1000);
            for plague in scenario.plagues {
                let kind = plague.blow.kind();
                let of_kind =
                    |stroke: &Stroke| matches!(stroke, Stroke::Aimed { blow, .. } if blow.kind() == kind);
                let planned = plan.strikes.iter().filter(|strike| of_kind(&strike.stroke)).count() as u64;
                assert!(
                    planned >= scenario.require.faults,
                    "{} for {} s has {planned} of kind {kind}",
                    trial.scenario,
                    trial.seconds
                );
            }
        }
    }

    #[test]
    fn a_text_names_bugs_and_texts_together_name_all() {
        let names = |text: &str| turn(text, 3).iter().map(|trap| trap.bug.name()).collect::<Vec<_>>();
        assert_eq!(names("d2dfa7d").len(), 3);
        assert_eq!(names("d2dfa7d"), names("d2dfa7d"));
        let mut seen: Vec<_> = (0..200).flat_map(|commit| names(&commit.to_string())).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), bugs::ALL.len());
    }

    /// What a run that broke these came to.
    fn summary(broken: &[&str], checked: u64) -> Summary {
        let mut script = Script::begin();
        script.run(1, put("a", "1"));
        script.run(1, get("a"));
        let finding = |property: &&str| Finding {
            property: (*property).to_owned(),
            checked,
            violations: if broken.contains(property) {
                vec![Violation { what: "it is broken".to_owned(), lines: vec![1] }]
            } else {
                Vec::new()
            },
            inconclusive: None,
        };
        let findings: Vec<Finding> = ["lock-set", "no-crash"].iter().map(finding).collect();
        let history = script.history();
        Judged { history: &history, findings: &findings, coverage: &[], trouble: None }.summary()
    }

    #[test]
    fn only_what_is_expected_is_as_expected() {
        let fails = Expected::Broken(&["lock-set"]);
        let may_fail = Expected::Tolerated(&["lock-set"]);
        assert!(may_fail.is_met(&summary(&[], 5)) && may_fail.is_met(&summary(&["lock-set"], 5)));
        assert!(!may_fail.is_met(&summary(&["lock-set", "no-crash"], 5)));
        assert!(Expected::Pass.is_met(&summary(&[], 5)));
        assert!(!Expected::Pass.is_met(&summary(&["lock-set"], 5)));
        assert!(!Expected::Pass.is_met(&summary(&[], 0)), "inconclusive is no pass");
        assert!(fails.is_met(&summary(&["lock-set"], 5)));
        assert!(!fails.is_met(&summary(&[], 5)), "it must fail");
        assert!(!fails.is_met(&summary(&["lock-set", "no-crash"], 5)), "and for no other reason");
    }
}
