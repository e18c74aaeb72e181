//! Patience: the only way to wait in a test.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::Instant;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks until `condition` gives a value; fails with its last reason when the time is over.
///
/// # Panics
/// When the deadline passes.
pub fn eventually<T, E: Debug>(within: Duration, what: &str, condition: impl Fn() -> Result<T, E>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(reason) if Instant::now() > deadline => panic!("not within {within:?}: {what}: {reason:?}"),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// `Ok` when it holds, else what was seen instead.
pub fn expect_that(holds: bool, seen: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen.into()) }
}
