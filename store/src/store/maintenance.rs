//! What operators ask of a store: its hashes, its size.

use base::Revision;

use super::Store;
use crate::disk::{APPLIED, aside};
use crate::error::StoreError;
use crate::mvcc::state_hash;
use crate::mvcc::tables::TableError;
use crate::upkeep::CLEANED;

/// The hash of a key space, and what it was taken over. Members with equal numbers must have equal hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpaceHash {
    pub hash: u32,
    pub at: Revision,
    pub compacted: Revision,
    /// The newest revision meanwhile.
    pub newest: Revision,
}

impl Store {
    /// The hash of what this node holds for readers at `at` (`None`: the newest revision), without asking others.
    ///
    /// # Errors
    /// When the revision is not readable.
    pub async fn hash_key_space(&self, at: Option<Revision>) -> Result<KeySpaceHash, StoreError> {
        let found = self.inner().replica.read(true, move |view, horizon| {
            let at = match horizon.resolve(at) {
                Ok(at) => at,
                Err(refusal) => return Ok(Err(refusal)),
            };
            // A compaction may have come between the rows and the horizon; the rows have more then, never less.
            let (newest, compacted) = (horizon.newest, horizon.compacted);
            let hash = state_hash::key_space(view, at, compacted)?;
            Ok(Ok(KeySpaceHash { hash, at, compacted, newest }))
        });
        found.await.map_err(|error| self.unreadable(&error))?
    }

    /// The hash of everything that is replicated, as of now.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn hash_everything(&self) -> Result<u32, StoreError> {
        let found = self.inner().replica.read(true, |view, horizon| {
            state_hash::everything(view, horizon.newest, horizon.compacted, &[APPLIED, CLEANED])
        });
        found.await.map_err(|error| self.unreadable(&error))
    }

    /// Waits until what was compacted up to now is deleted on this node.
    pub async fn wait_until_clean(&self) {
        let replica = &self.inner().replica;
        replica.wait_until_clean(replica.progress().horizon.compacted).await;
    }

    /// Rewrites this node's tables without what was deleted, once everything compacted is. Reads and writes go on.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn defragment(&self) -> Result<(), StoreError> {
        self.wait_until_clean().await;
        let inner = self.inner();
        let disk = inner.replica.disk.clone();
        let compacted = aside(disk.waits(), move || disk.compact()).await.map_err(TableError::Io).flatten();
        compacted.map_err(|error| self.unreadable(&error))?;
        // The old files stay linked by the copy that Raft keeps, until there is another.
        if inner.raft.take_snapshot().await { Ok(()) } else { Err(StoreError::Stopping) }
    }

    /// How large the tables may grow; `None`: as they like.
    pub fn quota_bytes(&self) -> Option<u64> {
        self.inner().space.quota_bytes()
    }

    /// About how many bytes of the tables are not garbage.
    pub fn live_bytes(&self) -> u64 {
        self.inner().replica.disk.live_bytes()
    }
}
