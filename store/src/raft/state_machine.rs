//! The state machine as openraft wants it: entries in, answers out, snapshots of the files.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use tokio::sync::watch;
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
    replica: Arc<Replica>,
    /// The last entry that Raft has given, or had when it began. The replica may be ahead of it: a copy was installed
    /// beside Raft.
    given: Arc<watch::Sender<u64>>,
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
            self.note_given(entries.last().map(|entry| entry.log_id));
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
        self.note_given(meta.last_log_id);
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
        let last = snapshot.meta.last_log_id.map(|id| id.index);
        self.wait_until_given(last.unwrap_or(0)).await?;
        info!(?last, "took a snapshot");
        Ok(snapshot)
    }
}

impl StateMachine {
    pub(crate) fn of(replica: Arc<Replica>) -> Self {
        let given = Arc::new(watch::Sender::new(replica.applied_index()));
        Self { replica, given }
    }

    fn note_given(&self, last: Option<LogId>) {
        let last = last.map_or(0, |id| id.index);
        self.given.send_if_modified(|given| {
            let is_news = last > *given;
            *given = last.max(*given);
            is_news
        });
    }

    /// To Raft, a snapshot with entries that it has not given yet is a contradiction.
    async fn wait_until_given(&self, last: u64) -> Result<(), io::Error> {
        let mut given = self.given.subscribe();
        tokio::select! {
            biased;
            reached = given.wait_for(|given| *given >= last) => reached.map(drop).map_err(io::Error::other),
            () = self.replica.health.closed() => Err(io::Error::other("the node is stopping")),
        }
    }

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use openraft::EntryPayload;

    use super::*;
    use crate::disk::memory::MemoryTables;
    use crate::raft::types::LeaderId;

    fn machine() -> StateMachine {
        StateMachine::of(Arc::new(Replica::open(Arc::new(MemoryTables::default()), 1000).expect("tables")))
    }

    async fn apply(machine: &mut StateMachine, indexes: std::ops::Range<u64>) {
        let id = |index| LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
        let entry = |index| Ok((Entry { log_id: id(index), payload: EntryPayload::Blank }, None));
        machine.apply(futures::stream::iter(indexes.map(entry))).await.expect("entries");
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_is_never_ahead_of_raft() {
        let (mut ahead, mut machine) = (machine(), machine());
        apply(&mut ahead, 1..6).await;
        apply(&mut machine, 1..3).await;
        let Frozen { dir, inline, .. } = ahead.replica.disk.freeze().expect("a copy");
        machine.replica.install(&Arrived { dir, inline, keep: true }).expect("a copy is installed");
        let mut builder = machine.clone();
        let early = tokio::time::timeout(Duration::from_secs(60), builder.build_snapshot()).await;
        assert!(early.is_err(), "Raft has given two entries of five");
        let (built, ()) = tokio::join!(builder.build_snapshot(), apply(&mut machine, 3..8));
        let last = built.expect("a snapshot").meta.last_log_id.expect("entries").index;
        assert_eq!(last, 5, "it holds what was installed, which Raft has given by now");
    }
}
