//! The leader's clock for leases.
//!
//! Only the leader counts time, in memory. When a lease is over it proposes the end, like any other write; until that
//! is applied the lease exists. A new leader gives every lease its full time again, and the length of an election.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::LeaseId;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::error::StoreError;
use crate::metrics;
use crate::mvcc::lease;
use crate::mvcc::machine::Action;
use crate::mvcc::request::Lease;
use crate::mvcc::tables::TableError;
use crate::status::Role;
use crate::store::Store;

/// How long the keeper sleeps when no lease is due.
const IDLE: Duration = Duration::from_secs(60);
/// When to try again to end a lease.
const RETRY: Duration = Duration::from_secs(1);

/// A lease with what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    pub lease: Lease,
    pub remaining_seconds: i64,
    /// In byte order.
    pub keys: Vec<Bytes>,
}

/// When each lease ends. Empty on a node that does not lead.
#[derive(Default)]
pub(crate) struct LeaseBook {
    ends: Mutex<BTreeMap<LeaseId, Ending>>,
}

#[derive(Clone, Copy)]
enum Ending {
    At(Instant),
    /// The end is proposed, to be tried again at this time.
    Proposed(Instant),
}

impl LeaseBook {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Ending>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the time anew; `None` when the end is already proposed.
    pub(crate) fn renew(&self, lease: Lease, now: Instant) -> Option<i64> {
        let mut ends = self.lock();
        if let Some(Ending::Proposed(_)) = ends.get(&lease.id) {
            return None;
        }
        ends.insert(lease.id, Ending::At(now + ttl(lease)));
        Some(lease.ttl_seconds)
    }

    pub(crate) fn remaining_seconds(&self, lease: Lease, now: Instant) -> Option<i64> {
        match self.lock().get(&lease.id) {
            Some(Ending::At(end)) => {
                let left = end.saturating_duration_since(now).as_secs();
                Some(i64::try_from(left).unwrap_or(i64::MAX))
            }
            Some(Ending::Proposed(_)) => None,
            None => Some(lease.ttl_seconds),
        }
    }

    fn clear(&self) {
        self.lock().clear();
    }

    /// Follows what the log says: new leases start now, ended ones go.
    fn follow(&self, leases: &[Lease], now: Instant, grace: Duration) {
        let mut ends = self.lock();
        let known = std::mem::take(&mut *ends);
        for lease in leases {
            let end = known.get(&lease.id).copied().unwrap_or(Ending::At(now + ttl(*lease) + grace));
            ends.insert(lease.id, end);
        }
    }

    fn next_end(&self) -> Option<Instant> {
        let when = |ending: &Ending| match ending {
            Ending::At(when) | Ending::Proposed(when) => *when,
        };
        self.lock().values().map(when).min()
    }

    /// Takes the leases that are over.
    fn due(&self, now: Instant) -> Vec<LeaseId> {
        let mut due = Vec::new();
        for (id, ending) in self.lock().iter_mut() {
            let (Ending::At(when) | Ending::Proposed(when)) = *ending;
            if when <= now {
                *ending = Ending::Proposed(now + RETRY);
                due.push(*id);
            }
        }
        due
    }
}

fn ttl(lease: Lease) -> Duration {
    // A deadline further away than this is never reached by a running process.
    const FOREVER_SECONDS: u64 = 10 * 365 * 24 * 3600;
    Duration::from_secs(u64::try_from(lease.ttl_seconds).unwrap_or(0).min(FOREVER_SECONDS))
}

/// Ends leases for as long as this node leads.
pub(crate) async fn keep(store: Store, stop: CancellationToken) -> Result<(), TableError> {
    let mut status = store.status_changes();
    let mut progress = store.replica().watch_progress();
    let mut seen: Option<(u64, u64)> = None;
    loop {
        let (leads, term) = {
            let status = status.borrow_and_update();
            (status.role == Role::Leader, status.term)
        };
        let book = &store.inner().leases;
        if leads {
            let generation = progress.borrow_and_update().leases;
            let newly = seen.is_none_or(|(led, _)| led != term);
            if newly {
                book.clear();
            }
            if newly || seen != Some((term, generation)) {
                let leases = store.replica().read(true, |view, _| lease::all(view)).await?;
                let grace = if newly { store.inner().timings.election_max } else { Duration::ZERO };
                book.follow(&leases, Instant::now(), grace);
                seen = Some((term, generation));
            }
            end_due(&store).await;
        } else {
            book.clear();
            seen = None;
        }
        let next = book.next_end().unwrap_or_else(|| Instant::now() + IDLE);
        let known = seen.map(|(_, generation)| generation);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = status.wait_for(|status| (status.role == Role::Leader) != leads || status.term != term) => {
                if changed.is_err() { return Ok(()) }
            },
            changed = progress.wait_for(|progress| leads && Some(progress.leases) != known) => {
                if changed.is_err() { return Ok(()) }
            },
            () = sleep_until(next) => {}
        }
    }
}

async fn end_due(store: &Store) {
    for id in store.inner().leases.due(Instant::now()) {
        match store.propose(Action::LeaseRevoke(id)).await {
            Ok(_) => {
                metrics::count_expired_lease();
                info!(lease = %id, "a lease has ended");
            }
            Err(StoreError::LeaseNotFound) => {}
            Err(error) => {
                debug!(lease = %id, %error, "cannot end a lease now");
                return;
            }
        }
    }
}
