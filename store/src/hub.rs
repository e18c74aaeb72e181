//! The watch hub: one ring of recent revisions, and watchers that pull from it.
//!
//! Applying appends to the ring and goes on; it never waits for a watcher. A watcher is a cursor: when it falls behind
//! the ring it reads the past from the disk, in its own task. A slow watcher costs its cursor and nothing else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Revision;
use tokio::sync::watch;

use crate::error::WatchError;
use crate::mvcc::catch_up::{self, Past};
use crate::mvcc::request::{Event, Watch, WatchBatch};
use crate::raft::replica::{Progress, Replica};

/// How many revisions a watcher takes from the ring at once.
const TAKE_MAX: usize = 256;
/// About how many rows a watcher reads from the disk at once.
const CATCH_UP_ROWS_MAX: usize = 1000;
/// What an event weighs in the ring beside its keys and values.
const EVENT_BYTES: usize = 160;

/// The newest revisions with their events, contiguous, bounded by bytes.
pub(crate) struct Ring {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

struct Inner {
    /// The revision of the first batch; of the next one while the ring is empty.
    first: Revision,
    batches: VecDeque<Arc<Made>>,
    bytes: usize,
}

/// What one revision changed.
struct Made {
    revision: Revision,
    events: Vec<Arc<Event>>,
    bytes: usize,
}

impl Ring {
    pub(crate) fn new(first: Revision, bytes_max: usize) -> Self {
        Self { inner: Mutex::new(Inner { first, batches: VecDeque::new(), bytes: 0 }), bytes_max }
    }

    /// Adds the revision after the newest one.
    pub(crate) fn push(&self, revision: Revision, events: Vec<Arc<Event>>) {
        let bytes = events.iter().map(|event| size_of_event(event)).sum();
        let mut inner = self.lock();
        inner.batches.push_back(Arc::new(Made { revision, events, bytes }));
        inner.bytes += bytes;
        while inner.bytes > self.bytes_max && inner.batches.len() > 1 {
            if let Some(oldest) = inner.batches.pop_front() {
                inner.bytes -= oldest.bytes;
                inner.first = oldest.revision.next();
            }
        }
    }

    /// Forgets everything; the next revision to come is `first`.
    pub(crate) fn restart(&self, first: Revision) {
        *self.lock() = Inner { first, batches: VecDeque::new(), bytes: 0 };
    }

    /// Up to [`TAKE_MAX`] revisions from `from` on; `None`: the ring does not reach back so far.
    fn take(&self, from: Revision) -> Option<Vec<Arc<Made>>> {
        let inner = self.lock();
        let skip = usize::try_from(from.get() - inner.first.get()).ok()?;
        Some(inner.batches.iter().skip(skip).take(TAKE_MAX).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size_of_event(event: &Event) -> usize {
    let prev = event.prev.as_ref().map_or(0, |prev| prev.key.len() + prev.value.len());
    EVENT_BYTES + event.kv.key.len() + event.kv.value.len() + prev
}

/// Delivers the events of a watch, each revision once and in order.
pub struct Watcher {
    replica: Arc<Replica>,
    progress: watch::Receiver<Progress>,
    watch: Watch,
    /// The first revision that has not been looked at.
    next: Revision,
    ready: VecDeque<WatchBatch>,
}

impl Watcher {
    pub(crate) fn new(replica: Arc<Replica>, watch: Watch) -> Self {
        let progress = replica.watch_progress();
        let newest = progress.borrow().horizon.newest;
        let start = watch.start.filter(|start| start.get() > 0);
        Self { replica, progress, next: start.unwrap_or(newest.next()), watch, ready: VecDeque::new() }
    }

    /// The next revision that touches the watched keys. Waits for it; dropping the future loses nothing.
    ///
    /// # Errors
    /// When the events to deliver have been compacted, or the store is stopping.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let newest = self.progress.borrow_and_update().horizon.newest;
            if self.next > newest {
                if self.progress.changed().await.is_err() {
                    return Err(WatchError::Stopping);
                }
                continue;
            }
            match self.replica.ring.take(self.next) {
                Some(made) => self.sort_out(&made, newest),
                None => self.catch_up(newest).await?,
            }
        }
    }

    /// Every event up to and including this revision has been handed out.
    pub fn position(&self) -> Revision {
        match self.ready.front() {
            Some(batch) => Revision::new(batch.revision.get() - 1),
            None => Revision::new(self.next.get() - 1),
        }
    }

    /// Takes what is published; the ring may be one step ahead.
    fn sort_out(&mut self, made: &[Arc<Made>], newest: Revision) {
        for made in made.iter().take_while(|made| made.revision <= newest) {
            let matching = |event: &&Arc<Event>| self.watch.span.contains(&event.kv.key);
            let events: Vec<Arc<Event>> =
                made.events.iter().filter(matching).map(|event| self.shaped(event)).collect();
            if !events.is_empty() {
                self.ready.push_back(WatchBatch { revision: made.revision, events });
            }
            self.next = made.revision.next();
        }
    }

    fn shaped(&self, event: &Arc<Event>) -> Arc<Event> {
        if self.watch.prev_kv || event.prev.is_none() {
            return event.clone();
        }
        Arc::new(Event { kind: event.kind, kv: event.kv.clone(), prev: None })
    }

    async fn catch_up(&mut self, newest: Revision) -> Result<(), WatchError> {
        let (watch, from) = (self.watch.clone(), self.next);
        let past = self.replica.read(true, move |view, horizon| {
            if from < horizon.compacted {
                return Ok(Err(WatchError::Compacted { asked: from, compacted: horizon.compacted }));
            }
            catch_up::read(view, &watch, from, newest, CATCH_UP_ROWS_MAX).map(Ok)
        });
        let Past { batches, next } = match past.await {
            Ok(past) => past?,
            Err(error) => {
                tracing::error!(%error, "cannot read past events");
                return Err(WatchError::Stopping);
            }
        };
        self.ready.extend(batches);
        self.next = next;
        Ok(())
    }
}
