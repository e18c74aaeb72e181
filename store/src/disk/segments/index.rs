//! What the log says, and where its entries are. The same steps lead here from a write and from reading the files.

use std::collections::VecDeque;

use bytes::Bytes;

use super::frame::Record;
use crate::disk::LogWrite;

/// Where one entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

impl Place {
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.bytes)
    }
}

/// What the log says.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
    pub(super) purged: Option<(u64, Bytes)>,
    /// The index of the first of `places`.
    first: u64,
    places: VecDeque<Place>,
}

impl Index {
    /// Takes note of a record. `segment` and `offset` say where its last field begins.
    pub(super) fn note(&mut self, record: Record<'_>, segment: u64, offset: u64) -> Result<(), &'static str> {
        match record {
            Record::Vote(vote) => self.vote = Some(Bytes::copy_from_slice(vote)),
            Record::Committed(id) => self.committed = id.map(Bytes::copy_from_slice),
            Record::Entry { index, entry } => {
                let bytes = u32::try_from(entry.len()).map_err(|_| "it holds an entry that is too large")?;
                let place = Place { segment, offset, bytes, crc: crc32fast::hash(entry) };
                return self.put(index, place);
            }
            Record::TruncateFrom(from) => {
                let keep = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
                self.places.truncate(keep);
            }
            Record::PurgeTo { index, id } => self.purge(index, id),
        }
        Ok(())
    }

    /// An entry goes behind the last one, or anywhere if there is none.
    fn put(&mut self, index: u64, place: Place) -> Result<(), &'static str> {
        if self.places.is_empty() {
            self.first = index;
        }
        if index != self.end() {
            return Err("it holds an entry that does not follow the one before");
        }
        self.places.push_back(place);
        Ok(())
    }

    fn purge(&mut self, to: u64, id: &[u8]) {
        if self.purged.as_ref().is_some_and(|(before, _)| *before > to) {
            return;
        }
        self.purged = Some((to, Bytes::copy_from_slice(id)));
        while self.first <= to && self.places.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// Whether every entry among these writes would follow the one before it.
    pub(super) fn accepts(&self, writes: &[LogWrite]) -> bool {
        let mut end = self.last().map(|last| last + 1);
        writes.iter().all(|write| {
            match write {
                LogWrite::Entry { index, .. } if end.is_some_and(|end| end != *index) => return false,
                LogWrite::Entry { index, .. } => end = Some(index + 1),
                LogWrite::TruncateFrom(from) => {
                    end = end.map(|end| end.min(*from)).filter(|end| *end > self.first);
                }
                LogWrite::PurgeTo { index, .. } => end = end.filter(|end| *end > index + 1),
                LogWrite::Vote(_) | LogWrite::Committed(_) => {}
            }
            true
        })
    }

    /// One above the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    pub(super) fn last(&self) -> Option<u64> {
        (!self.places.is_empty()).then(|| self.end() - 1)
    }

    pub(super) fn is_purged(&self, index: u64) -> bool {
        self.purged.as_ref().is_some_and(|(purged, _)| index <= *purged)
    }

    /// The places of the entries `from <= index < to`.
    pub(super) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, Place)> + '_ {
        let to = to.min(self.end());
        let from = from.max(self.first).min(to);
        let at = |index: u64| usize::try_from(index - self.first).unwrap_or(usize::MAX);
        (from..to).zip(self.places.range(at(from)..at(to)).copied())
    }

    /// Whether the entries begin where what was purged ends. `whole` when no segment was ever removed.
    pub(super) fn check(&self, whole: bool) -> Result<(), &'static str> {
        let Some((purged, _)) = &self.purged else {
            return if whole { Ok(()) } else { Err("the segments before it are missing") };
        };
        if self.places.is_empty() || self.first <= purged + 1 {
            Ok(())
        } else {
            Err("entries between what was purged and it are missing")
        }
    }

    pub(super) fn without_entries(&self) -> Self {
        let Self { vote, committed, purged, .. } = self;
        Self { vote: vote.clone(), committed: committed.clone(), purged: purged.clone(), ..Self::default() }
    }

    /// What a new segment begins with, so that those before it are needed for their entries only.
    pub(super) fn head(&self) -> Vec<LogWrite> {
        let vote = self.vote.clone().map(LogWrite::Vote);
        let purged = self.purged.clone().map(|(index, id)| LogWrite::PurgeTo { index, id });
        let committed = LogWrite::Committed(self.committed.clone());
        vote.into_iter().chain(purged).chain([committed]).collect()
    }
}
