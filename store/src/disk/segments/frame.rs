//! The bytes of the log: frames, and the records in them.
//!
//! A frame is what one write puts down. Its header has a checksum of its own, so that its length can be trusted even
//! when its body is broken; it names the segment, so that what a recycled file held before is never taken for ours;
//! and it says how many frames were durable when it was written. That last number tells a torn tail from corruption:
//! a broken frame that a later one calls durable was whole once.
//!
//! ```text
//! 0  magic "NVL1"     4  CRC-32 of bytes 8..40    8  bytes of the body    12  CRC-32 of the body
//! 16 segment          24 number of this frame     32 frames below this number are durable
//! 40 body: records, then zeros up to a multiple of 8
//! ```

use std::io;
use std::ops::Range;

use crate::disk::LogWrite;

pub(super) const HEADER_BYTES: usize = 40;
pub(super) const ALIGN: usize = 8;
const MAGIC: [u8; 4] = *b"NVL1";

const VOTE: u8 = 1;
const COMMITTED: u8 = 2;
const UNCOMMITTED: u8 = 3;
const ENTRY: u8 = 4;
const TRUNCATE_FROM: u8 = 5;
const PURGE_TO: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) segment: u64,
    /// Frames are numbered through all segments.
    pub(super) number: u64,
    pub(super) durable: u64,
    pub(super) body_bytes: u32,
    pub(super) body_crc: u32,
}

impl Header {
    /// `None` when these bytes do not begin a frame.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if header[..4] != MAGIC || u32_at(header, 4) != crc32fast::hash(&header[8..]) {
            return None;
        }
        Some(Self {
            body_bytes: u32_at(header, 8),
            body_crc: u32_at(header, 12),
            segment: u64_at(header, 16),
            number: u64_at(header, 24),
            durable: u64_at(header, 32),
        })
    }

    fn write(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.to_le_bytes());
        out[24..32].copy_from_slice(&self.number.to_le_bytes());
        out[32..40].copy_from_slice(&self.durable.to_le_bytes());
        let crc = crc32fast::hash(&out[8..HEADER_BYTES]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// How many bytes the whole frame takes in its file.
    pub(super) fn frame_bytes(&self) -> usize {
        (HEADER_BYTES + self.body_bytes as usize).next_multiple_of(ALIGN)
    }
}

/// A frame that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WholeFrame {
    pub(crate) number: u64,
    /// Frames below this number were durable when it was written.
    pub(crate) durable: u64,
    /// Its header and its body.
    pub(crate) place: Range<usize>,
}

/// The frames that a segment of this number begins with.
pub(crate) fn whole_frames(segment: u64, bytes: &[u8]) -> Vec<WholeFrame> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..).and_then(Header::read).filter(|header| header.segment == segment)
    {
        let place = at..at + HEADER_BYTES + header.body_bytes as usize;
        let is_whole = |body| crc32fast::hash(body) == header.body_crc;
        if !bytes.get(at + HEADER_BYTES..place.end).is_some_and(is_whole) {
            break;
        }
        at += header.frame_bytes();
        frames.push(WholeFrame { number: header.number, durable: header.durable, place });
    }
    frames
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// One frame in the making; its buffer is used again.
#[derive(Default)]
pub(super) struct Frame {
    bytes: Vec<u8>,
}

/// Where the frame goes.
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) number: u64,
    pub(super) durable: u64,
}

