//! What a node's disk does: how long a sync takes, when one or a write fails, and what is left when the power goes.

use std::io::ErrorKind;
use std::sync::Mutex;
use std::time::Duration;

use store::{DiskWhims, MemoryDisk, SyncFate};

use super::world::lock;
use crate::dice::Dice;

/// A sync on a healthy disk.
const SYNC_MAX: Duration = Duration::from_millis(3);
/// A sync on a healthy disk that was unlucky, which is one in so many.
const UNLUCKY_SYNC_MAX: Duration = Duration::from_millis(60);
const UNLUCKY_ONE_IN: u64 = 50;

/// Of the writes of a disk that fails; all others fail when they are synced.
const FAILING_WRITES_PERCENT: u64 = 50;

/// How a disk behaves until it is told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Healthy,
    /// Each sync takes up to so long.
    Slow(Duration),
    /// No sync succeeds, nor does each write.
    Failing(ErrorKind),
    /// Says that it has synced, and has not.
    Lying,
}

pub(super) struct Whims {
    dice: Dice,
    mood: Mutex<Mood>,
}

impl Whims {
    pub(super) fn new(dice: Dice, mood: Mood) -> Self {
        Self { dice, mood: Mutex::new(mood) }
    }

    pub(super) fn set(&self, mood: Mood) {
        *lock(&self.mood) = mood;
    }

    fn healthy(&self) -> Duration {
        let unlucky = self.dice.below(UNLUCKY_ONE_IN) == 0;
        self.dice.between(Duration::ZERO, if unlucky { UNLUCKY_SYNC_MAX } else { SYNC_MAX })
    }
}

impl DiskWhims for Whims {
    fn sync(&self) -> SyncFate {
        let mood = *lock(&self.mood);
        match mood {
            Mood::Healthy => SyncFate::Durable { after: self.healthy() },
            Mood::Slow(most) => SyncFate::Durable { after: self.dice.between(Duration::ZERO, most) },
            Mood::Failing(kind) => SyncFate::Fails(kind),
            Mood::Lying => SyncFate::Forgotten { after: self.healthy() },
        }
    }

    fn write(&self) -> Option<ErrorKind> {
        match *lock(&self.mood) {
            Mood::Failing(kind) => self.dice.percent(FAILING_WRITES_PERCENT).then_some(kind),
            Mood::Healthy | Mood::Slow(_) | Mood::Lying => None,
        }
    }
}

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Its process ends, at any step of a write: what it wrote to the log stays, what was not flushed of the tables goes.
    Killed,
    /// The power goes: of what was not synced any part stays, torn or whole.
    PowerLost,
}

/// Leaves on the disk what survives the death; returns what may be told of it.
pub(super) fn bury(disk: &MemoryDisk, death: Death, dice: &Dice) -> String {
    let before = disk.unsynced();
    let chance = chance(dice);
    // Tables reach the device when it pleases them; a process that ends takes the rest with it.
    let row_batches = usize::try_from(chance(before.row_batches as u64)).unwrap_or(0);
    match death {
        Death::Killed => disk.kill(row_batches, &chance),
        Death::PowerLost => disk.cut_power(row_batches, &chance),
    }
    format!(
        "{} writes of the log were not synced; lost {} of {} batches of rows",
        before.log_writes,
        before.row_batches - row_batches,
        before.row_batches
    )
}

/// A number up to the given one.
pub(super) fn chance(dice: &Dice) -> impl Fn(u64) -> u64 {
    |most| dice.below(most + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_as_its_mood() {
        let whims = Whims::new(Dice::new(1), Mood::Healthy);
        let fates: Vec<SyncFate> = (0..200).map(|_| whims.sync()).collect();
        assert!(
            fates
                .iter()
                .all(|fate| matches!(fate, SyncFate::Durable { after } if *after <= UNLUCKY_SYNC_MAX))
        );
        assert!(fates.iter().any(|fate| matches!(fate, SyncFate::Durable { after } if *after > SYNC_MAX)));
        whims.set(Mood::Failing(ErrorKind::StorageFull));
        assert_eq!(whims.sync(), SyncFate::Fails(ErrorKind::StorageFull));
        let failed = (0..200).filter(|_| whims.write() == Some(ErrorKind::StorageFull)).count();
        assert!((50..150).contains(&failed), "{failed}");
        whims.set(Mood::Lying);
        assert_eq!(whims.write(), None);
        assert!(matches!(whims.sync(), SyncFate::Forgotten { .. }));
    }
}
