//! What a node's disk does: how long a sync takes, when one fails, and what is left when the power goes.

use std::io::ErrorKind;
use std::sync::Mutex;
use std::time::Duration;

use store::{DiskWhims, MemoryDisk, SyncFate, Unsynced};

use super::world::lock;
use crate::dice::Dice;

/// A sync on a healthy disk.
const SYNC_MAX: Duration = Duration::from_millis(3);
/// A sync on a healthy disk that was unlucky, which is one in so many.
const UNLUCKY_SYNC_MAX: Duration = Duration::from_millis(60);
const UNLUCKY_ONE_IN: u64 = 50;

/// How a disk behaves until it is told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Healthy,
    /// Each sync takes up to so long.
    Slow(Duration),
    /// No sync succeeds.
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
}

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Its process ends: what it wrote to the log stays, what was not flushed of the tables goes.
    Killed,
    /// The power goes: of what was not synced a beginning stays, the last write of which was torn.
    PowerLost,
}

/// Leaves on the disk what survives the death; returns what may be told of it.
pub(super) fn bury(disk: &MemoryDisk, death: Death, dice: &Dice) -> String {
    let at_risk = disk.unsynced();
    let some = |of: usize| usize::try_from(dice.below(of as u64 + 1)).unwrap_or(0);
    let log_writes = match death {
        Death::Killed => at_risk.log_writes,
        Death::PowerLost => some(at_risk.log_writes),
    };
    // Tables reach the device when it pleases them; a process that ends takes the rest with it.
    let kept = Unsynced { log_writes, row_batches: some(at_risk.row_batches) };
    disk.crash(kept);
    format!(
        "lost {} of {} unsynced writes of the log, {} of {} batches of rows",
        at_risk.log_writes - kept.log_writes,
        at_risk.log_writes,
        at_risk.row_batches - kept.row_batches,
        at_risk.row_batches
    )
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
        whims.set(Mood::Lying);
        assert!(matches!(whims.sync(), SyncFate::Forgotten { .. }));
    }
}
