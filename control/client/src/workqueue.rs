//! Keys that wait for a worker: each at most once, never with two workers at a time, later when asked, later still
//! after each failure (client-go's work queue).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::{
    WORKQUEUE_ADDS_TOTAL, WORKQUEUE_DEPTH, WORKQUEUE_QUEUE_DURATION_SECONDS, WORKQUEUE_RETRIES_TOTAL,
    WORKQUEUE_WORK_DURATION_SECONDS,
};

/// Doubles from `first` up to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
}

impl Backoff {
    /// The wait after this many failures in a row.
    pub fn after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(5), max: Duration::from_secs(60) }
    }
}

/// A cheap handle; clones share one queue.
#[derive(Clone)]
pub struct WorkQueue<T> {
    name: &'static str,
    backoff: Backoff,
    state: Arc<Mutex<State<T>>>,
    /// Something became ready, or earlier than it was.
    woken: Arc<Notify>,
}

struct State<T> {
    ready: VecDeque<T>,
    /// To be done: in `ready`, or with a worker and changed since.
    dirty: BTreeMap<T, Instant>,
    /// With a worker, since.
    working: BTreeMap<T, Instant>,
    delayed: BTreeSet<(Instant, T)>,
    delayed_until: BTreeMap<T, Instant>,
    failures: BTreeMap<T, u32>,
}

impl<T: Ord + Clone> WorkQueue<T> {
    pub fn new(name: &'static str, backoff: Backoff) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: BTreeMap::new(),
            working: BTreeMap::new(),
            delayed: BTreeSet::new(),
            delayed_until: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        Self { name, backoff, state: Arc::new(Mutex::new(state)), woken: Arc::new(Notify::new()) }
    }

    /// Now; once, however often it is asked for before a worker takes it.
    pub fn add(&self, key: T) {
        metrics::counter!(WORKQUEUE_ADDS_TOTAL, "name" => self.name).increment(1);
        self.lock().add(key);
        self.woken.notify_one();
    }

    /// After `delay`, or earlier if it was asked for earlier.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.lock().delay(key, Instant::now() + delay);
        self.woken.notify_one();
    }

    /// After its back-off, which grows until [`Self::forget`].
    pub fn add_failed(&self, key: T) {
        metrics::counter!(WORKQUEUE_RETRIES_TOTAL, "name" => self.name).increment(1);
        let delay = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            self.backoff.after(*failures)
        };
        self.add_after(key, delay);
    }

    /// The key succeeded: its next failure starts a new back-off.
    pub fn forget(&self, key: &T) {
        self.lock().failures.remove(key);
    }

    /// Drops all that waits, for a worker set that starts anew.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.ready.clear();
        state.dirty.clear();
        state.delayed.clear();
        state.delayed_until.clear();
        state.failures.clear();
        state.working.clear();
    }

    /// The next key, which is then this worker's until [`Self::finish`]. Cancel safe.
    pub async fn next(&self) -> T {
        loop {
            let due = {
                let mut state = self.lock();
                let now = Instant::now();
                state.release_due(now);
                metrics::gauge!(WORKQUEUE_DEPTH, "name" => self.name).set(precise(state.ready.len()));
                if let Some(key) = state.ready.pop_front() {
                    if let Some(since) = state.dirty.remove(&key) {
                        metrics::histogram!(WORKQUEUE_QUEUE_DURATION_SECONDS, "name" => self.name)
                            .record(now.duration_since(since).as_secs_f64());
                    }
                    state.working.insert(key.clone(), now);
                    if !state.ready.is_empty() {
                        self.woken.notify_one();
                    }
                    return key;
                }
                state.delayed.first().map(|(due, _)| *due)
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.woken.notified()).await;
                }
                None => self.woken.notified().await,
            }
        }
    }

    /// The worker is done with the key; if it was added meanwhile, it is ready again.
    pub fn finish(&self, key: &T) {
        let mut state = self.lock();
        if let Some(since) = state.working.remove(key) {
            metrics::histogram!(WORKQUEUE_WORK_DURATION_SECONDS, "name" => self.name)
                .record(since.elapsed().as_secs_f64());
        }
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.woken.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Ord + Clone> State<T> {
    fn add(&mut self, key: T) {
        if let Some(due) = self.delayed_until.remove(&key) {
            self.delayed.remove(&(due, key.clone()));
        }
        if self.dirty.contains_key(&key) {
            return;
        }
        self.dirty.insert(key.clone(), Instant::now());
        if !self.working.contains_key(&key) {
            self.ready.push_back(key);
        }
    }

    fn delay(&mut self, key: T, due: Instant) {
        match self.delayed_until.get(&key) {
            Some(known) if *known <= due => return,
            Some(known) => {
                self.delayed.remove(&(*known, key.clone()));
            }
            None => {}
        }
        self.delayed_until.insert(key.clone(), due);
        self.delayed.insert((due, key));
    }

    fn release_due(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, key)) = self.delayed.pop_first() {
                self.delayed_until.remove(&key);
                self.add(key);
            }
        }
    }
}

/// A count as a metric value.
fn precise(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn queue() -> WorkQueue<&'static str> {
        WorkQueue::new("test", Backoff { first: 100 * MS, max: 400 * MS })
    }

    #[test]
    fn a_backoff_doubles_up_to_its_limit() {
        let backoff = Backoff { first: 100 * MS, max: 400 * MS };
        let waits: Vec<_> = [0, 1, 2, 3, 4, 999].iter().map(|n| backoff.after(*n).as_millis()).collect();
        assert_eq!(waits, [100, 100, 200, 400, 400, 400]);
    }

    #[tokio::test]
    async fn a_key_waits_once_and_is_never_with_two_workers() {
        let queue = queue();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        let nothing = tokio::time::timeout(50 * MS, queue.next()).await;
        assert!(nothing.is_err(), "its worker is not done");
        queue.finish(&"a");
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test]
    async fn a_delay_is_shortened_never_prolonged() {
        let queue = queue();
        let start = Instant::now();
        queue.add_after("a", 60_000 * MS);
        queue.add_after("a", 100 * MS);
        queue.add_after("a", 60_000 * MS);
        assert_eq!(queue.next().await, "a");
        assert!((100..30_000).contains(&start.elapsed().as_millis()));
    }

    #[tokio::test]
    async fn a_failed_key_comes_back_later_until_forgotten() {
        let queue = queue();
        for least in [100, 200] {
            let start = Instant::now();
            queue.add_failed("a");
            queue.next().await;
            queue.finish(&"a");
            assert!(start.elapsed().as_millis() >= least);
        }
        queue.forget(&"a");
        assert!(queue.lock().failures.is_empty());
    }
}
