//! What is wrong with members: told to all of them, and taken back when it is over.

use tracing::{info, warn};

use super::Store;
use crate::error::StoreError;
use crate::mvcc::alarm::{Alarm, AlarmChange, Lasts};
use crate::mvcc::machine::{Action, Reply};
use crate::status::Role;

impl Store {
    /// The alarms that are on, as far as this node knows.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.inner().replica.alarms().all().collect()
    }

    /// Raises an alarm, which lasts until somebody disarms it.
    ///
    /// # Errors
    /// When no leader takes it.
    pub async fn alarm_raise(&self, alarm: Alarm) -> Result<(), StoreError> {
        self.change_alarm(AlarmChange::Raise(alarm, Lasts::UntilDisarmed)).await.map(drop)
    }

    /// Clears an alarm; false: it was not on.
    ///
    /// # Errors
    /// When no leader takes it.
    pub async fn alarm_disarm(&self, alarm: Alarm) -> Result<bool, StoreError> {
        self.change_alarm(AlarmChange::Clear(alarm)).await.map(|cleared| cleared.is_some())
    }

    pub(crate) async fn change_alarm(&self, change: AlarmChange) -> Result<Option<Alarm>, StoreError> {
        match self.propose_about_itself(Action::Alarm(change)).await? {
            Reply::Alarm(alarm) => Ok(alarm),
            Reply::Txn(_)
            | Reply::Compacted
            | Reply::Lease(_)
            | Reply::Revoked(_)
            | Reply::Node(_)
            | Reply::AuthChanged => Err(StoreError::Timeout),
        }
    }

    /// A member clears its own alarms; the leader those of members that are gone.
    pub(super) async fn clear_for_the_gone(&self) {
        let inner = self.inner();
        let alarms = inner.replica.alarms();
        // A leader knows of a member before it applies what that member asked for.
        let view = inner.raft.view();
        if view.role != Role::Leader {
            return;
        }
        let is_left = |alarm: &Alarm| {
            alarms.lasts(*alarm) == Some(Lasts::UntilCleared)
                && view.members.iter().all(|member| member.id != alarm.member)
        };
        for alarm in alarms.all().filter(is_left) {
            match self.change_alarm(AlarmChange::Clear(alarm)).await {
                Ok(_) => info!(member = %alarm.member, kind = ?alarm.kind, "an alarm went with its member"),
                Err(error) => warn!(%error, ?alarm, "cannot clear the alarm of a member that is gone"),
            }
        }
    }
}
