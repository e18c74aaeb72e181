//! What others may ask of the log. It holds no end of the writer's queue, so it keeps no writer from ending.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::{LogStore, State, record};
use crate::disk::LogDisk;
use crate::raft::types::LogId;

#[derive(Clone)]
pub(crate) struct LogReader {
    disk: Arc<dyn LogDisk>,
    state: Arc<Mutex<State>>,
}

impl LogReader {
    pub(crate) fn of(log: &LogStore) -> Self {
        Self { disk: log.disk.clone(), state: log.state.clone() }
    }

    /// The index that the tables must have applied for the log to go on from there; 0: the log was never cut.
    pub(crate) fn first_needed(&self) -> u64 {
        self.ends().0.map_or(0, |purged| purged.index)
    }

    /// The index after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.ends().1.map_or(0, |last| last.index + 1)
    }

    /// Whether tables that have applied up to `id` go with this log: it has that very entry, or ends before it.
    pub(crate) fn agrees_with(&self, id: LogId) -> io::Result<bool> {
        let (purged, last) = self.ends();
        if last.is_none_or(|last| last.index < id.index) || purged == Some(id) {
            return Ok(true);
        }
        let in_memory = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.tail.entries.get(&id.index).map(|entry| entry.log_id)
        };
        if let Some(found) = in_memory {
            return Ok(found == id);
        }
        let found = self.disk.entries(id.index, id.index + 1)?;
        let found = found.first().map(|(_, entry)| record::decode_entry(entry)).transpose()?;
        Ok(found.is_some_and(|entry| entry.log_id == id))
    }

    /// Up to where it was cut, and its last entry.
    fn ends(&self) -> (Option<LogId>, Option<LogId>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.purged, state.last)
    }
}
