//! Room for more: the quota, this node's disk, and the alarm that tells everybody when either is short.
//!
//! What would grow the store is refused at the door, before it takes a place in the log; a write that got into the log
//! before the alarm did is refused by the state machine, on every member alike. Deletions and compactions always pass.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Store;
use crate::disk::{Room, StateDisk, aside};
use crate::error::StoreError;
use crate::metrics;
use crate::mvcc::alarm::{Alarm, AlarmChange, AlarmKind, Lasts, grows};
use crate::mvcc::request::{Op, Txn};

/// What a lease takes.
pub(super) const LEASE_COST: u64 = 64;
/// What a key takes beside its own bytes and its value's.
const KEY_COST: u64 = 256;
/// After this many admitted bytes the tables are measured anew, instead of at each write.
const MEASURE_EVERY_BYTES: u64 = 1024 * 1024;
/// How often the disk's free space is looked at: nobody tells when another program fills it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No more of the disk than this part is reserved, however large the reserve is set.
const RESERVE_PART_MAX: u64 = 20;

/// What this node knows of its room.
#[derive(Debug)]
pub(crate) struct Space {
    /// How large the tables may grow; `None`: as they like.
    quota_bytes: Option<u64>,
    /// How many bytes of the disk are left to deletions, compactions and the log.
    reserve_bytes: u64,
    measured: AtomicU64,
    admitted: AtomicU64,
    short: AtomicBool,
}

impl Space {
    pub(crate) fn new(quota_bytes: Option<u64>, reserve_bytes: u64) -> Self {
        Self {
            quota_bytes,
            reserve_bytes,
            measured: AtomicU64::new(0),
            // The first write measures.
            admitted: AtomicU64::new(MEASURE_EVERY_BYTES),
            short: AtomicBool::new(false),
        }
    }

    pub(crate) fn quota_bytes(&self) -> Option<u64> {
        self.quota_bytes
    }

    /// Takes `cost` bytes of the quota, if they are left.
    fn take(&self, cost: u64, measure: impl Fn() -> u64) -> bool {
        let Some(quota) = self.quota_bytes else { return true };
        let admitted = self.admitted.fetch_add(cost, Ordering::Relaxed) + cost;
        let fits = self.measured.load(Ordering::Relaxed) + admitted < quota;
        if fits && admitted < MEASURE_EVERY_BYTES {
            return true;
        }
        let measured = measure();
        self.measured.store(measured, Ordering::Relaxed);
        let fits = measured + cost < quota;
        self.admitted.store(if fits { cost } else { 0 }, Ordering::Relaxed);
        fits
    }

    /// Whether the disk is short of room. It has to get some more than the reserve to be not short again.
    fn judge(&self, room: Room) -> bool {
        let reserve = reserve(self.reserve_bytes, room);
        let enough = if self.short.load(Ordering::Relaxed) { reserve + reserve / 4 } else { reserve };
        let short = room.free_bytes < enough;
        self.short.store(short, Ordering::Relaxed);
        short
    }
}

fn reserve(set_bytes: u64, room: Room) -> u64 {
    set_bytes.min(room.total_bytes / RESERVE_PART_MAX)
}

/// Looks at the room, and keeps half the reserve in the ballast while there is enough.
fn look_at(disk: &dyn StateDisk, reserve_bytes: u64) -> std::io::Result<Room> {
    let room = disk.room()?;
    let reserve = reserve(reserve_bytes, room);
    disk.settle_ballast(reserve / 2, reserve + reserve / 4)?;
    Ok(room)
}

/// How much a transaction may add; 0 when it stores nothing.
pub(super) fn cost(txn: &Txn) -> u64 {
    if !grows(txn) {
        return 0;
    }
    let of_op = |op: &Op| match op {
        Op::Range(_) | Op::Delete(_) => 0,
        Op::Put(put) => KEY_COST + (put.key.len() + put.value.len()) as u64,
        Op::Txn(inner) => cost(inner),
    };
    let of_branch = |ops: &[Op]| ops.iter().map(of_op).sum::<u64>();
    of_branch(&txn.success).max(of_branch(&txn.failure))
}

