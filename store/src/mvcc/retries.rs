//! Answers of recent writes by request id, so that a write which is proposed twice is applied once.
//!
//! The table is part of the replicated state. It is bounded by age, measured by the times in the entries, and by count.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::overlay::Overlay;
use super::tables::{Table, TableError, View};

/// How long an answer is kept. No caller retries for longer: request deadlines are far below.
const KEEP_MS: i64 = 60_000;
const ANSWERS_MAX: usize = 65_536;
/// Kept whatever their age, because the clocks of two leaders may differ.
const ANSWERS_MIN: usize = 1000;
/// A larger answer is not kept; the retry is told that it has timed out.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const TAG: u8 = b'q';

/// Names one write of one process, whoever proposes it and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RequestId {
    /// Chosen at random when a process starts.
    pub(crate) origin: u64,
    pub(crate) serial: u64,
}

/// The answer to a write that was applied before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    Answer(Bytes),
    TooLargeToKeep,
}

#[derive(Debug, Default)]
pub(crate) struct Retries {
    by_id: BTreeMap<RequestId, u64>,
    /// Log index, time, id; oldest first.
    order: VecDeque<(u64, i64, RequestId)>,
}

impl Retries {
    pub(crate) fn load(view: &dyn View) -> Result<Self, TableError> {
        let mut retries = Self::default();
        let mut cursor = view.cursor(Table::Meta, &[TAG], Some(&[TAG + 1]))?;
        while let Some(key) = cursor.key() {
            let index = u64::from_be_bytes(array(key.get(1..))?);
            let row = cursor.value();
            let time_ms = i64::from_be_bytes(array(row.get(..8))?);
            let origin = u64::from_be_bytes(array(row.get(8..16))?);
            let serial = u64::from_be_bytes(array(row.get(16..24))?);
            retries.remember(index, time_ms, RequestId { origin, serial });
            cursor.advance()?;
        }
        Ok(retries)
    }

    pub(crate) fn find(&self, view: &dyn View, id: RequestId) -> Result<Option<Earlier>, TableError> {
        let Some(index) = self.by_id.get(&id) else { return Ok(None) };
        let row = view.get(Table::Meta, &key(*index))?;
        let row = row.ok_or(TableError::Corrupt { table: "meta", what: "a kept answer is missing" })?;
        let answer = row.slice(24.min(row.len())..);
        Ok(Some(if answer.is_empty() { Earlier::TooLargeToKeep } else { Earlier::Answer(answer) }))
    }

    pub(crate) fn keep(
        &mut self,
        rows: &mut Overlay<'_>,
        index: u64,
        time_ms: i64,
        id: RequestId,
        answer: &[u8],
    ) {
        let mut row = BytesMut::with_capacity(24 + answer.len());
        row.put_i64(time_ms);
        row.put_u64(id.origin);
        row.put_u64(id.serial);
        if answer.len() <= ANSWER_BYTES_MAX {
            row.put_slice(answer);
        }
        rows.put(Table::Meta, key(index), row.freeze());
        self.remember(index, time_ms, id);
        while let Some((index, kept_ms, id)) = self.order.front().copied() {
            let young = self.order.len() <= ANSWERS_MAX && time_ms - kept_ms <= KEEP_MS;
            if young || self.order.len() <= ANSWERS_MIN {
                break;
            }
            self.order.pop_front();
            self.by_id.remove(&id);
            rows.delete(Table::Meta, key(index));
        }
    }

    fn remember(&mut self, index: u64, time_ms: i64, id: RequestId) {
        self.by_id.insert(id, index);
        self.order.push_back((index, time_ms, id));
    }
}

fn key(index: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(TAG);
    key.put_u64(index);
    key.freeze()
}

fn array<const N: usize>(bytes: Option<&[u8]>) -> Result<[u8; N], TableError> {
    let corrupt = TableError::Corrupt { table: "meta", what: "a kept answer is too short" };
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryTables;
    use crate::disk::{StateDisk, read};

    #[test]
    fn an_answer_is_kept_for_a_minute_and_survives_a_restart() {
        let tables = MemoryTables::default();
        let id = |serial| RequestId { origin: 1, serial };
        let changes = read(&tables, |view| {
            let mut rows = Overlay::new(view);
            let mut retries = Retries::default();
            retries.keep(&mut rows, 10, 0, id(1), b"one");
            for serial in 2..1000 {
                retries.keep(&mut rows, serial + 10, 30_000, id(serial), b"two");
            }
            retries.keep(&mut rows, 1010, 59_000, id(1000), b"three");
            assert!(retries.find(&rows, id(1)).expect("readable").is_some());
            retries.keep(&mut rows, 1012, 70_000, id(1001), &vec![0; ANSWER_BYTES_MAX + 1]);
            rows.into_changes()
        });
        tables.write(&changes).expect("memory takes it");
        read(&tables, |view| {
            let retries = Retries::load(view).expect("what was kept");
            let find = |serial| retries.find(view, id(serial)).expect("readable");
            assert_eq!(find(1), None);
            assert_eq!(find(2), Some(Earlier::Answer("two".into())));
            assert_eq!(find(1001), Some(Earlier::TooLargeToKeep));
        });
    }

    #[test]
    fn short_rows_are_corrupt() {
        assert!(array::<8>(Some(&[1, 2])).is_err());
    }
}
