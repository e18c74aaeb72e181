//! Places where a test kills its own process, to see that what was acknowledged is there afterwards.
//!
//! Outside of this crate's own tests nothing of it exists.

#[cfg(not(test))]
pub(crate) const fn reach(_point: &'static str) {}

#[cfg(not(test))]
pub(crate) const fn is_armed(_point: &'static str) -> bool {
    false
}

#[cfg(test)]
pub(crate) use armed::{arm, is_armed, reach};

#[cfg(test)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// One for the process: it is the process that dies.
    static ARMED: OnceLock<(String, AtomicU64)> = OnceLock::new();

    /// Kills this process when `point` is reached for the `nth` time.
    pub(crate) fn arm(point: String, nth: u64) {
        ARMED.set((point, AtomicU64::new(nth))).expect("a process is armed once");
    }

    pub(crate) fn is_armed(point: &str) -> bool {
        ARMED.get().is_some_and(|(armed, _)| armed == point)
    }

    pub(crate) fn reach(point: &str) {
        if let Some((armed, left)) = ARMED.get()
            && armed == point
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            kill(Pid::this(), Signal::SIGKILL).expect("a process may kill itself");
            loop {
                std::thread::park();
            }
        }
    }
}
