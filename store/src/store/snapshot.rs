//! A copy of the state for the operator, made beside those that Raft keeps.

use super::Store;
use crate::archive::{Manifest, Outgoing};
use crate::disk::{StateDisk, aside, codec};
use crate::error::StoreError;
use crate::mvcc::machine::{Machine, OutcomeCodec};
use crate::mvcc::tables::TableError;

impl Store {
    /// A consistent copy of what this node has applied, to be read piece by piece. It holds disk space until dropped;
    /// writes go on meanwhile.
    ///
    /// # Errors
    /// When the copy cannot be made, or would be one of data that cannot be trusted.
    pub(crate) async fn snapshot(&self) -> Result<Outgoing, StoreError> {
        self.require_sound()?;
        let inner = self.inner();
        let disk = inner.replica.disk.clone();
        let time_ms = inner.clock.now().as_millisecond();
        let manifest = Manifest::new(inner.identity.cluster_id, inner.identity.name.clone(), time_ms);
        let make = move || outgoing(disk.as_ref(), manifest);
        let made = aside(inner.replica.disk.waits(), make).await.map_err(TableError::Io).flatten();
        made.map_err(|error| self.unreadable(&error))
    }
}

fn outgoing(disk: &dyn StateDisk, mut manifest: Manifest) -> Result<Outgoing, TableError> {
    let mut looked = Ok(());
    let copy = disk.copy(&mut |view| {
        let codec = OutcomeCodec {
            encode: |outcome| codec::encode(outcome),
            decode: |bytes| codec::decode(bytes).ok(),
        };
        looked = Machine::load(view, codec).map(|machine| {
            manifest.revision = machine.horizon().newest.get();
            manifest.compacted = machine.horizon().compacted.get().max(0);
            manifest.hash = machine.hash();
        });
    })?;
    looked?;
    Outgoing::new(copy, manifest).map_err(TableError::Io)
}
