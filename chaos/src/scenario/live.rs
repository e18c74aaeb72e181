//! What a scenario means on a cluster that belongs to somebody: less is done, and less can be judged.

use serde::{Deserialize, Serialize};

use super::{Scenario, Work};
use crate::history::Begin;
use crate::history::History;
use crate::report::Coverage;
use crate::verdict::Finding;
use crate::workloads::Workload;

/// Work that does something to everybody's keys.
const DESTRUCTIVE: &[&str] = &["compact", "tombstone"];
/// Work for API servers, which are not among the endpoints.
const NOT_OF_A_STORE: &[&str] = &["objects", "deployments", "fenced"];

/// Properties that nobody can judge who sees only a part of the keys, and not the machines; with the reason.
const NOT_JUDGED: &[(&str, &str)] = &[
    ("log-dense", "the revisions between ours belong to others"),
    ("hash-equal", "a hash is of everybody's keys"),
    ("member-identity", "it takes the members' hashes"),
    ("revision-errors", "others may compact"),
    ("no-crash", "the servers' logs are not ours"),
    ("core-progress", "no minority is left broken"),
];

/// What the owner has agreed to. In a history it is a part of the system's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub faults: bool,
    /// Compaction and the like.
    pub destructive: bool,
}

/// A property that was not judged, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotJudged {
    pub property: String,
    pub reason: String,
}

impl Terms {
    /// `live`, `live+faults` …
    pub fn system(self) -> String {
        let words = [(self.faults, "+faults"), (self.destructive, "+destructive")];
        let said = words.iter().filter(|(is_said, _)| *is_said).map(|(_, word)| *word);
        std::iter::once("live").chain(said).collect()
    }

    /// None, of a cluster that the run started itself.
    pub fn of(begin: &Begin) -> Option<Self> {
        let rest = begin.system.strip_prefix("live")?;
        Some(Self { faults: rest.contains("+faults"), destructive: rest.contains("+destructive") })
    }

    fn allow(self, work: &Work) -> bool {
        (self.destructive || !DESTRUCTIVE.contains(&work.workload))
            && !NOT_OF_A_STORE.contains(&work.workload)
    }
}

/// What a run says that it did not judge: nothing, on a cluster that it started itself.
pub fn not_judged(begin: &Begin) -> Vec<NotJudged> {
    let Some(terms) = Terms::of(begin) else { return Vec::new() };
    let said =
        |property: &str, reason: &str| NotJudged { property: property.to_owned(), reason: reason.to_owned() };
    let mut all: Vec<NotJudged> =
        NOT_JUDGED.iter().map(|(property, reason)| said(property, reason)).collect();
    let left_out = Scenario::named(&begin.scenario).map_or(&[][..], |scenario| scenario.work);
    for work in left_out.iter().filter(|work| !terms.allow(work)) {
        all.push(said(&format!("everything about {}", work.workload), "that work was left out"));
    }
    if !terms.faults {
        all.push(said("everything about faults", "nothing was broken"));
    }
    all
}

impl Scenario {
    /// The work that may be done on those terms.
    pub fn live_work(&self, terms: Terms) -> Vec<Work> {
        self.work.iter().copied().filter(|work| terms.allow(work)).collect()
    }

    /// As [`Self::claimed`], of a live cluster.
    pub fn live_claimed(&self, terms: Terms, findings: Vec<Finding>) -> Vec<Finding> {
        let is_judged = |property: &str| NOT_JUDGED.iter().all(|(not, _)| *not != property);
        let work = self.live_work(terms);
        let workloads = work.iter().filter_map(|work| Workload::named(work.workload));
        let claimed = workloads.flat_map(|workload| workload.tests).chain(super::ALWAYS);
        let claimed = claimed.copied().filter(|property| is_judged(property)).collect();
        let findings = findings.into_iter().filter(|finding| is_judged(&finding.property)).collect();
        super::among(claimed, findings)
    }

    /// As [`Self::coverage`], of a live cluster: faults that were not allowed are not asked for.
    pub fn live_coverage(&self, terms: Terms, history: &History) -> Vec<Coverage> {
        let plagues = if terms.faults { self.plagues } else { &[] };
        Self { plagues, refused: &[], ..*self }.coverage(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Event;
    use crate::history::script::begin;
    use crate::verdict::Verdict;

    fn live(scenario: &str, terms: Terms) -> Begin {
        let Event::Begin(begin) = begin() else { unreachable!("it begins") };
        Begin { system: terms.system(), scenario: scenario.to_owned(), ..begin }
    }

    #[test]
    fn the_terms_are_a_part_of_the_history() {
        for (faults, destructive) in [(false, false), (true, false), (false, true), (true, true)] {
            let terms = Terms { faults, destructive };
            assert_eq!(Terms::of(&live("S-01", terms)), Some(terms), "{}", terms.system());
        }
        let Event::Begin(ours) = begin() else { unreachable!("it begins") };
        assert_eq!(Terms::of(&ours), None);
        assert_eq!(not_judged(&ours), []);
    }

    #[test]
    fn what_cannot_be_judged_is_said_and_never_passes() {
        let scenario = Scenario::named("S-01").unwrap();
        let terms = Terms::default();
        let finding = |property: &str| Finding {
            property: property.to_owned(),
            checked: 9,
            violations: Vec::new(),
            inconclusive: None,
        };
        let all = NOT_JUDGED.iter().map(|(property, _)| finding(property)).collect();
        let found = scenario.live_claimed(terms, all);
        let said = not_judged(&live("S-01", terms));
        for (property, _) in NOT_JUDGED {
            assert!(found.iter().all(|finding| finding.property != *property), "{property} was judged");
            assert!(said.iter().any(|said| said.property == *property), "{property} is not said");
        }
        assert!(
            found.iter().all(|finding| finding.verdict() == Verdict::Inconclusive),
            "the rest is missing"
        );
    }

    #[test]
    fn others_keys_are_not_compacted_unless_that_was_agreed() {
        let scenario = Scenario::named("S-12").unwrap();
        let names = |destructive| {
            let work = scenario.live_work(Terms { destructive, ..Terms::default() });
            work.iter().map(|work| work.workload).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(false), "kv watch");
        assert_eq!(names(true), "kv watch compact tombstone");
    }
}
