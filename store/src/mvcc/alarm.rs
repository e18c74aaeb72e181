//! Alarms: what is wrong with a member, known to all of them alike because it is in the log.
//!
//! While any member is out of space, no member takes what grows the store; deletions, compactions and all reads go on.
//! A corrupt member refuses by itself; the others do not suffer from its alarm.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::NodeId;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::overlay::Overlay;
use super::request::{Op, Txn};
use super::tables::{Table, TableError, View};

/// What the rows in `meta` start with; the member and the kind follow.
const PREFIX: &[u8] = b"alarm/";
/// From where to where the rows are in `meta`.
pub(super) const ROWS: (&[u8], &[u8]) = (PREFIX, b"alarm0");

/// Something that an operator should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    pub member: NodeId,
    pub kind: AlarmKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AlarmKind {
    /// The quota is used up, or the member's disk is short of room.
    NoSpace,
    /// The member's state differs from the others'.
    Corrupt,
}

/// Until when an alarm lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lasts {
    UntilDisarmed,
    /// The member that raised it clears it when the cause is gone.
    UntilCleared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AlarmChange {
    Raise(Alarm, Lasts),
    Clear(Alarm),
}

/// Every alarm that is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alarms {
    on: Arc<BTreeMap<Alarm, Lasts>>,
}

impl Alarms {
    pub(crate) fn load(view: &dyn View) -> Result<Self, TableError> {
        let mut on = BTreeMap::new();
        let mut cursor = view.cursor(Table::Meta, ROWS.0, Some(ROWS.1))?;
        while let Some(row) = cursor.key() {
            let alarm = decode(row).ok_or(corrupt())?;
            let lasts = match cursor.value() {
                [0] => Lasts::UntilDisarmed,
                [1] => Lasts::UntilCleared,
                _ => return Err(corrupt()),
            };
            on.insert(alarm, lasts);
            cursor.advance()?;
        }
        Ok(Self { on: Arc::new(on) })
    }

    /// Makes the change, and returns the alarm that it was about; `None`: there was none to clear.
    pub(crate) fn change(&mut self, rows: &mut Overlay<'_>, change: AlarmChange) -> Option<Alarm> {
        let (alarm, lasts) = match change {
            AlarmChange::Raise(alarm, lasts) => (alarm, Some(lasts)),
            AlarmChange::Clear(alarm) => (alarm, None),
        };
        let before = self.on.get(&alarm).copied();
        match (before, lasts) {
            (None, None) => return None,
            // What somebody has to disarm stays so.
            (Some(Lasts::UntilDisarmed), Some(_)) => {}
            (Some(_), None) => {
                Arc::make_mut(&mut self.on).remove(&alarm);
                rows.delete(Table::Meta, encode(alarm));
            }
            (None | Some(Lasts::UntilCleared), Some(lasts)) => {
                Arc::make_mut(&mut self.on).insert(alarm, lasts);
                let value: &[u8] = match lasts {
                    Lasts::UntilDisarmed => &[0],
                    Lasts::UntilCleared => &[1],
                };
                rows.put(Table::Meta, encode(alarm), Bytes::from_static(value));
            }
        }
        Some(alarm)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Alarm> + '_ {
        self.on.keys().copied()
    }

    pub(crate) fn lasts(&self, alarm: Alarm) -> Option<Lasts> {
        self.on.get(&alarm).copied()
    }

    /// Whether some member is out of space.
    pub(crate) fn no_space(&self) -> bool {
        self.on.keys().any(|alarm| alarm.kind == AlarmKind::NoSpace)
    }
}

/// Whether a transaction may store something, on any of its paths.
pub(crate) fn grows(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Range(_) | Op::Delete(_) => false,
        Op::Put(_) => true,
        Op::Txn(inner) => grows(inner),
    })
}

fn encode(alarm: Alarm) -> Bytes {
    let mut row = BytesMut::from(PREFIX);
    row.put_u64(alarm.member.get());
    row.put_u8(match alarm.kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    });
    row.freeze()
}

fn decode(row: &[u8]) -> Option<Alarm> {
    let (kind, member) = row.strip_prefix(PREFIX)?.split_last()?;
    let kind = match kind {
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => return None,
    };
    Some(Alarm { member: NodeId::new(u64::from_be_bytes(member.try_into().ok()?)), kind })
}

fn corrupt() -> TableError {
    TableError::Corrupt { table: "meta", what: "an alarm is unreadable" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryTables;
    use crate::disk::{StateDisk, read};

    #[test]
    fn alarms_survive_a_restart_and_stay_what_they_were() {
        let tables = MemoryTables::default();
        let alarm = |member, kind| Alarm { member: NodeId::new(member), kind };
        let (full, wrong) = (alarm(1, AlarmKind::NoSpace), alarm(2, AlarmKind::Corrupt));
        let mut alarms = Alarms::default();
        let changes = read(&tables, |view| {
            let mut rows = Overlay::new(view);
            let mut change = |change| alarms.change(&mut rows, change);
            assert_eq!(change(AlarmChange::Clear(full)), None);
            assert_eq!(change(AlarmChange::Raise(full, Lasts::UntilCleared)), Some(full));
            assert_eq!(change(AlarmChange::Raise(full, Lasts::UntilDisarmed)), Some(full));
            assert_eq!(change(AlarmChange::Raise(full, Lasts::UntilCleared)), Some(full));
            assert_eq!(change(AlarmChange::Raise(wrong, Lasts::UntilDisarmed)), Some(wrong));
            rows.into_changes()
        });
        tables.write(&changes).expect("memory takes it");
        let loaded = read(&tables, Alarms::load).expect("sound rows");
        assert_eq!(loaded, alarms);
        assert_eq!(loaded.all().collect::<Vec<_>>(), [full, wrong]);
        assert_eq!(loaded.lasts(full), Some(Lasts::UntilDisarmed));
        assert!(loaded.no_space());
    }
}
