//! Answers of recent writes by request id, so that a write which is proposed twice is applied once.
//!
//! The table is part of the replicated state. It is bounded by age, measured by the times in the entries, and by count.
//! The nodes' own ids and the clients' are kept apart, so that a busy cluster does not push out what a client relies on.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
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
/// Origin, serial and length.
const ANSWER_HEAD_BYTES: usize = 20;
/// The length of an answer that was too large.
const NOT_KEPT: u32 = u32::MAX;

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

/// The signature of whoever has not said who he is.
pub(crate) const NOBODY: u64 = 0;

/// What a user's answers are signed with.
pub(crate) fn sign(user: Option<&str>) -> u64 {
    let Some(user) = user else { return NOBODY };
    let hash: [u8; 32] = Sha256::digest(user).into();
    let [first, ..] = hash.as_chunks().0 else { return NOBODY };
    u64::from_be_bytes(*first).max(1)
}

/// An answer, and for whom it is.
pub(crate) fn signed(user: Option<&str>, answer: &[u8]) -> Bytes {
    [&sign(user).to_be_bytes(), answer].concat().into()
}

/// Whom an answer is for, and the answer.
pub(crate) fn signature(kept: &[u8]) -> Option<(u64, &[u8])> {
    let (signature, answer) = kept.split_first_chunk()?;
    Some((u64::from_be_bytes(*signature), answer))
}

/// The answer to a write that was applied before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    Answer(Bytes),
    TooLargeToKeep,
}

/// What the commands of one entry were answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    answers: Vec<(RequestId, Bytes)>,
    /// An entry may hold the same request twice.
    places: BTreeMap<RequestId, usize>,
}

impl Answers {
    pub(crate) fn push(&mut self, id: RequestId, answer: Bytes) {
        self.places.insert(id, self.answers.len());
        self.answers.push((id, answer));
    }

    pub(crate) fn find(&self, id: RequestId) -> Option<Earlier> {
        let (_, answer) = self.answers.get(*self.places.get(&id)?)?;
        Some(Earlier::Answer(answer.clone()))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Retries {
    /// In which entries the requests of each origin were answered. A node counts its requests, and they come nearly in
    /// that order: tens of thousands of them are found, added and forgotten without a tree of as many branches.
    by_origin: BTreeMap<(Asker, u64), Serials>,
    nodes: Queue,
    clients: Queue,
}

/// Serial numbers, in order, each with the index of its entry.
#[derive(Debug, Default)]
struct Serials(VecDeque<(u64, u64)>);

impl Serials {
    fn find(&self, serial: u64) -> Option<u64> {
        let at = self.0.binary_search_by_key(&serial, |(serial, _)| *serial).ok()?;
        self.0.get(at).map(|(_, index)| *index)
    }

    fn add(&mut self, serial: u64, index: u64) {
        match self.0.back() {
            Some((last, _)) if *last >= serial => {
                match self.0.binary_search_by_key(&serial, |(serial, _)| *serial) {
                    Ok(at) => self.0[at].1 = index,
                    Err(at) => self.0.insert(at, (serial, index)),
                }
            }
            Some(_) | None => self.0.push_back((serial, index)),
        }
    }

    fn remove(&mut self, serial: u64) {
        if self.0.pop_front_if(|(first, _)| *first == serial).is_none()
            && let Ok(at) = self.0.binary_search_by_key(&serial, |(serial, _)| *serial)
        {
            self.0.remove(at);
        }
    }
}

/// Oldest first.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Kept>,
    answers: usize,
}

/// The answers of one entry, to one kind of asker.
#[derive(Debug)]
struct Kept {
    index: u64,
    time_ms: i64,
    ids: Vec<RequestId>,
}

impl Retries {
    pub(crate) fn load(view: &dyn View) -> Result<Self, TableError> {
        let mut retries = Self::default();
        let mut cursor = view.cursor(Table::Meta, &[TAG], Some(&[TAG + 1]))?;
        while let Some(key) = cursor.key() {
            let index = u64::from_be_bytes(array(key.get(1..9))?);
            let asker = match array(key.get(9..))? {
                [0] => Asker::Node,
                [1] => Asker::Client,
                _ => return Err(TableError::Corrupt { table: "meta", what: "a kept answer is nobody's" }),
            };
            let row = Bytes::copy_from_slice(cursor.value());
            let (time_ms, answers) = decode(&row, asker)?;
            let ids = answers.into_iter().map(|(id, _)| id).collect();
            retries.remember(asker, Kept { index, time_ms, ids });
            cursor.advance()?;
        }
        Ok(retries)
    }

