//! The state machine as openraft wants it: entries in, answers out, snapshots of the files.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use tracing::info;

use super::record;
use super::replica::Replica;
use super::types::{Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::disk::{Arrived, Frozen, aside};
use crate::mvcc::machine::Outcome;
use crate::mvcc::tables::TableError;

/// How many entries become one write. Each may hold hundreds of commands.
const CHUNK_ENTRIES_MAX: usize = 16;

#[derive(Clone)]
pub(crate) struct StateMachine {
    pub(crate) replica: Arc<Replica>,
}

/// A copy of the state that is sent, or that has arrived.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotData {
    Kept(Frozen),
    Arrived(Arrived),
}

type SmSnapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok(self.replica.applied())
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(CHUNK_ENTRIES_MAX);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.into_iter().collect::<Result<Vec<_>, io::Error>>()?;
            let (entries, responders): (Vec<Entry>, Vec<_>) = chunk.into_iter().unzip();
            let outcomes = self.apply_when_sound(&entries).await?;
            for (responder, outcome) in responders.into_iter().zip(outcomes) {
                if let Some(responder) = responder {
                    responder.send(outcome);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let arrived = match snapshot {
            SnapshotData::Arrived(arrived) => arrived,
            // openraft installs our own copy when the state is behind it.
            SnapshotData::Kept(frozen) => Arrived { dir: frozen.dir, inline: frozen.inline, keep: true },
        };
        // A copy that was installed beside Raft may be ahead of it; going back would lose what was served.
        let last = meta.last_log_id.map_or(0, |id| id.index);
        if last < self.replica.applied_index() {
            return Ok(());
        }
        let replica = self.replica.clone();
        aside(self.replica.disk.waits(), move || replica.install(&arrived)).await??;
        info!(last = ?meta.last_log_id.map(|id| id.index), "installed a snapshot");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SmSnapshot>, io::Error> {
        self.replica.disk.newest_frozen()?.map(describe).transpose()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SmSnapshot, io::Error> {
        let frozen = loop {
            match self.freeze().await {
                Ok(frozen) => break frozen,
                // Raft would stop; it can as well wait until the tables are replaced.
                Err(error) if error.is_damage() && self.replica.is_running() => {
                    self.replica.failed(&error);
                    self.replica.health.released().await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let snapshot = describe(frozen)?;
        info!(last = ?snapshot.meta.last_log_id.map(|id| id.index), "took a snapshot");
        Ok(snapshot)
    }
}

impl StateMachine {
    async fn freeze(&self) -> Result<Frozen, TableError> {
        let disk = self.replica.disk.clone();
        aside(disk.waits(), move || disk.freeze()).await.map_err(TableError::Io)?
    }

    /// While the replica is quarantined, entries wait here: the log goes on without them.
    async fn apply_when_sound(&self, entries: &[Entry]) -> Result<Vec<Vec<Outcome>>, io::Error> {
        loop {
            match self.replica.apply(entries) {
                Ok(Some(outcomes)) => return Ok(outcomes),
                Ok(None) => self.replica.health.released().await?,
                Err(error) if error.is_damage() && self.replica.is_running() => self.replica.failed(&error),
                Err(error) => {
                    self.replica.failed(&error);
                    return Err(error.into());
                }
            }
        }
    }
}

/// What a copy holds is read from the copy itself: entries may have been applied since.
fn describe(frozen: Frozen) -> Result<SmSnapshot, io::Error> {
    let (last_log_id, last_membership) = match &frozen.applied {
        Some(row) => record::decode_applied(row)?,
        None => (None, StoredMembership::default()),
    };
    Ok(Snapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot: SnapshotData::Kept(frozen) })
}
