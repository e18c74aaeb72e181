//! Which scenario finds which of the store's bugs on purpose: what the harness cannot see there, it cannot see at all.
//!
//! A bug counts as caught only when a property is violated that is about it; that anything at all went wrong is not
//! enough.

use store::seeded::Bug;

use crate::report::Summary;
use crate::sim::traps;

/// Where a bug is caught.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    pub bug: Bug,
    /// Of the catalogue.
    pub scenario: &'static str,
    pub seed: u64,
    /// For how long faults go on.
    pub seconds: u64,
    /// One of these is violated.
    pub properties: &'static [&'static str],
}

/// One for each bug that is known to be caught, in the order of the bugs.
pub const ALL: &[Trap] = &[
    struck(
        Bug::AckBeforeSync,
        "S-06",
        16,
        &["log-agreement", "write-kept", "log-exact", "strict-serializability", "set"],
    ),
    calm(Bug::ReadWithoutReadIndex, &["strict-serializability"]),
    struck(Bug::ReadOfFormerLeader, "S-02", 20, &["strict-serializability"]),
    // A member that sees that it has forgotten something stands aside: then it is the majority that is missed.
    struck(
        Bug::DamagedLogIsCut,
        "S-08",
        16,
        &["damage-refused", "no-crash", "log-agreement", "write-kept", "core-progress"],
    ),
    // Raft's own assertion that a follower's log never shrinks may be the first to see it.
    struck(Bug::WipedVoterReturns, "S-09", 16, &["header-term", "log-agreement", "write-kept", "no-crash"]),
    // Without compactions, so that watches may begin far back.
    struck(Bug::WatchDropsWhenFull, "S-02", 8, &["watch-reliable", "watch-progress-complete", "log-heard"]),
    struck(Bug::ProgressTooEarly, "tight", 8, &["watch-progress-complete", "watch-bookmarkable"]),
    struck(Bug::WatchRepeatsOnResume, "S-12", 20, &["watch-resumable"]),
    struck(
        Bug::CompactionEatsEvents,
        "tight",
        10,
        &["watch-reliable", "watch-progress-complete", "log-heard"],
    ),
    calm(Bug::CompactionEatsLiveKey, &["historical-read", "response-exact"]),
    calm(Bug::CompactedIsRead, &["revision-errors"]),
    struck(Bug::RevisionGoesBack, "tight", 16, &["log-agreement", "strict-serializability"]),
    calm(Bug::ApplyByChance, &["log-agreement", "watch-members"]),
    struck(Bug::RetryAppliedTwice, "S-18", 16, &["exactly-once"]),
    struck(Bug::LeaseEndsEarly, "S-17", 20, &["lease-kept"]),
    struck(Bug::LeaseLeavesKeys, "S-17", 20, &["lease-atomic"]),
    struck(Bug::DeadLeaseIsTaken, "S-17", 20, &["lease-dead"]),
    calm(Bug::PreviousIsNew, &["response-exact"]),
    calm(Bug::PastReadOffByOne, &["historical-read"]),
    calm(Bug::CompareIgnoresRevision, &["response-exact"]),
    struck(Bug::FenceUnchecked, "fenced-lock", 12, &["store-fence"]),
    struck(Bug::InstallSkipsWatches, "S-11", 20, &["watch-reliable", "watch-progress-complete", "log-heard"]),
];

/// What needs no fault to be seen.
const fn calm(bug: Bug, properties: &'static [&'static str]) -> Trap {
    struck(bug, "calm", 8, properties)
}

const fn struck(bug: Bug, scenario: &'static str, seconds: u64, properties: &'static [&'static str]) -> Trap {
    Trap { bug, scenario, seed: 1, seconds, properties }
}

/// What nothing finds reliably: a vote is on the disk with the next entry, milliseconds later.
pub const MISSED: [Bug; 1] = [Bug::VoteNotSynced];

/// Those that only the simulation finds reliably. What a killed server had not synced is lost as a whole, with the state's
/// position in it: `applied-apart` takes a flush between two writes that are microseconds apart.
pub fn simulated() -> impl Iterator<Item = Bug> {
    let bugs = traps::ALL.iter().map(|trap| trap.bug);
    bugs.filter(|bug| ALL.iter().all(|trap| trap.bug != *bug))
}

impl Trap {
    /// The property by which a run has caught the bug, and how often that was broken.
    pub fn sprung<'s>(&self, summary: &'s Summary) -> Option<(&'s str, u64)> {
        let mut violated = summary.properties.iter().filter(|property| property.violations > 0);
        let caught = violated.find(|property| self.properties.contains(&property.property.as_str()));
        caught.map(|property| (property.property.as_str(), property.violations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn every_bug_is_caught_somewhere_or_known_to_be_missed() {
        let mut caught: Vec<Bug> = ALL.iter().map(|trap| trap.bug).chain(simulated()).chain(MISSED).collect();
        caught.sort_unstable();
        assert_eq!(caught, Bug::ALL);
    }

    #[test]
    fn a_bug_has_one_trap_and_its_scenario_exists() {
        let bugs: Vec<Bug> = ALL.iter().map(|trap| trap.bug).collect();
        let mut sorted = bugs.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(bugs, sorted);
        for trap in ALL {
            assert!(Scenario::named(trap.scenario).is_some(), "{}", trap.scenario);
            assert!(!trap.properties.is_empty(), "{}", trap.bug.name());
        }
    }
}
