//! Scenarios: what is done to a cluster and what it claims to stand, as data.
//!
//! A scenario and a seed make a plan; a plan names who is to be struck by role, because who leads is known only then.
//! What a run did becomes a schedule, which is a plan that names members.

mod aim;
mod blow;
mod catalogue;
mod live;
mod plan;

use crate::check::tally::unjudged;
use crate::cluster::Disk;
use crate::history::History;
use crate::report::Coverage;
use crate::verdict::Finding;
use crate::workloads::{Share, Workload};

pub use aim::Aim;
pub use blow::Blow;
pub use catalogue::ALL;
pub use live::{NotJudged, Terms, Through, not_judged};
pub use plan::{Plan, Strike, Stroke};

/// What every run puts to the test.
const ALWAYS: &[&str] = &[
    "log-agreement",
    "log-dense",
    "log-exact",
    "write-kept",
    "exactly-once",
    "response-exact",
    "strict-serializability",
    "header-identity",
    "header-term",
    "header-revision",
    "hash-equal",
    "member-identity",
    "no-crash",
    "converged",
];

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Of the plan's catalogue where it has one: `S-01`.
    pub name: &'static str,
    /// What the system is claimed to stand; one sentence.
    pub claims: &'static str,
    pub servers: u8,
    pub disk: Disk,
    /// Further flags of every Navarch server.
    pub flags: &'static [&'static str],
    /// How many nodes there are that run nothing and say that all is well.
    pub hollow_nodes: u16,
    pub work: &'static [Work],
    pub plagues: &'static [Plague],
    /// What is done when everything else is over.
    pub drill: Option<Drill>,
    /// Whether plagues run at the same time. Otherwise they take turns.
    pub together: bool,
    /// How long faults go on, unless told otherwise.
    pub seconds: u64,
    pub require: Require,
    /// How often calls of the Kubernetes API must have been refused for a reason, at least.
    pub refused: &'static [(&'static str, u64)],
}

/// Work that is done meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub workload: &'static str,
    pub workers: u64,
    pub per_second: u64,
}

/// What ends a cluster, or begins another. After it nothing else is asked of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drill {
    /// All but one lose their data, and the one that is left is recovered.
    LoseQuorum,
    /// Each snapshot that was kept becomes a cluster.
    Restore,
}

impl Drill {
    /// What it puts to the test.
    const fn tests(self) -> &'static [&'static str] {
        match self {
            Self::LoseQuorum => &["quorum-refused", "recovery-told", "restored-exact"],
            Self::Restore => &["restored-exact"],
        }
    }
}

/// A kind of fault that comes again and again.
#[derive(Clone, Copy, Debug)]
pub struct Plague {
    pub blow: Blow,
    /// Milliseconds from the end of one to the next, from … to.
    pub pause_ms: (u64, u64),
    /// Milliseconds that one lasts, from … to.
    pub lasts_ms: (u64, u64),
}

/// What must have happened for a run to mean anything.
#[derive(Clone, Copy, Debug)]
pub struct Require {
    /// Operations that were answered.
    pub ok: u64,
    /// Faults that were seen installed, of each kind of the plagues.
    pub faults: u64,
}

