//! Pods that wait for a node: ready to be tried, waiting out a back-off, or hopeless until something changes. Pure.
//!
//! A pod that fits nowhere is not tried again before some node or pod changed: no polling. Its back-off keeps a busy
//! cluster from trying it at each change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::ObjectKey;
use tokio::time::Instant;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// By priority, then by arrival.
    ready: BTreeSet<(Reverse<i32>, u64, ObjectKey)>,
    waiting: BTreeSet<(Instant, ObjectKey)>,
    hopeless: BTreeSet<ObjectKey>,
    entries: BTreeMap<ObjectKey, Entry>,
    arrivals: u64,
    /// How many times something changed that could help.
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    priority: i32,
    arrival: u64,
    failures: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Waiting(Instant),
    /// And when its back-off would be over.
    Hopeless(Instant),
    /// Being tried.
    Taken,
}

impl Entry {
    fn is_of(&self, turn: &Turn) -> bool {
        self.place == Place::Taken && self.arrival == turn.arrival
    }
}

/// A pod's turn.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) key: ObjectKey,
    arrival: u64,
    changes: u64,
}

impl Queue {
    /// A pod that is new, or of which what matters changed.
    pub(crate) fn add(&mut self, key: &ObjectKey, priority: i32) {
        if self.entries.get(key).is_some_and(|entry| matches!(entry.place, Place::Ready | Place::Taken)) {
            return;
        }
        self.lift(key);
        self.arrivals += 1;
        let arrival = self.arrivals;
        let failures = self.entries.get(key).map_or(0, |entry| entry.failures);
        self.entries.insert(key.clone(), Entry { priority, arrival, failures, place: Place::Ready });
        self.ready.insert((Reverse(priority), arrival, key.clone()));
    }

    /// It is bound, gone, or not ours any more.
    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        self.lift(key);
        self.entries.remove(key);
    }

    /// Its turn ended well. A successor of the same name keeps its own place.
    pub(crate) fn finish(&mut self, turn: &Turn) {
        if self.entries.get(&turn.key).is_some_and(|entry| entry.is_of(turn)) {
            self.entries.remove(&turn.key);
        }
    }

    /// The next pod to try, which stays known until it is removed or fails.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Turn> {
        self.end_waits(now);
        let (_, arrival, key) = self.ready.pop_first()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.place = Place::Taken;
        }
        Some(Turn { key, arrival, changes: self.changes })
    }

    /// When the next back-off is over.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// It fits nowhere. If something changed while it was tried, it only waits.
    pub(crate) fn fits_nowhere(&mut self, turn: &Turn, now: Instant) {
        let missed = turn.changes != self.changes;
        self.put_back(turn, now, missed);
    }

    /// Something else went wrong: it waits, then it is tried again.
    pub(crate) fn failed(&mut self, turn: &Turn, now: Instant) {
        self.put_back(turn, now, true);
    }

    /// Something changed by which a pod may now fit.
    pub(crate) fn changed(&mut self, now: Instant) {
        self.changes += 1;
        for key in std::mem::take(&mut self.hopeless) {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let Place::Hopeless(until) = entry.place else { continue };
            if until <= now {
                entry.place = Place::Ready;
                self.ready.insert((Reverse(entry.priority), entry.arrival, key));
            } else {
                entry.place = Place::Waiting(until);
                self.waiting.insert((until, key));
            }
        }
    }

    /// How many wait: ready, in back-off, hopeless.
    pub(crate) fn lengths(&self) -> [usize; 3] {
        [self.ready.len(), self.waiting.len(), self.hopeless.len()]
    }

    fn put_back(&mut self, turn: &Turn, now: Instant, to_wait: bool) {
        let key = &turn.key;
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.is_of(turn)) else { return };
        let doublings = entry.failures.min(10);
        entry.failures = entry.failures.saturating_add(1);
        let until = now + BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        if to_wait {
            entry.place = Place::Waiting(until);
            self.waiting.insert((until, key.clone()));
        } else {
            entry.place = Place::Hopeless(until);
            self.hopeless.insert(key.clone());
        }
    }

    fn end_waits(&mut self, now: Instant) {
        while self.waiting.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.waiting.pop_first() else { return };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.place = Place::Ready;
                self.ready.insert((Reverse(entry.priority), entry.arrival, key));
            }
        }
    }

    /// Takes the key out of wherever it is.
    fn lift(&mut self, key: &ObjectKey) {
        let Some(entry) = self.entries.get(key) else { return };
        match entry.place {
            Place::Ready => {
                self.ready.remove(&(Reverse(entry.priority), entry.arrival, key.clone()));
            }
            Place::Waiting(due) => {
                self.waiting.remove(&(due, key.clone()));
            }
            Place::Hopeless(_) => {
                self.hopeless.remove(key);
            }
            Place::Taken => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::namespaced("default", name)
    }

    fn take(queue: &mut Queue, now: Instant) -> Turn {
        queue.take(now).expect("a pod is ready")
    }

    #[test]
    fn the_more_important_goes_first_then_the_older() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("a", 0), ("b", 0), ("c", 5), ("a", 0)] {
            queue.add(&key(name), priority);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.take(now)).map(|turn| turn.key.name).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test]
    fn what_fits_nowhere_waits_for_a_change_and_its_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0);
        let turn = take(&mut queue, now);
        queue.fits_nowhere(&turn, now);
        assert!(queue.take(now + Duration::from_secs(3600)).is_none(), "nothing changed");
        queue.changed(now);
        assert!(queue.take(now).is_none(), "its back-off is not over");
        assert_eq!(queue.next_due(), Some(now + BACKOFF_FIRST));
        take(&mut queue, now + BACKOFF_FIRST);
    }

    #[test]
    fn a_change_during_the_attempt_is_not_missed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0);
        let turn = take(&mut queue, now);
        queue.changed(now);
        queue.fits_nowhere(&turn, now);
        take(&mut queue, now + BACKOFF_FIRST);
    }

    #[test]
    fn a_removed_pod_does_not_come_back() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0);
        let turn = take(&mut queue, now);
        queue.remove(&key("a"));
        queue.failed(&turn, now);
        queue.changed(now);
        assert!(queue.take(now + Duration::from_secs(60)).is_none());
        assert_eq!(queue.lengths(), [0, 0, 0]);
    }
}
