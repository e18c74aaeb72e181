//! Which of the store's bugs on purpose (`store/src/seeded.rs`) the simulation finds, and by what: a bug that it does not
//! find any more is a hole in it.

use store::seeded::Bug;

/// A bug, and the properties of which one is violated when it is found.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    pub bug: Bug,
    pub properties: &'static [&'static str],
}

/// In the order of the bugs.
pub const ALL: &[Trap] = &[
    trap(Bug::AckBeforeSync, &["log-agreement", "write-kept", "sim-one-past", "strict-serializability"]),
    trap(Bug::VoteNotSynced, &["sim-one-leader"]),
    trap(Bug::AppliedApart, &["log-agreement", "write-kept", "sim-one-past", "sim-converges"]),
    trap(Bug::ReadWithoutReadIndex, &["strict-serializability"]),
    trap(Bug::ReadOfFormerLeader, &["strict-serializability"]),
    trap(Bug::CompactionEatsEvents, &["watch-reliable", "watch-resumable", "watch-complete"]),
    trap(Bug::CompactionEatsLiveKey, &["historical-read", "response-exact"]),
    trap(Bug::CompactedIsRead, &["revision-errors", "historical-read"]),
    trap(Bug::RevisionGoesBack, &["log-agreement", "log-dense", "sim-one-past", "exactly-once"]),
    trap(Bug::ApplyByChance, &["log-agreement", "watch-members", "log-exact"]),
    trap(Bug::RetryAppliedTwice, &["exactly-once"]),
    trap(Bug::LeaseLeavesKeys, &["log-exact", "response-exact"]),
    trap(Bug::DeadLeaseIsTaken, &["response-exact", "log-exact"]),
    trap(Bug::PreviousIsNew, &["response-exact"]),
    trap(Bug::PastReadOffByOne, &["historical-read"]),
    trap(Bug::CompareIgnoresRevision, &["response-exact"]),
    trap(Bug::InstallSkipsWatches, &["watch-reliable", "sim-told"]),
];

const fn trap(bug: Bug, properties: &'static [&'static str]) -> Trap {
    Trap { bug, properties }
}

impl Trap {
    /// Which of these properties shows the bug.
    pub fn sprung<'p>(&self, violated: &[&'p str]) -> Option<&'p str> {
        violated.iter().copied().find(|property| self.properties.contains(property))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_has_one_trap_that_only_its_own_properties_spring() {
        assert!(ALL.is_sorted_by_key(|trap| trap.bug));
        assert!(ALL.windows(2).all(|pair| pair[0].bug != pair[1].bug));
        assert!(ALL.iter().all(|trap| !trap.properties.is_empty()));
        let trap = trap(Bug::VoteNotSynced, &["sim-one-leader"]);
        assert_eq!(trap.sprung(&["sim-progress"]), None);
        assert_eq!(trap.sprung(&["sim-progress", "sim-one-leader"]), Some("sim-one-leader"));
    }
}