    pub(crate) fn find(&self, view: &dyn View, id: RequestId) -> Result<Option<Earlier>, TableError> {
        let serials = self.by_origin.get(&(id.asker, id.origin));
        let Some(index) = serials.and_then(|serials| serials.find(id.serial)) else { return Ok(None) };
        let missing = TableError::Corrupt { table: "meta", what: "a kept answer is missing" };
        let Some(row) = view.get(Table::Meta, &key(id.asker, index))? else { return Err(missing) };
        let (_, answers) = decode(&row, id.asker)?;
        let found = answers.into_iter().find(|(answered, _)| *answered == id).ok_or(missing)?;
        Ok(Some(found.1.map_or(Earlier::TooLargeToKeep, Earlier::Answer)))
    }

    /// Keeps the answers of the entry at `index`, one row for each kind of asker, and drops what is old.
    pub(crate) fn keep(&mut self, rows: &mut Overlay<'_>, index: u64, time_ms: i64, answers: Answers) {
        let (of_nodes, of_clients): (Vec<_>, Vec<_>) =
            answers.answers.into_iter().partition(|(id, _)| id.asker == Asker::Node);
        for (asker, answers) in [(Asker::Node, of_nodes), (Asker::Client, of_clients)] {
            if !answers.is_empty() {
                rows.put(Table::Meta, key(asker, index), encode(time_ms, &answers));
                let ids = answers.into_iter().map(|(id, _)| id).collect();
                self.remember(asker, Kept { index, time_ms, ids });
            }
        }
        self.forget(rows, Asker::Node, &OF_NODES, time_ms);
        self.forget(rows, Asker::Client, &OF_CLIENTS, time_ms);
    }

    fn forget(&mut self, rows: &mut Overlay<'_>, asker: Asker, limits: &Limits, time_ms: i64) {
        loop {
            let queue = self.queue(asker);
            let answers = queue.answers;
            let oldest = queue.entries.pop_front_if(|oldest| {
                let young = answers <= limits.answers_max && time_ms - oldest.time_ms <= limits.keep_ms;
                !young && answers - oldest.ids.len() >= ANSWERS_MIN
            });
            let Some(oldest) = oldest else { return };
            queue.answers -= oldest.ids.len();
            for id in &oldest.ids {
                if let Some(serials) = self.by_origin.get_mut(&(asker, id.origin)) {
                    serials.remove(id.serial);
                    if serials.0.is_empty() {
                        self.by_origin.remove(&(asker, id.origin));
                    }
                }
            }
            rows.delete(Table::Meta, key(asker, oldest.index));
        }
    }

    fn remember(&mut self, asker: Asker, kept: Kept) {
        for id in &kept.ids {
            self.by_origin.entry((asker, id.origin)).or_default().add(id.serial, kept.index);
        }
        let queue = self.queue(asker);
        queue.answers += kept.ids.len();
        queue.entries.push_back(kept);
    }