impl Scenario {
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name.eq_ignore_ascii_case(name))
    }

    /// What was found, without properties that a run of it does not claim to test and did not; with those that it
    /// claims to test and nobody judged.
    pub fn claimed(&self, findings: Vec<Finding>) -> Vec<Finding> {
        among(self.properties(), findings)
    }

    /// Whether a plague needs members whose syncs can be held.
    pub fn holds_syncs(&self) -> bool {
        self.plagues.iter().any(|plague| plague.blow.holds_syncs())
    }

    /// Whether a plague needs members whose logs can be held up.
    pub fn gates_logs(&self) -> bool {
        self.plagues.iter().any(|plague| plague.blow.gates_logs())
    }

    /// Whether a plague needs members whose memory can be limited.
    pub fn limits_memory(&self) -> bool {
        self.plagues.iter().any(|plague| plague.blow.limits_memory())
    }

    /// Whether a plague needs members whose clocks can be shifted.
    pub fn shifts_clocks(&self) -> bool {
        self.plagues.iter().any(|plague| plague.blow.shifts_clocks())
    }

    /// What a run of it must put to the test.
    fn properties(&self) -> Vec<&'static str> {
        let workloads = self.work.iter().filter_map(|work| Workload::named(work.workload));
        let core = if self.plagues.is_empty() { None } else { Some("core-progress") };
        let mut properties: Vec<&str> = ALWAYS.iter().copied().chain(core).collect();
        properties.extend(workloads.flat_map(|workload| workload.tests));
        properties.extend(self.drill.iter().flat_map(|drill| drill.tests()));
        properties.extend(self.plagues.iter().flat_map(|plague| plague.blow.tests()));
        properties.sort_unstable();
        properties.dedup();
        properties
    }

    /// What a run of it promised to exercise, and what the history shows of that.
    pub fn coverage(&self, history: &History) -> Vec<Coverage> {
        let calls = history.calls();
        let ok = history.operations().iter().filter(|operation| operation.ok().is_some()).count()
            + calls.iter().filter(|call| call.ok().is_some()).count();
        let (what, required) = ("operations answered".to_owned(), self.require.ok);
        let mut coverage = vec![Coverage { what, required, seen: ok as u64 }];
        for (code, required) in self.refused {
            let seen =
                calls.iter().filter(|call| call.refused().is_some_and(|failure| failure.code == *code));
            let (what, seen) = (format!("calls refused as {code}"), seen.count() as u64);
            coverage.push(Coverage { what, required: *required, seen });
        }
        let mut kinds: Vec<&str> = self.plagues.iter().map(|plague| plague.blow.kind()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let faults = history.faults();
        for kind in kinds {
            let seen =
                faults.iter().filter(|course| course.fault.kind == kind && course.installed().is_some());
            coverage.push(Coverage {
                what: format!("faults of kind {kind} seen installed"),
                required: self.require.faults,
                seen: seen.count() as u64,
            });
        }
        coverage
    }
}

/// What was found of the claimed, and of what else was put to the test; what nobody judged is there as unjudged.
fn among(claimed: Vec<&'static str>, findings: Vec<Finding>) -> Vec<Finding> {
    let says_something = |finding: &Finding| {
        finding.checked > 0 || !finding.violations.is_empty() || claimed.contains(&finding.property.as_str())
    };
    let mut found: Vec<Finding> = findings.into_iter().filter(says_something).collect();
    for property in claimed {
        if !found.iter().any(|finding| finding.property == property) {
            found.push(unjudged(property, "nothing judged it"));
        }
    }
    found
}

impl Work {
    pub const fn share(&self) -> Share {
        Share { workers: self.workers, steps_per_second: self.per_second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn every_scenario_has_its_own_name_and_work_that_exists() {
        let mut names: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for scenario in ALL {
            assert!(!scenario.work.is_empty(), "{} does nothing", scenario.name);
            for work in scenario.work {
                assert!(Workload::named(work.workload).is_some(), "{}: {}", scenario.name, work.workload);
            }
        }
    }

    #[test]
    fn every_scenario_with_faults_requires_that_they_happen() {
        for scenario in ALL {
            assert!(scenario.require.ok > 0, "{} may be empty", scenario.name);
            assert_eq!(scenario.plagues.is_empty(), scenario.require.faults == 0, "{}", scenario.name);
        }
    }

    #[test]
    fn what_a_scenario_claims_must_have_been_judged() {
        let finding = |property: &str, checked| Finding {
            property: property.to_owned(),
            checked,
            violations: Vec::new(),
            inconclusive: None,
        };
        let scenario = Scenario::named("tombstones").unwrap();
        let all: Vec<Finding> = scenario.properties().iter().map(|property| finding(property, 7)).collect();
        let idle = finding("lease-early", 0);
        let with_idle = [all.clone(), vec![idle]].concat();
        assert_eq!(scenario.claimed(with_idle), all, "who does not claim it need not test it");
        let found = scenario.claimed(all[1..].to_vec());
        assert_eq!(found.len(), all.len());
        assert_eq!(found.last().map(Finding::verdict), Some(Verdict::Inconclusive));
    }
}
