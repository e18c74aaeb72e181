//! A single watch for callers in this process.

use std::collections::VecDeque;
use std::sync::Arc;

use base::Revision;

use super::{News, Reader};
use crate::error::WatchError;
use crate::mvcc::request::{Event, Watch, WatchBatch};
use crate::raft::replica::Replica;

/// Delivers the events of a watch, each revision once and in order.
pub struct Watcher {
    reader: Reader,
    prev_kv: bool,
    ready: VecDeque<WatchBatch>,
    failed: Option<WatchError>,
}

impl Watcher {
    pub(crate) fn new(replica: Arc<Replica>, watch: Watch) -> Self {
        let mut reader = Reader::new(replica);
        let start = watch.start.filter(|start| start.get() > 0);
        reader.add(0, watch.span, start, watch.prev_kv);
        Self { reader, prev_kv: watch.prev_kv, ready: VecDeque::new(), failed: None }
    }

    /// The next revision that touches the watched keys. Waits for it; dropping the future loses nothing.
    ///
    /// # Errors
    /// When the events to deliver have been compacted, or the store is stopping.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            if let Some(batch) = self.step().await? {
                return Ok(batch);
            }
        }
    }

    /// As [`next`](Self::next), but comes back with nothing as well when only the [`position`](Self::position) may
    /// have moved.
    ///
    /// # Errors
    /// As `next`.
    pub async fn step(&mut self) -> Result<Option<WatchBatch>, WatchError> {
        if let Some(batch) = self.ready.pop_front() {
            return Ok(Some(batch));
        }
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        match self.reader.next().await? {
            News::Found(found) => {
                for piece in found.into_iter().flat_map(|found| found.pieces) {
                    let events = piece.events().map(|event| self.shaped(event)).collect();
                    self.ready.push_back(WatchBatch { revision: piece.revision(), events });
                }
            }
            News::Compacted { asked, compacted, .. } => {
                self.failed = Some(WatchError::Compacted { asked, compacted });
            }
            News::Reached(_) => {}
        }
        Ok(None)
    }

    /// Every event up to and including this revision has been handed out.
    pub fn position(&self) -> Revision {
        match self.ready.front() {
            Some(batch) => Revision::new(batch.revision.get() - 1),
            None => self.reader.reached(),
        }
    }

    /// Has [`step`](Self::step) come back once everything up to `revision` has been handed out, also when none of it
    /// touches the watched keys.
    pub fn ask(&mut self, revision: Revision) {
        self.reader.ask(revision);
    }

    fn shaped(&self, event: &Arc<Event>) -> Arc<Event> {
        if self.prev_kv || event.prev.is_none() {
            return event.clone();
        }
        Arc::new(Event { kind: event.kind, kv: event.kv.clone(), prev: None })
    }
}
