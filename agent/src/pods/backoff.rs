//! How long to wait before the same thing is tried again: 10 s doubling to 300 s, forgotten after ten quiet
//! minutes. Pure; the numbers and the bookkeeping are the kubelet's (client-go's flowcontrol.Backoff).

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;

const FIRST: Duration = Duration::from_secs(10);
const MAX: Duration = Duration::from_secs(300);
const FORGET_AFTER: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, Default)]
pub(crate) struct Backoffs {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

impl Backoffs {
    /// How long still to wait after an event at `since`; `None` when it may be tried now.
    pub(crate) fn remaining(&self, key: &str, since: Timestamp, now: Timestamp) -> Option<Duration> {
        let entry = self.entries.get(key)?;
        if between(entry.updated, since) > FORGET_AFTER {
            return None;
        }
        left(entry.delay, between(since, now))
    }

    /// The same, counted from the last failure that was noted.
    pub(crate) fn remaining_since_failure(&self, key: &str, now: Timestamp) -> Option<Duration> {
        let entry = self.entries.get(key)?;
        left(entry.delay, between(entry.updated, now))
    }

    /// The delay that holds for this key.
    pub(crate) fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(FIRST, |entry| entry.delay)
    }

    /// Notes another try, after an event at `since`.
    pub(crate) fn advance(&mut self, key: &str, since: Timestamp, now: Timestamp) {
        let entry = self.entries.entry(key.to_owned());
        entry
            .and_modify(|entry| {
                let quiet = between(entry.updated, since) > FORGET_AFTER;
                entry.delay = if quiet { FIRST } else { (entry.delay * 2).min(MAX) };
                entry.updated = now;
            })
            .or_insert(Entry { delay: FIRST, updated: now });
    }

    pub(crate) fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

/// Zero when `to` is before `from`.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

fn left(delay: Duration, waited: Duration) -> Option<Duration> {
    delay.checked_sub(waited).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_restart_is_immediate_then_it_doubles_to_five_minutes() {
        let mut backoffs = Backoffs::default();
        let mut now = 0;
        let mut delays = Vec::new();
        for _ in 0..8 {
            let wait = backoffs.remaining("c", at(now), at(now)).unwrap_or_default();
            delays.push(wait.as_secs());
            now += i64::try_from(wait.as_secs()).unwrap();
            backoffs.advance("c", at(now), at(now));
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_forgive() {
        let mut backoffs = Backoffs::default();
        backoffs.advance("c", at(0), at(0));
        backoffs.advance("c", at(10), at(10));
        assert_eq!(backoffs.remaining("c", at(611), at(611)), None);
        backoffs.advance("c", at(611), at(611));
        assert_eq!(backoffs.delay("c"), FIRST);
    }
}
