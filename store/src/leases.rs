//! The leader's clock for leases.
//!
//! Only the leader counts time, in memory. When a lease is over it proposes the end, like any other write; until that
//! is applied the lease exists. A new leader gives every lease its full time again, and the length of an election: so
//! there is nothing to write down while time passes (etcd's checkpoints; `design/0008-watch.md`).

mod book;
pub(crate) mod desk;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{LeaseId, Tasks};
use bytes::Bytes;
use futures::stream::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::error::StoreError;
use crate::metrics;
use crate::mvcc::lease::{self, LeaseChange};
use crate::mvcc::machine::Action;
use crate::mvcc::request::Lease;
use crate::mvcc::tables::TableError;
use crate::status::Role;
use crate::store::Store;
use book::Book;
use desk::Asked;

/// How long the keeper sleeps when no lease is due.
const IDLE: Duration = Duration::from_secs(60);
/// When to try again to end a lease.
const RETRY: Duration = Duration::from_secs(1);
/// How many leases end at once, how many of these writes are in flight, and how long each holds up the next ones:
/// together a thousand a second, as etcd's limit.
const ENDS_MAX: usize = 500;
const ENDS_IN_FLIGHT_MAX: usize = 16;
const END_COSTS: Duration = Duration::from_millis(1);

/// A lease with what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    pub lease: Lease,
    pub remaining_seconds: i64,
    /// In byte order.
    pub keys: Vec<Bytes>,
}

/// When each lease ends, shared by the keeper and those who ask.
pub(crate) struct LeaseBook {
    book: Mutex<Book>,
    desk: mpsc::Sender<Asked>,
}

impl LeaseBook {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (desk, asked) = mpsc::channel(desk::QUESTIONS_MAX);
        (Self { book: Mutex::default(), desk }, asked)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the time anew; `None` when the lease is over.
    pub(crate) fn renew(&self, lease: Lease, now: Instant) -> Option<i64> {
        self.lock().renew(lease, now)
    }

    pub(crate) fn remaining_seconds(&self, lease: Lease, now: Instant) -> i64 {
        self.lock().remaining_seconds(lease, now)
    }
}

/// What the log does to leases, for the keeper; nothing is kept while nobody listens.
#[derive(Default)]
pub(crate) struct LeaseNews {
    changes: Mutex<Option<Vec<LeaseChange>>>,
}

impl LeaseNews {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<LeaseChange>>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, change: LeaseChange) {
        if let Some(changes) = self.lock().as_mut() {
            changes.push(change);
        }
    }

    fn listen(&self) {
        *self.lock() = Some(Vec::new());
    }

    fn ignore(&self) {
        *self.lock() = None;
    }

    fn take(&self) -> Vec<LeaseChange> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }
}

pub(crate) fn start(store: &Store, asked: mpsc::Receiver<Asked>, tasks: &Tasks) {
    let stop = tasks.stop();
    tasks.spawn("store leases", keep(store.clone(), stop.clone()));
    tasks.spawn_infallible("store lease desk", desk::serve(store.clone(), asked, stop.clone()));
}

/// Ends leases for as long as this node leads.
async fn keep(store: Store, stop: CancellationToken) -> Result<(), TableError> {
    let mut status = store.status_changes();
    let mut progress = store.replica().watch_progress();
    let mut led = None;
    let mut earliest = Instant::now();
    loop {
        let (leads, term) = {
            let status = status.borrow_and_update();
            (status.role == Role::Leader, status.term)
        };
        let generation = progress.borrow_and_update().leases;
        let now = Instant::now();
        if !leads {
            store.replica().lease_news.ignore();
            store.inner().leases.lock().clear();
            led = None;
        } else if led != Some(term) {
            match take_over(&store).await {
                Ok(()) => led = Some(term),
                Err(error) => store.replica().outlive(error).await?,
            }
        } else {
            let changes = store.replica().lease_news.take();
            store.inner().leases.lock().follow(&changes, now);
            if now >= earliest {
                earliest = now + end_due(&store, now, &stop).await;
            }
        }
        let due = store.inner().leases.lock().next();
        let next = due.map_or(now + IDLE, |due| due.max(earliest));
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = status.wait_for(|status| (status.role == Role::Leader) != leads || status.term != term) => {
                if changed.is_err() { return Ok(()) }
            },
            changed = progress.wait_for(|progress| leads && progress.leases != generation) => {
                if changed.is_err() { return Ok(()) }
            },
            () = sleep_until(next) => {}
        }
    }
}

/// Begins to count. The news are listened to before the rows are read, so nothing falls in between.
async fn take_over(store: &Store) -> Result<(), TableError> {
    store.inner().leases.lock().clear();
    store.replica().lease_news.listen();
    let leases = store.replica().read(true, |view, _| lease::all(view)).await?;
    let now = Instant::now();
    store.inner().leases.lock().take_over(&leases, now, store.inner().timings.election_max);
    Ok(())
}

/// Ends the leases that are over; returns how long the next ones have to wait.
///
/// A leader that was paused finds many leases over that were kept alive with its successor meanwhile. So it proves
/// first that it still leads; and what it proposes goes into its own log or nowhere, never to another leader.
async fn end_due(store: &Store, now: Instant, stop: &CancellationToken) -> Duration {
    if store.inner().leases.lock().next().is_none_or(|next| next > now) {
        return Duration::ZERO;
    }
    if store.serve_read_index().await.is_none() {
        debug!("leases are over, but this node cannot prove that it leads");
        return RETRY;
    }
    // Whoever was granted a lease or renewed it while the proof was on its way has been heard.
    let due = store.inner().leases.lock().due(now, ENDS_MAX, RETRY);
    let rest = END_COSTS * u32::try_from(due.len()).unwrap_or(u32::MAX);
    let ends = futures::stream::iter(due).map(|id| end(store, id)).buffer_unordered(ENDS_IN_FLIGHT_MAX);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = timeout(store.inner().timings.request_timeout, ends.count()) => {}
    }
    rest
}

async fn end(store: &Store, id: LeaseId) {
    match store.propose_as_leader(Action::LeaseRevoke(id)).await {
        Some(Ok(_)) => {
            metrics::count_expired_lease();
            info!(lease = %id, "a lease has ended");
        }
        Some(Err(StoreError::LeaseNotFound)) => {}
        Some(Err(error)) => debug!(lease = %id, %error, "cannot end a lease now"),
        None => debug!(lease = %id, "cannot end a lease: this node does not lead"),
    }
}
