//! Reading the log back: what is whole is taken, a torn end is cut, and anything else is refused.
//!
//! A frame that cannot be read was either never durable (power was lost while it was written, and nobody was told
//! that it is there), or it was and has been damaged. A later frame that calls it durable proves the latter: then
//! this member may have forgotten a vote or an acknowledged write, and must not go on under its id. That the very last
//! frame was damaged after it was synced cannot be told from a torn one.

use std::collections::VecDeque;
use std::path::PathBuf;

use tracing::warn;

use super::folder::{self, Folder};
use super::frame::{ALIGN, HEADER_BYTES, Header, Record, Records};
use super::index::Index;
use super::writer::Spares;
use super::{LogOpenError, SEGMENT, Segment, segment_name};
use crate::seeded::{self, Bug};

/// Zeros are skipped in steps of this.
const PAGE: usize = 4096;

/// What the files say. `segments` is empty when the log is new.
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) segments: VecDeque<Segment>,
    /// Where the next frame goes in the last segment.
    pub(super) end: u64,
    pub(super) next_frame: u64,
}

pub(super) fn recover(folder: &dyn Folder, spares: &mut Spares) -> Result<Recovered, LogOpenError> {
    let numbers = folder.numbered(SEGMENT)?;
    let first = numbers.first().copied().unwrap_or(1);
    let path_of = |number: u64| folder.path_of(&segment_name(number));
    for (expected, number) in (first..).zip(&numbers) {
        if expected != *number {
            return Err(corrupt(path_of(expected), 0, "the segment is missing"));
        }
    }
    let mut scan = Scan {
        log: Recovered { index: Index::default(), segments: VecDeque::new(), end: 0, next_frame: 0 },
        // The oldest segment begins with any number, unless it is the very first.
        any_number: first > 1,
        is_torn: false,
    };
    for (place, number) in numbers.iter().enumerate() {
        let file = folder.open(&segment_name(*number))?;
        let bytes = folder::read(file.as_ref())?;
        if (bytes.len() as u64) < spares.segment_bytes {
            return Err(corrupt(path_of(*number), bytes.len(), "the segment is cut short"));
        }
        let begins = scan.segment(Segment::new(*number, file, folder), &bytes)?;
        if !begins {
            let torn = &numbers[place..];
            scan.refuse_if_it_was_whole(torn, folder)?;
            for number in torn {
                warn!(segment = number, "dropped a segment that was never finished");
                // It may become the segment of this number again: then no frame in it may look like one that follows.
                let file = folder.open(&segment_name(*number))?;
                folder::zero(file.as_ref(), 0..file.bytes()?)?;
                file.sync()?;
                spares.keep(&segment_name(*number), false)?;
            }
            break;
        }
    }
    let checked = scan.log.index.check(first == 1);
    checked.map_err(|what| corrupt(path_of(first), 0, what))?;
    if let Some(last) = scan.log.segments.back().filter(|_| scan.is_torn) {
        warn!(path = %last.path.display(), offset = scan.log.end, "cut the torn end of the log");
        // No frame of the torn end may ever look like one that follows.
        folder::zero(last.file.as_ref(), scan.log.end..last.file.bytes()?)?;
    }
    Ok(scan.log)
}

struct Scan {
    log: Recovered,
    any_number: bool,
    /// Frames that were never finished follow the last one.
    is_torn: bool,
}

impl Scan {
    /// Reads one segment. `false` when it does not begin with the next frame.
    fn segment(&mut self, mut segment: Segment, bytes: &[u8]) -> Result<bool, LogOpenError> {
        let mut at = 0;
        while let Some((header, body)) = self.frame(segment.number, &bytes[at..]) {
            let noted = note(&mut self.log.index, &mut segment, at, body);
            noted.map_err(|what| corrupt(segment.path.clone(), at, what))?;
            self.log.next_frame = header.number + 1;
            self.any_number = false;
            at += header.frame_bytes();
        }
        if at == 0 {
            return Ok(false);
        }
        let rest = evidence(segment.number, &bytes[at..], self.log.next_frame);
        if rest.was_whole {
            return Err(corrupt(segment.path, at, "a frame is damaged, and what follows it is not"));
        }
        self.is_torn = rest.has_frames;
        self.log.end = at as u64;
        self.log.segments.push_back(segment);
        Ok(true)
    }

    /// The next frame, if it is whole.
    fn frame<'a>(&self, segment: u64, bytes: &'a [u8]) -> Option<(Header, &'a [u8])> {
        let header = Header::read(bytes)?;
        let body = bytes.get(HEADER_BYTES..HEADER_BYTES + header.body_bytes as usize)?;
        let follows = self.any_number || header.number == self.log.next_frame;
        let whole = header.segment == segment && follows && crc32fast::hash(body) == header.body_crc;
        whole.then_some((header, body))
    }

    /// Looks for proof that the next frame was durable in segments that do not continue the log.
    fn refuse_if_it_was_whole(&self, segments: &[u64], folder: &dyn Folder) -> Result<(), LogOpenError> {
        let path_of = |number: u64| folder.path_of(&segment_name(number));
        let Some(first) = segments.first() else { return Ok(()) };
        if self.any_number {
            return Err(corrupt(path_of(*first), 0, "the oldest segment does not begin with a whole frame"));
        }
        for number in segments {
            let bytes = folder::read(folder.open(&segment_name(*number))?.as_ref())?;
            if !evidence(*number, &bytes, self.log.next_frame).was_whole {
                continue;
            }
            let skips = Header::read(&bytes).is_some_and(|header| header.number > self.log.next_frame);
            return Err(match self.log.segments.back() {
                Some(last) if number == first && skips => {
                    let end = usize::try_from(self.log.end).unwrap_or(usize::MAX);
                    corrupt(last.path.clone(), end, "its last frames are damaged")
                }
                _ => corrupt(path_of(*first), 0, "its first frame is damaged, and what follows it is not"),
            });
        }
        Ok(())
    }
}

fn note(index: &mut Index, segment: &mut Segment, at: usize, body: &[u8]) -> Result<(), &'static str> {
    let mut records = Records::of(body);
    while let Some((record, field)) = records.next()? {
        if let Record::Entry { index, .. } = record {
            segment.highest = segment.highest.max(Some(index));
        }
        index.note(record, segment.number, (at + HEADER_BYTES + field) as u64)?;
    }
    Ok(())
}

#[derive(Default)]
struct Evidence {
    /// Something calls the frame that cannot be read durable.
    was_whole: bool,
    has_frames: bool,
}

/// What the bytes that are no frame in order say about frame `number`.
fn evidence(segment: u64, bytes: &[u8], number: u64) -> Evidence {
    let mut found = Evidence::default();
    for (place, page) in bytes.chunks(PAGE).enumerate() {
        if page == &[0; PAGE][..page.len()] {
            continue;
        }
        for at in (0..page.len()).step_by(ALIGN) {
            let Some(header) = Header::read(&bytes[place * PAGE + at..]) else { continue };
            if header.segment == segment {
                found.has_frames = true;
                found.was_whole |= header.durable > number && !seeded::is(Bug::DamagedLogIsCut);
            }
        }
    }
    found
}

fn corrupt(path: PathBuf, offset: usize, what: &'static str) -> LogOpenError {
    LogOpenError::Corrupt { path, offset: offset as u64, what }
}