impl Frame {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
    }

    /// Adds a record, and says where in the frame its last field begins.
    pub(super) fn push(&mut self, record: Record<'_>) -> io::Result<usize> {
        match record {
            Record::Vote(vote) => self.record(VOTE, None, Some(vote)),
            Record::Committed(Some(id)) => self.record(COMMITTED, None, Some(id)),
            Record::Committed(None) => self.record(UNCOMMITTED, None, None),
            Record::Entry { index, entry } => self.record(ENTRY, Some(index), Some(entry)),
            Record::TruncateFrom(index) => self.record(TRUNCATE_FROM, Some(index), None),
            Record::PurgeTo { index, id } => self.record(PURGE_TO, Some(index), Some(id)),
        }
    }

    fn record(&mut self, kind: u8, index: Option<u64>, field: Option<&[u8]>) -> io::Result<usize> {
        self.bytes.push(kind);
        if let Some(index) = index {
            self.bytes.extend_from_slice(&index.to_le_bytes());
        }
        match field {
            Some(field) => self.field(field),
            None => Ok(self.bytes.len()),
        }
    }

    fn field(&mut self, field: &[u8]) -> io::Result<usize> {
        let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "a record is too large for the log");
        self.bytes.extend_from_slice(&u32::try_from(field.len()).map_err(too_large)?.to_le_bytes());
        let at = self.bytes.len();
        self.bytes.extend_from_slice(field);
        Ok(at)
    }

    /// How many bytes the frame will take in its file.
    pub(super) fn frame_bytes(&self) -> usize {
        self.bytes.len().next_multiple_of(ALIGN)
    }

    /// The whole frame, for the place where it goes.
    pub(super) fn seal(&mut self, at: &Position) -> io::Result<&[u8]> {
        let body = &self.bytes[HEADER_BYTES..];
        let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "a frame is too large for the log");
        let header = Header {
            segment: at.segment,
            number: at.number,
            durable: at.durable,
            body_bytes: u32::try_from(body.len()).map_err(too_large)?,
            body_crc: crc32fast::hash(body),
        };
        header.write(&mut self.bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        Ok(&self.bytes)
    }
}

/// What one record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Vote(&'a [u8]),
    Committed(Option<&'a [u8]>),
    Entry { index: u64, entry: &'a [u8] },
    TruncateFrom(u64),
    PurgeTo { index: u64, id: &'a [u8] },
}

impl<'a> From<&'a LogWrite> for Record<'a> {
    fn from(write: &'a LogWrite) -> Self {
        match write {
            LogWrite::Vote(vote) => Self::Vote(vote),
            LogWrite::Committed(id) => Self::Committed(id.as_deref()),
            LogWrite::Entry { index, entry } => Self::Entry { index: *index, entry },
            LogWrite::TruncateFrom(index) => Self::TruncateFrom(*index),
            LogWrite::PurgeTo { index, id } => Self::PurgeTo { index: *index, id },
        }
    }
}

/// Walks through the records of a body whose checksum was right.
pub(super) struct Records<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// The next record, and where in the body its last field begins; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(Record<'a>, usize)>, &'static str> {
        let Some(kind) = self.body.get(self.at).copied() else { return Ok(None) };
        self.at += 1;
        let record = match kind {
            VOTE => Record::Vote(self.field()?),
            COMMITTED => Record::Committed(Some(self.field()?)),
            UNCOMMITTED => Record::Committed(None),
            ENTRY => Record::Entry { index: self.index()?, entry: self.field()? },
            TRUNCATE_FROM => Record::TruncateFrom(self.index()?),
            PURGE_TO => Record::PurgeTo { index: self.index()?, id: self.field()? },
            _ => return Err("it holds a record of an unknown kind"),
        };
        let field = match record {
            Record::Vote(field) | Record::Committed(Some(field)) => field,
            Record::Entry { entry, .. } => entry,
            Record::PurgeTo { id, .. } => id,
            Record::Committed(None) | Record::TruncateFrom(_) => &[],
        };
        Ok(Some((record, self.at - field.len())))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.body.get(self.at..end)).ok_or("a record in it is cut short")?;
        self.at += count;
        Ok(taken)
    }

    fn index(&mut self) -> Result<u64, &'static str> {
        Ok(u64_at(self.take(8)?, 0))
    }

    fn field(&mut self) -> Result<&'a [u8], &'static str> {
        let count = u32_at(self.take(4)?, 0);
        self.take(count as usize)
    }
}
