//! What the nodes of a simulation and whoever breaks them share: the time, the trace, the history, who leads,
//! who is to become a member, the links' losses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Clock, Timestamp};
use tokio::sync::watch;

use super::course::Leaders;
use super::membership::Membership;
use super::record::Record;
use super::trace::Trace;
use crate::dice::Dice;

/// The wall time at which every simulation begins: 2026-01-01, midnight UTC.
const EPOCH_S: i64 = 1_767_225_600;

/// How far a run is. Nodes and clients behave accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Clients work, whatever happens.
    Work,
    /// Users ask for nothing new, and the control plane finishes what it is at.
    Settle,
    /// Clients finish what they are at.
    Rest,
    /// Every member is read, through its front door.
    Read,
    /// Every member tells what it has on its disk.
    Tell,
}

pub(super) struct World {
    elapsed_ns: AtomicU64,
    trace: Mutex<Trace>,
    pub(super) record: Record,
    pub(super) leaders: Mutex<Leaders>,
    pub(super) membership: Membership,
    pub(super) links: Links,
    /// What the control plane still has to bring about, once somebody has looked.
    pub(super) lacking: Mutex<Option<Vec<String>>>,
    /// Requests of an API server that panicked.
    pub(super) panics: Mutex<Vec<String>>,
    pub(super) phase: watch::Sender<Phase>,
}

impl World {
    pub(super) fn new(seed: u64, spares: Vec<String>, trace: Trace) -> Arc<Self> {
        Arc::new_cyclic(|world: &std::sync::Weak<Self>| {
            let world = world.clone();
            let now = move || world.upgrade().map_or(0, |world| world.elapsed_ns.load(Ordering::Relaxed));
            Self {
                elapsed_ns: AtomicU64::new(0),
                trace: Mutex::new(trace),
                record: Record::new(now),
                leaders: Mutex::default(),
                membership: Membership::new(spares),
                links: Links { dice: Dice::of(seed, "losses", 0), losses: Mutex::default() },
                lacking: Mutex::default(),
                panics: Mutex::default(),
                phase: watch::Sender::new(Phase::Work),
            }
        })
    }

    /// Since the simulation began.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_ns.load(Ordering::Relaxed))
    }

    pub(super) fn set_elapsed(&self, elapsed: Duration) {
        self.elapsed_ns.store(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Comes when the run is so far.
    pub(super) async fn wait_for(&self, phase: Phase) {
        let mut now = self.phase.subscribe();
        // The sender lives as long as the world.
        let _reached = now.wait_for(|now| *now >= phase).await;
    }

    pub(super) fn trace(&self, what: fmt::Arguments<'_>, bytes: &[u8]) {
        lock(&self.trace).record(self.elapsed(), what, bytes);
    }

    pub(super) fn trace_hash(&self) -> u64 {
        lock(&self.trace).hash()
    }
}

/// How many packets of a hundred are lost on their way, by sender and receiver.
pub(super) struct Links {
    dice: Dice,
    losses: Mutex<BTreeMap<(String, String), u64>>,
}

impl Links {
    pub(super) fn set_loss(&self, from: &str, to: &str, percent: u64) {
        let mut losses = lock(&self.losses);
        let link = (from.to_owned(), to.to_owned());
        if percent == 0 {
            losses.remove(&link);
        } else {
            losses.insert(link, percent);
        }
    }

    pub(super) fn loses(&self, from: &str, to: &str) -> bool {
        let losses = lock(&self.losses);
        if losses.is_empty() {
            return false;
        }
        let percent = losses.iter().find(|((one, other), _)| one == from && other == to);
        percent.is_some_and(|(_, percent)| self.dice.percent(*percent))
    }
}

/// A node's wall clock: the simulation's time, as wrong as it was made.
pub(super) struct WallClock {
    world: Arc<World>,
    wrong_by_ms: AtomicI64,
}

impl WallClock {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, wrong_by_ms: AtomicI64::new(0) }
    }

    pub(super) fn set_wrong_by_ms(&self, ms: i64) {
        self.wrong_by_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let elapsed_ms = i64::try_from(self.world.elapsed().as_millis()).unwrap_or(i64::MAX);
        let ms = EPOCH_S * 1000 + elapsed_ms + self.wrong_by_ms.load(Ordering::Relaxed);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_loses_what_it_is_told_to() {
        let world = World::new(1, Vec::new(), Trace::new());
        let lost = || (0..1000).filter(|_| world.links.loses("n1", "n2")).count();
        assert_eq!(lost(), 0);
        world.links.set_loss("n1", "n2", 30);
        assert!((200..400).contains(&lost()));
        assert!(!world.links.loses("n2", "n1"), "the other direction is another link");
        world.links.set_loss("n1", "n2", 0);
        assert_eq!(lost(), 0);
    }

    #[test]
    fn a_clock_is_as_wrong_as_it_was_made() {
        let world = World::new(1, Vec::new(), Trace::new());
        let clock = WallClock::new(world.clone());
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:00Z");
        world.set_elapsed(Duration::from_secs(60));
        clock.set_wrong_by_ms(-1000);
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:59Z");
    }
}
