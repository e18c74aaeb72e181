//! Which of the bugs on purpose (`store/src/seeded.rs`) the simulation finds, and by what: a bug that it does not
//! find any more is a hole in it.

use store::seeded::Bug;

/// A bug, and the properties of which one is violated when it is found.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    pub bug: Bug,
    pub properties: &'static [&'static str],
}

/// In the order of the bugs; only those that were seen to be found.
pub const ALL: &[Trap] = &[
    trap(Bug::AckBeforeSync, &["log-agreement", "sim-leader-order"]),
    trap(Bug::AppliedApart, &["hash-equal"]),
    trap(Bug::ReadWithoutReadIndex, &["strict-serializability"]),
    trap(Bug::DamagedLogIsCut, &["header-term", "log-agreement", "sim-leader-order", "sim-no-panic"]),
    trap(Bug::CompactionEatsLiveKey, &["historical-read", "response-exact"]),
    trap(Bug::CompactedIsRead, &["revision-errors"]),
    trap(Bug::RevisionGoesBack, &["historical-read", "strict-serializability"]),
    trap(Bug::ApplyByChance, &["log-agreement", "watch-members"]),
    trap(Bug::PreviousIsNew, &["response-exact"]),
    trap(Bug::PastReadOffByOne, &["historical-read"]),
    trap(Bug::CompareIgnoresRevision, &["response-exact"]),
    trap(Bug::InstallSkipsWatches, &["watch-resumable", "watch-reliable"]),
    trap(Bug::DeposedLeaderWrites, &["fence-landed"]),
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
        let trap = trap(Bug::VoteNotSynced, &["sim-leader-order"]);
        assert_eq!(trap.sprung(&["sim-progress"]), None);
        assert_eq!(trap.sprung(&["sim-progress", "sim-leader-order"]), Some("sim-leader-order"));
    }
}
