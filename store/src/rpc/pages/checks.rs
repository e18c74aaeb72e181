//! What a healthy node can do, one check for each.

use super::words;
use crate::{Alarm, AlarmKind, Range, Store};

/// A key that nobody has; whether it is there does not matter.
const PROBED: &str = "health";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Its state is not known to differ from the others'.
    DataCorruption,
    /// It reads its own disk.
    SerializableRead,
    /// It reads what the cluster has acknowledged.
    LinearizableRead,
    /// It votes.
    NonLearner,
}

/// A node that fails these is helped by a restart.
pub(super) const LIVE: &[Check] = &[Check::SerializableRead];
/// A node that fails these should get no requests.
pub(super) const READY: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    /// Why it fails, if it does.
    pub(super) async fn run(self, store: &Store) -> Result<(), String> {
        match self {
            Self::DataCorruption => {
                // The other members do not suffer from one that is corrupt.
                let alarm = Alarm { member: store.status().node_id, kind: AlarmKind::Corrupt };
                if store.alarms().contains(&alarm) {
                    Err("alarm activated: CORRUPT".to_owned())
                } else {
                    Ok(())
                }
            }
            Self::SerializableRead => read(store, true).await,
            Self::LinearizableRead => read(store, false).await,
            Self::NonLearner => {
                let status = store.status();
                let is_learner =
                    status.members.iter().any(|member| member.id == status.node_id && member.is_learner);
                if is_learner { Err("the member is a learner".to_owned()) } else { Ok(()) }
            }
        }
    }
}

/// What is wrong with a cluster, in the words of etcd's /health; `is_local` asks nothing of the other members.
pub(super) async fn health(store: &Store, is_local: bool, excluded: impl Fn(&str) -> bool) -> Option<String> {
    let alarms = store.alarms();
    for (kind, name) in [(AlarmKind::NoSpace, "NOSPACE"), (AlarmKind::Corrupt, "CORRUPT")] {
        if alarms.iter().any(|alarm| alarm.kind == kind) && !excluded(name) {
            return Some(format!("ALARM {name}"));
        }
    }
    if !is_local && store.status().leader.is_none() {
        return Some("RAFT NO LEADER".to_owned());
    }
    read(store, is_local).await.err().map(|error| format!("RANGE ERROR:{error}"))
}

async fn read(store: &Store, serializable: bool) -> Result<(), String> {
    let range = Range { serializable, keys_only: true, limit: 1, ..Range::key(PROBED) };
    store.range(range).await.map(drop).map_err(|refused| words(&refused))
}