    fn queue(&mut self, asker: Asker) -> &mut Queue {
        match asker {
            Asker::Node => &mut self.nodes,
            Asker::Client => &mut self.clients,
        }
    }
}

fn key(asker: Asker, index: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(10);
    key.put_u8(TAG);
    key.put_u64(index);
    key.put_u8(match asker {
        Asker::Node => 0,
        Asker::Client => 1,
    });
    key.freeze()
}

/// The entry's time, then for each answer its id, its length and itself.
fn encode(time_ms: i64, answers: &[(RequestId, Bytes)]) -> Bytes {
    let bytes: usize = answers.iter().map(|(_, answer)| ANSWER_HEAD_BYTES + answer.len()).sum();
    let mut row = BytesMut::with_capacity(8 + bytes);
    row.put_i64(time_ms);
    for (id, answer) in answers {
        row.put_u64(id.origin);
        row.put_u64(id.serial);
        match u32::try_from(answer.len()) {
            Ok(length) if answer.len() <= ANSWER_BYTES_MAX => {
                row.put_u32(length);
                row.put_slice(answer);
            }
            Ok(_) | Err(_) => row.put_u32(NOT_KEPT),
        }
    }
    row.freeze()
}

type Decoded = Vec<(RequestId, Option<Bytes>)>;

fn decode(row: &Bytes, asker: Asker) -> Result<(i64, Decoded), TableError> {
    let corrupt = |_| TableError::Corrupt { table: "meta", what: "a kept answer is too short" };
    let mut rest = row.clone();
    let time_ms = rest.try_get_i64().map_err(corrupt)?;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let origin = rest.try_get_u64().map_err(corrupt)?;
        let serial = rest.try_get_u64().map_err(corrupt)?;
        let answer = match rest.try_get_u32().map_err(corrupt)? {
            NOT_KEPT => None,
            length => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > rest.len() {
                    return Err(TableError::Corrupt { table: "meta", what: "a kept answer is cut short" });
                }
                Some(rest.split_to(length))
            }
        };
        answers.push((RequestId { asker, origin, serial }, answer));
    }
    Ok((time_ms, answers))
}

fn array<const N: usize>(bytes: Option<&[u8]>) -> Result<[u8; N], TableError> {
    let corrupt = TableError::Corrupt { table: "meta", what: "the key of kept answers is too short" };
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(corrupt)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            let keep =
                |retries: &mut Retries, rows: &mut Overlay<'_>, index, time_ms, id, answer: &'static [u8]| {
                    let mut answers = Answers::default();
                    answers.push(id, Bytes::from_static(answer));
                    retries.keep(rows, index, time_ms, answers);
                };
            keep(&mut retries, &mut rows, 9, 0, client, b"zero");
            keep(&mut retries, &mut rows, 10, 0, id(1), b"one");
            for serial in 2..1000 {
                keep(&mut retries, &mut rows, serial + 10, 8_000, id(serial), b"two");
            }
            keep(&mut retries, &mut rows, 1010, 14_000, id(1000), b"three");
            assert!(retries.find(&rows, id(1)).expect("readable").is_some());
            keep(&mut retries, &mut rows, 1012, 16_000, id(1001), &[0; ANSWER_BYTES_MAX + 1]);
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

    proptest! {
        #[test]
        fn serials_are_found_in_whatever_order_they_come_and_go(
            steps in proptest::collection::vec((0_u64..40, any::<bool>()), 0..200),
        ) {
            let mut serials = Serials::default();
            let mut expected = BTreeMap::new();
            for (index, (serial, is_added)) in (0..).zip(steps) {
                if is_added {
                    serials.add(serial, index);
                    expected.insert(serial, index);
                } else {
                    serials.remove(serial);
                    expected.remove(&serial);
                }
                prop_assert!((0..40).all(|serial| serials.find(serial) == expected.get(&serial).copied()));
                prop_assert_eq!(serials.0.len(), expected.len());
            }
        }
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
        assert!(decode(&Bytes::from_static(&[0; 20]), Asker::Node).is_err());
        let whole = encode(7, &[(RequestId::of_node(1, 2), "answer".into())]);
        assert!(decode(&whole.slice(..whole.len() - 1), Asker::Node).is_err());
    }
}
