//! The switch, in the builds that have one.

use std::hash::{BuildHasher as _, RandomState};

use super::Bug;

/// One in so many.
const CHANCE: u64 = 16;

/// Another answer on each member, as the order of a hash map would give.
pub(crate) fn chance() -> bool {
    RandomState::new().hash_one(0).is_multiple_of(CHANCE)
}

#[cfg(not(test))]
pub use process::{is, plant};
#[cfg(test)]
pub(crate) use thread::plant_here;
#[cfg(test)]
pub use thread::{is, plant};

#[cfg(not(test))]
mod process {
    use std::sync::OnceLock;

    use super::Bug;

    /// One for the process: a member is one.
    static PLANTED: OnceLock<Bug> = OnceLock::new();

    /// From now on this process has the bug, for as long as it lives. Only the first one counts.
    pub fn plant(bug: Bug) {
        let planted = PLANTED.get_or_init(|| bug);
        tracing::warn!(bug = planted.name(), "this process has a bug on purpose; its data will be damaged");
    }

    /// Whether this bug is planted.
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(&bug)
    }
}

#[cfg(test)]
mod thread {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        /// One for the thread: tests of one process run beside each other.
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// For as long as it lives, this thread has the bug.
    pub(crate) struct Planted;

    pub(crate) fn plant_here(bug: Bug) -> Planted {
        plant(bug);
        Planted
    }

    pub fn plant(bug: Bug) {
        PLANTED.set(Some(bug));
    }

    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
}