impl Store {
    /// Refuses what would take `cost` bytes while there is no room, and raises the alarm.
    pub(super) async fn make_sure_of_room(&self, cost: u64) -> Result<(), StoreError> {
        if cost == 0 {
            return Ok(());
        }
        let inner = self.inner();
        if inner.space.short.load(Ordering::Relaxed) {
            return Err(StoreError::NoSpace);
        }
        if inner.replica.alarms().no_space() {
            // It may have been disarmed already, through another member.
            self.read_barrier().await?;
            if inner.replica.alarms().no_space() {
                return Err(StoreError::NoSpace);
            }
        }
        if inner.space.take(cost, || inner.replica.disk.size_bytes()) {
            return Ok(());
        }
        let alarm = self.own_alarm();
        warn!(quota_bytes = inner.space.quota_bytes, "the quota is used up; only deletions are taken");
        if let Err(error) = self.change_alarm(AlarmChange::Raise(alarm, Lasts::UntilDisarmed)).await {
            warn!(%error, "cannot raise the alarm for no space");
        }
        Err(StoreError::NoSpace)
    }

    fn own_alarm(&self) -> Alarm {
        Alarm { member: self.inner().identity.node_id, kind: AlarmKind::NoSpace }
    }

    async fn look_at_room(&self) {
        let inner = self.inner();
        let disk = inner.replica.disk.clone();
        let reserve_bytes = inner.space.reserve_bytes;
        let look = aside(disk.waits(), move || look_at(disk.as_ref(), reserve_bytes));
        let room = match look.await.flatten() {
            Ok(room) => room,
            Err(error) => {
                warn!(%error, "cannot find out how much room the disk has");
                return;
            }
        };
        metrics::observe_room(room.free_bytes);
        let before = inner.space.short.load(Ordering::Relaxed);
        let short = inner.space.judge(room);
        if short != before {
            info!(free_bytes = room.free_bytes, short, "the room on the disk has changed");
        }
        let alarm = self.own_alarm();
        let change = match (short, inner.replica.alarms().lasts(alarm)) {
            (true, None) => AlarmChange::Raise(alarm, Lasts::UntilCleared),
            (false, Some(Lasts::UntilCleared)) => AlarmChange::Clear(alarm),
            (true, Some(_)) | (false, None | Some(Lasts::UntilDisarmed)) => return,
        };
        if let Err(error) = self.change_alarm(change).await {
            warn!(%error, ?change, "cannot change the alarm for no space yet");
        }
    }
}

/// Looks at the disk's room for as long as the node runs, and after whoever cannot look any more.
pub(crate) async fn keep_room(store: Store, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = async { store.look_at_room().await; store.clear_for_the_gone().await } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::request::{Delete, Put};
    use crate::mvcc::span::Span;

    #[test]
    fn a_quota_counts_what_was_admitted_since_the_last_look() {
        let space = Space::new(Some(10_000), 0);
        let looks = AtomicU64::new(0);
        let take = |cost, size| {
            space.take(cost, || {
                looks.fetch_add(1, Ordering::Relaxed);
                size
            })
        };
        assert!(take(4000, 1000));
        assert!(take(4000, 1000));
        assert_eq!(looks.load(Ordering::Relaxed), 1, "the second fits without a look");
        assert!(!take(4000, 9000), "a look says that they were written");
        assert!(take(4000, 1000), "and that they are gone");
        assert!(Space::new(None, 0).take(u64::MAX, || u64::MAX));
    }

    #[test]
    fn a_short_disk_needs_more_than_the_reserve_again() {
        let space = Space::new(None, 1000);
        let judge = |free_bytes| space.judge(Room { free_bytes, total_bytes: 100_000 });
        assert!(!judge(1000));
        assert!(judge(999));
        assert!(judge(1200));
        assert!(!judge(1250));
        assert!(!space.judge(Room { free_bytes: 60, total_bytes: 1000 }), "a small disk has a small reserve");
    }

    #[test]
    fn only_what_stores_costs() {
        let put = |size: usize| Op::Put(Put::of("k", vec![0; size]));
        assert_eq!(cost(&Txn::of(Op::Delete(Delete::of(Span::all())))), 0);
        let txn = Txn { success: vec![put(10)], failure: vec![put(99), put(0)], ..Txn::default() };
        assert_eq!(cost(&txn), 256 + 100 + 256 + 1);
        assert_eq!(cost(&Txn::of(Op::Txn(txn))), 256 + 100 + 256 + 1);
    }
}
