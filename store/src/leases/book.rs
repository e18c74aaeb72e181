//! When each lease ends. Pure: the time is handed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::LeaseId;
use tokio::time::Instant;

use crate::mvcc::lease::LeaseChange;
use crate::mvcc::request::Lease;
use crate::seeded::{self, Bug};

/// The leases that this node counts down; empty on a node that does not lead.
#[derive(Debug, Default)]
pub(super) struct Book {
    ends: BTreeMap<LeaseId, Ending>,
    /// The same, the next to look at first.
    queue: BTreeSet<(Instant, LeaseId)>,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    At(Instant),
    /// The end is proposed, to be tried again at this time. Nothing brings such a lease back.
    Proposed(Instant),
}

impl Ending {
    fn when(self) -> Instant {
        let (Self::At(when) | Self::Proposed(when)) = self;
        when
    }
}

impl Book {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Starts the time anew; `None` when the lease is over.
    pub(super) fn renew(&mut self, lease: Lease, now: Instant) -> Option<i64> {
        match self.ends.get(&lease.id) {
            Some(Ending::Proposed(_)) => return None,
            Some(Ending::At(_)) | None => self.set(lease.id, Ending::At(now + ttl(lease))),
        }
        Some(lease.ttl_seconds)
    }

    /// Nothing is left of a lease that is over, but it is there, with its keys, until the log says that it has gone.
    pub(super) fn remaining_seconds(&self, lease: Lease, now: Instant) -> i64 {
        match self.ends.get(&lease.id) {
            Some(Ending::At(end)) => {
                let left = end.saturating_duration_since(now).as_secs();
                i64::try_from(left).unwrap_or(i64::MAX)
            }
            Some(Ending::Proposed(_)) => 0,
            None => lease.ttl_seconds,
        }
    }

    /// Takes over what another leader has counted: every lease has its whole time again, and `grace`.
    pub(super) fn take_over(&mut self, leases: &[Lease], now: Instant, grace: Duration) {
        for lease in leases {
            if !self.ends.contains_key(&lease.id) {
                let whole = if seeded::is(Bug::LeaseEndsEarly) { Duration::ZERO } else { ttl(*lease) };
                self.set(lease.id, Ending::At(now + whole + grace));
            }
        }
    }

    /// Follows the log: a new lease starts now, an ended one goes.
    pub(super) fn follow(&mut self, changes: &[LeaseChange], now: Instant) {
        for change in changes {
            match change {
                LeaseChange::Granted(lease) => {
                    if !self.ends.contains_key(&lease.id) {
                        self.set(lease.id, Ending::At(now + ttl(*lease)));
                    }
                }
                LeaseChange::Ended(id) => {
                    if let Some(ending) = self.ends.remove(id) {
                        self.queue.remove(&(ending.when(), *id));
                    }
                }
            }
        }
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(when, _)| *when)
    }

    /// Up to `max` leases that are over, the longest over first. They stay over, and are named again after `retry` if
    /// they have not gone by then.
    pub(super) fn due(&mut self, now: Instant, max: usize, retry: Duration) -> Vec<LeaseId> {
        let over = self.queue.iter().take_while(|(when, _)| *when <= now).take(max);
        let due: Vec<LeaseId> = over.map(|(_, id)| *id).collect();
        for id in &due {
            self.set(*id, Ending::Proposed(now + retry));
        }
        due
    }

    fn set(&mut self, id: LeaseId, ending: Ending) {
        if let Some(before) = self.ends.insert(id, ending) {
            self.queue.remove(&(before.when(), id));
        }
        self.queue.insert((ending.when(), id));
    }
}

fn ttl(lease: Lease) -> Duration {
    // A deadline further away than this is never reached by a running process.
    const FOREVER_SECONDS: u64 = 10 * 365 * 24 * 3600;
    Duration::from_secs(u64::try_from(lease.ttl_seconds).unwrap_or(0).min(FOREVER_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: i64, ttl_seconds: i64) -> Lease {
        Lease { id: LeaseId::new(id), ttl_seconds }
    }

    fn ids(due: &[LeaseId]) -> Vec<i64> {
        due.iter().map(|id| id.get()).collect()
    }

    const RETRY: Duration = Duration::from_secs(1);

    #[test]
    fn leases_end_in_their_order_and_no_faster_than_asked() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut book = Book::default();
        let granted: Vec<LeaseChange> = (1..=5).map(|id| LeaseChange::Granted(lease(id, 10 - id))).collect();
        book.follow(&granted, start);
        assert_eq!(book.next(), Some(after(5)));
        assert!(book.due(after(4), 10, RETRY).is_empty());
        assert_eq!(book.renew(lease(4, 6), after(4)), Some(6));
        assert_eq!(ids(&book.due(after(9), 2, RETRY)), [5, 3]);
        assert_eq!(ids(&book.due(after(9), 9, RETRY)), [2, 1]);
        assert_eq!(book.remaining_seconds(lease(4, 6), after(9)), 1);
        // Over is over, and there, until the log says that it has gone; then its number is free.
        assert_eq!(book.renew(lease(5, 5), after(9)), None);
        assert_eq!(book.remaining_seconds(lease(5, 5), after(9)), 0);
        assert_eq!(ids(&book.due(after(10), 9, RETRY)), [1, 2, 3, 4, 5]);
        book.follow(&(1..=5).map(|id| LeaseChange::Ended(LeaseId::new(id))).collect::<Vec<_>>(), after(10));
        assert_eq!(book.next(), None);
        book.follow(&[LeaseChange::Granted(lease(5, 5))], after(10));
        assert_eq!(book.next(), Some(after(15)));
    }

    #[test]
    fn a_new_leader_gives_the_whole_time_and_grace_but_not_to_what_it_knows_already() {
        let start = Instant::now();
        let mut book = Book::default();
        book.renew(lease(1, 5), start);
        book.take_over(&[lease(1, 5), lease(2, 5)], start, Duration::from_secs(2));
        assert_eq!(book.remaining_seconds(lease(1, 5), start), 5);
        assert_eq!(book.remaining_seconds(lease(2, 5), start), 7);
    }

    #[cfg(debug_assertions)]
    #[test]
    fn with_the_bug_a_new_leader_gives_no_time() {
        let start = Instant::now();
        let mut book = Book::default();
        let _planted = seeded::plant_here(Bug::LeaseEndsEarly);
        book.take_over(&[lease(1, 5)], start, Duration::from_secs(2));
        assert_eq!(book.remaining_seconds(lease(1, 5), start), 2);
    }
}
