//! Answers of recent writes by request id, so that a write which is proposed twice is applied once.
//!
//! The table is part of the replicated state. It is bounded by age, measured by the times in the entries, and by count.
//! The nodes' own ids and the clients' are kept apart, so that a busy cluster does not push out what a client relies on.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::overlay::Overlay;
use super::tables::{Table, TableError, View};

/// A node tries again for as long as a request may take, a few seconds.
const OF_NODES: Limits = Limits { keep_ms: 15_000, answers_max: 262_144 };
/// A client tries again for as long as it takes to find a member that answers.
const OF_CLIENTS: Limits = Limits { keep_ms: 5 * 60_000, answers_max: 65_536 };
/// Kept whatever their age, because the clocks of two leaders may differ.
const ANSWERS_MIN: usize = 1000;
/// A larger answer is not kept; the retry is told that it has timed out.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const TAG: u8 = b'q';
/// From where to where the rows are in `meta`.
pub(super) const ROWS: (&[u8], &[u8]) = (b"q", b"r");
const HEAD_BYTES: usize = 25;

struct Limits {
    keep_ms: i64,
    answers_max: usize,
}

/// Who chose a request's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Asker {
    /// The node that took the request, for its own attempts.
    #[default]
    Node,
    /// The client, which may ask another node and much later.
    Client,
}

/// Names one write, whoever proposes it and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RequestId {
    pub(crate) asker: Asker,
    /// Of a node: chosen at random when the process starts.
    pub(crate) origin: u64,
    pub(crate) serial: u64,
}

impl RequestId {
    pub(crate) fn of_node(origin: u64, serial: u64) -> Self {
        Self { asker: Asker::Node, origin, serial }
    }

    /// The name and what is asked together: a name that is used for two requests never answers one with the other.
    pub(crate) fn of_client(name: &[u8], command: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(name.len().to_be_bytes());
        hash.update(name);
        hash.update(command);
        let mut halves = [[0; 8]; 2];
        for (half, bytes) in halves.iter_mut().zip(hash.finalize().chunks_exact(8)) {
            half.copy_from_slice(bytes);
        }
        let [origin, serial] = halves.map(u64::from_be_bytes);
        Self { asker: Asker::Client, origin, serial }
    }
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
    nodes: VecDeque<Kept>,
    clients: VecDeque<Kept>,
}

/// Oldest first in its queue.
#[derive(Clone, Copy, Debug)]
struct Kept {
    index: u64,
    time_ms: i64,
    id: RequestId,
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
            let asker = match array(row.get(24..HEAD_BYTES))? {
                [0] => Asker::Node,
                [1] => Asker::Client,
                _ => return Err(TableError::Corrupt { table: "meta", what: "a kept answer is nobody's" }),
            };
            retries.remember(Kept { index, time_ms, id: RequestId { asker, origin, serial } });
            cursor.advance()?;
        }
        Ok(retries)
    }

    pub(crate) fn find(&self, view: &dyn View, id: RequestId) -> Result<Option<Earlier>, TableError> {
        let Some(index) = self.by_id.get(&id) else { return Ok(None) };
        let row = view.get(Table::Meta, &key(*index))?;
        let row = row.ok_or(TableError::Corrupt { table: "meta", what: "a kept answer is missing" })?;
        let answer = row.slice(HEAD_BYTES.min(row.len())..);
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
        let mut row = BytesMut::with_capacity(HEAD_BYTES + answer.len());
        row.put_i64(time_ms);
        row.put_u64(id.origin);
        row.put_u64(id.serial);
        row.put_u8(match id.asker {
            Asker::Node => 0,
            Asker::Client => 1,
        });
        if answer.len() <= ANSWER_BYTES_MAX {
            row.put_slice(answer);
        }
        rows.put(Table::Meta, key(index), row.freeze());
        self.remember(Kept { index, time_ms, id });
        for (order, limits) in [(&mut self.nodes, &OF_NODES), (&mut self.clients, &OF_CLIENTS)] {
            while let Some(oldest) = order.front().copied() {
                let young = order.len() <= limits.answers_max && time_ms - oldest.time_ms <= limits.keep_ms;
                if young || order.len() <= ANSWERS_MIN {
                    break;
                }
                order.pop_front();
                self.by_id.remove(&oldest.id);
                rows.delete(Table::Meta, key(oldest.index));
            }
        }
    }

    fn remember(&mut self, kept: Kept) {
        self.by_id.insert(kept.id, kept.index);
        match kept.id.asker {
            Asker::Node => self.nodes.push_back(kept),
            Asker::Client => self.clients.push_back(kept),
        }
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
    fn answers_of_nodes_age_sooner_than_those_of_clients_and_all_survive_a_restart() {
        let tables = MemoryTables::default();
        let id = |serial| RequestId::of_node(1, serial);
        let client = RequestId::of_client(b"name", b"put");
        let changes = read(&tables, |view| {
            let mut rows = Overlay::new(view);
            let mut retries = Retries::default();
            retries.keep(&mut rows, 9, 0, client, b"zero");
            retries.keep(&mut rows, 10, 0, id(1), b"one");
            for serial in 2..1000 {
                retries.keep(&mut rows, serial + 10, 8_000, id(serial), b"two");
            }
            retries.keep(&mut rows, 1010, 14_000, id(1000), b"three");
            assert!(retries.find(&rows, id(1)).expect("readable").is_some());
            retries.keep(&mut rows, 1012, 16_000, id(1001), &vec![0; ANSWER_BYTES_MAX + 1]);
            rows.into_changes()
        });
        tables.write(&changes).expect("memory takes it");
        read(&tables, |view| {
            let retries = Retries::load(view).expect("what was kept");
            let find = |id| retries.find(view, id).expect("readable");
            assert_eq!(find(id(1)), None);
            assert_eq!(find(id(2)), Some(Earlier::Answer("two".into())));
            assert_eq!(find(id(1001)), Some(Earlier::TooLargeToKeep));
            assert_eq!(find(client), Some(Earlier::Answer("zero".into())));
        });
    }

    #[test]
    fn a_name_that_is_used_for_something_else_is_another_request() {
        let id = RequestId::of_client(b"name", b"put a 1");
        assert_eq!(id, RequestId::of_client(b"name", b"put a 1"));
        assert_ne!(id, RequestId::of_client(b"name", b"put a 2"));
        assert_ne!(RequestId::of_client(b"ab", b"c"), RequestId::of_client(b"a", b"bc"));
    }

    #[test]
    fn short_rows_are_corrupt() {
        assert!(array::<8>(Some(&[1, 2])).is_err());
    }
}
