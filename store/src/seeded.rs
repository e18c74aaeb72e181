//! Bugs on purpose: each is a line or two at the place where the right thing is done, so that whoever looks for bugs can
//! show that it finds them.
//!
//! They exist only in builds with debug assertions, which are the ones that are tested, and are off there until one is
//! planted. In a release `is` is `false` at compile time, nothing of them is left, and no flag brings them back
//! (`chaos/design/0001`). A member with such a bug must never hold data that anybody wants.

#[cfg(debug_assertions)]
mod planted;
#[cfg(all(test, debug_assertions))]
mod tests;

#[cfg(debug_assertions)]
pub(crate) use planted::chance;
#[cfg(all(test, debug_assertions))]
pub(crate) use planted::plant_here;
#[cfg(debug_assertions)]
pub use planted::{is, plant};

/// What can be wrong. Each is found in the code under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    AckBeforeSync,
    VoteNotSynced,
    AppliedApart,
    ReadWithoutReadIndex,
    ReadOfFormerLeader,
    DamagedLogIsCut,
    WipedVoterReturns,
    WatchDropsWhenFull,
    ProgressTooEarly,
    WatchRepeatsOnResume,
    CompactionEatsEvents,
    CompactionEatsLiveKey,
    CompactedIsRead,
    RevisionGoesBack,
    ApplyByChance,
    RetryAppliedTwice,
    LeaseEndsEarly,
    LeaseLeavesKeys,
    DeadLeaseIsTaken,
    PreviousIsNew,
    PastReadOffByOne,
    CompareIgnoresRevision,
    FenceUnchecked,
    InstallSkipsWatches,
    DeposedLeaderWrites,
}

impl Bug {
    pub const ALL: [Self; 25] = [
        Self::AckBeforeSync,
        Self::VoteNotSynced,
        Self::AppliedApart,
        Self::ReadWithoutReadIndex,
        Self::ReadOfFormerLeader,
        Self::DamagedLogIsCut,
        Self::WipedVoterReturns,
        Self::WatchDropsWhenFull,
        Self::ProgressTooEarly,
        Self::WatchRepeatsOnResume,
        Self::CompactionEatsEvents,
        Self::CompactionEatsLiveKey,
        Self::CompactedIsRead,
        Self::RevisionGoesBack,
        Self::ApplyByChance,
        Self::RetryAppliedTwice,
        Self::LeaseEndsEarly,
        Self::LeaseLeavesKeys,
        Self::DeadLeaseIsTaken,
        Self::PreviousIsNew,
        Self::PastReadOffByOne,
        Self::CompareIgnoresRevision,
        Self::FenceUnchecked,
        Self::InstallSkipsWatches,
        Self::DeposedLeaderWrites,
    ];

    /// As on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeSync => "ack-before-sync",
            Self::VoteNotSynced => "vote-not-synced",
            Self::AppliedApart => "applied-apart",
            Self::ReadWithoutReadIndex => "read-without-read-index",
            Self::ReadOfFormerLeader => "read-of-former-leader",
            Self::DamagedLogIsCut => "damaged-log-is-cut",
            Self::WipedVoterReturns => "wiped-voter-returns",
            Self::WatchDropsWhenFull => "watch-drops-when-full",
            Self::ProgressTooEarly => "progress-too-early",
            Self::WatchRepeatsOnResume => "watch-repeats-on-resume",
            Self::CompactionEatsEvents => "compaction-eats-events",
            Self::CompactionEatsLiveKey => "compaction-eats-live-key",
            Self::CompactedIsRead => "compacted-is-read",
            Self::RevisionGoesBack => "revision-goes-back",
            Self::ApplyByChance => "apply-by-chance",
            Self::RetryAppliedTwice => "retry-applied-twice",
            Self::LeaseEndsEarly => "lease-ends-early",
            Self::LeaseLeavesKeys => "lease-leaves-keys",
            Self::DeadLeaseIsTaken => "dead-lease-is-taken",
            Self::PreviousIsNew => "previous-is-new",
            Self::PastReadOffByOne => "past-read-off-by-one",
            Self::CompareIgnoresRevision => "compare-ignores-revision",
            Self::FenceUnchecked => "fence-unchecked",
            Self::InstallSkipsWatches => "install-skips-watches",
            Self::DeposedLeaderWrites => "deposed-leader-writes",
        }
    }

    /// What is wrong, in a sentence.
    pub const fn what(self) -> &'static str {
        match self {
            Self::AckBeforeSync => "log entries are acknowledged before they are on the disk",
            Self::VoteNotSynced => "a vote is given before it is on the disk",
            Self::AppliedApart => "the applied position is written before the rows, not with them",
            Self::ReadWithoutReadIndex => "a read is answered from the member's own replica, however old",
            Self::ReadOfFormerLeader => "whoever believes to lead answers reads without asking the others",
            Self::DamagedLogIsCut => {
                "a log is cut where it is damaged, though what follows was durable, and the others are not asked"
            }
            Self::WipedVoterReturns => "a founder whose disk was wiped gets its old id back, and votes",
            Self::WatchDropsWhenFull => {
                "of many revisions that wait for a watch, only the first are delivered"
            }
            Self::ProgressTooEarly => "progress is told while events before it still wait",
            Self::WatchRepeatsOnResume => "a watch that is resumed begins one revision too early",
            Self::CompactionEatsEvents => "the events of the compacted revision itself are deleted",
            Self::CompactionEatsLiveKey => "of two versions of a key, compaction deletes the newer",
            Self::CompactedIsRead => "a range at a compacted revision is answered from what is left",
            Self::RevisionGoesBack => "after a restart the newest revision is the compacted one",
            Self::ApplyByChance => "now and then a member counts a key's version up twice",
            Self::RetryAppliedTwice => "a write that is proposed again is applied again",
            Self::LeaseEndsEarly => "a new leader ends leases at once instead of after their time",
            Self::LeaseLeavesKeys => "a lease that ends deletes only the first of its keys",
            Self::DeadLeaseIsTaken => "a key is attached to a lease that does not exist",
            Self::PreviousIsNew => "a put answers with the new value as the previous one",
            Self::PastReadOffByOne => "a range at a past revision is answered from the one before",
            Self::CompareIgnoresRevision => "a comparison of a modification revision always holds",
            Self::FenceUnchecked => "a fenced write lands though its sender has lost its key",
            Self::InstallSkipsWatches => "watches are not told that a snapshot has replaced the state",
            Self::DeposedLeaderWrites => "the API server lets a controller write whose lease is another's",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

/// Whether this bug is planted.
#[cfg(not(debug_assertions))]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// Another answer on each member.
#[cfg(not(debug_assertions))]
pub(crate) const fn chance() -> bool {
    false
}
