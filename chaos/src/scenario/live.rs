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
/// Work for the Kubernetes API, which a store does not have.
const NOT_OF_A_STORE: &[&str] = &["objects", "object-watch", "deployments", "fenced"];
/// Of that, what may be done in a namespace of any cluster, and means something there.
const OF_ANY_KUBERNETES: &[&str] = &["objects", "object-watch"];

type Reasons = &'static [(&'static str, &'static str)];

/// Properties that nobody can judge who sees only a part of the keys, and not the machines; with the reason.
const NOT_JUDGED: Reasons = &[
    ("log-dense", "the revisions between ours belong to others"),
    ("hash-equal", "a hash is of everybody's keys"),
    ("member-identity", "it takes the members' hashes"),
    ("revision-errors", "others may compact"),
    ("no-crash", "the servers' logs are not ours"),
    ("core-progress", "no minority is left broken"),
];
/// Further ones, of who sees the Kubernetes API only.
const NOT_OF_OBJECTS: Reasons = &[
    ("log-exact", "API servers do not tell how often a key was written"),
    ("write-kept", NO_STORE),
    ("exactly-once", NO_STORE),
    ("response-exact", NO_STORE),
    ("strict-serializability", NO_STORE),
    ("header-identity", NO_STORE),
    ("header-term", NO_STORE),
    ("header-revision", NO_STORE),
];
const NO_STORE: &str = "the store's own API was not asked";

/// What is known of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Through {
    #[default]
    Store,
    Kubernetes,
}

/// What the owner has agreed to. In a history it is a part of the system's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub through: Through,
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

const KUBERNETES: &str = "+kubernetes";
const FAULTS: &str = "+faults";
const DESTRUCTION: &str = "+destructive";

impl Terms {
    /// `live`, `live+kubernetes+faults` …
    pub fn system(self) -> String {
        let is_kubernetes = self.through == Through::Kubernetes;
        let words = [(is_kubernetes, KUBERNETES), (self.faults, FAULTS), (self.destructive, DESTRUCTION)];
        let said = words.iter().filter(|(is_said, _)| *is_said).map(|(_, word)| *word);
        std::iter::once("live").chain(said).collect()
    }

    /// None, of a cluster that the run started itself.
    pub fn of(begin: &Begin) -> Option<Self> {
        let rest = begin.system.strip_prefix("live")?;
        let through = if rest.contains(KUBERNETES) { Through::Kubernetes } else { Through::Store };
        Some(Self { through, faults: rest.contains(FAULTS), destructive: rest.contains(DESTRUCTION) })
    }

    fn allow(self, work: &Work) -> bool {
        match self.through {
            Through::Store => {
                (self.destructive || !DESTRUCTIVE.contains(&work.workload))
                    && !NOT_OF_A_STORE.contains(&work.workload)
            }
            Through::Kubernetes => OF_ANY_KUBERNETES.contains(&work.workload),
        }
    }

    /// The properties that cannot be judged, and why.
    fn unseen(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let more = match self.through {
            Through::Store => &[][..],
            Through::Kubernetes => NOT_OF_OBJECTS,
        };
        NOT_JUDGED.iter().chain(more).copied()
    }

    fn judges(self, property: &str) -> bool {
        self.unseen().all(|(unseen, _)| unseen != property)
    }
}

/// What a run says that it did not judge: nothing, on a cluster that it started itself.
pub fn not_judged(begin: &Begin) -> Vec<NotJudged> {
    let Some(terms) = Terms::of(begin) else { return Vec::new() };
    let said =
        |property: &str, reason: &str| NotJudged { property: property.to_owned(), reason: reason.to_owned() };
    let mut all: Vec<NotJudged> = terms.unseen().map(|(property, reason)| said(property, reason)).collect();
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
        let work = self.live_work(terms);
        let workloads = work.iter().filter_map(|work| Workload::named(work.workload));
        let claimed = workloads.flat_map(|workload| workload.tests).chain(super::ALWAYS);
        let claimed = claimed.copied().filter(|property| terms.judges(property)).collect();
        let findings = findings.into_iter().filter(|finding| terms.judges(&finding.property)).collect();
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
        for through in [Through::Store, Through::Kubernetes] {
            for (faults, destructive) in [(false, false), (true, false), (false, true), (true, true)] {
                let terms = Terms { through, faults, destructive };
                assert_eq!(Terms::of(&live("S-01", terms)), Some(terms), "{}", terms.system());
            }
        }
        let Event::Begin(ours) = begin() else { unreachable!("it begins") };
        assert_eq!(Terms::of(&ours), None);
        assert_eq!(not_judged(&ours), []);
    }

    #[test]
    fn what_cannot_be_judged_is_said_and_never_passes() {
        for (name, through) in [("S-01", Through::Store), ("A-03", Through::Kubernetes)] {
            let scenario = Scenario::named(name).unwrap();
            let terms = Terms { through, ..Terms::default() };
            let finding = |property: &str| Finding {
                property: property.to_owned(),
                checked: 9,
                violations: Vec::new(),
                inconclusive: None,
            };
            let all = terms.unseen().map(|(property, _)| finding(property)).collect();
            let found = scenario.live_claimed(terms, all);
            let said = not_judged(&live(name, terms));
            for (property, _) in terms.unseen() {
                assert!(found.iter().all(|finding| finding.property != property), "{property} was judged");
                assert!(said.iter().any(|said| said.property == property), "{property} is not said");
            }
            assert!(!found.is_empty());
            assert!(
                found.iter().all(|finding| finding.verdict() == Verdict::Inconclusive),
                "the rest is missing"
            );
        }
    }

    #[test]
    fn each_api_has_its_own_work() {
        let names = |scenario: &str, through| {
            let terms = Terms { through, ..Terms::default() };
            let work = Scenario::named(scenario).unwrap().live_work(terms);
            work.iter().map(|work| work.workload).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("A-03", Through::Kubernetes), "objects object-watch");
        assert_eq!(names("A-03", Through::Store), "kv");
        assert_eq!(
            names("C-10", Through::Kubernetes),
            "",
            "fences are ours, pods cost their nodes something"
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
