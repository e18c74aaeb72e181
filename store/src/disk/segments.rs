//! The log in files of our own: one sequence of preallocated segments for vote, entries and all else, in order.
//!
//! A write is one frame (or a few, when it is large) and one `fdatasync`. Segments have their final size from the start
//! and are used again, so that a sync seldom waits for the file system's own journal. Every entry's place is in memory;
//! entries are read where they are, and their checksum is checked again.
//!
//! ```text
//! LOCK         held while the log is open
//! segment-7    frames (`frame`), the first of which says what earlier segments said beside their entries
//! segment-8    the one that is written
//! spare-3      ready to be the next
//! ```
//!
//! After a failed write nothing is known about the file's end, so every later write is refused.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use thiserror::Error;

use self::folder::Directory;
pub(crate) use self::folder::{Folder, Storage};
use self::frame::Frame;
pub(crate) use self::frame::{WholeFrame, whole_frames};
use self::index::{Index, Place};
use self::recovery::Recovered;
use self::writer::{Spares, Writer};
use super::{LogDisk, LogHead, LogWrite};
use crate::seeded::{self, Bug};

mod folder;
mod frame;
mod index;
mod recovery;
mod writer;

const SEGMENT: &str = "segment";
/// Tests fill several.
const SEGMENT_BYTES: u64 = if cfg!(test) { 64 * 1024 } else { 16 * 1024 * 1024 };
/// Entries that lie this close are read together.
const READ_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a log cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum LogOpenError {
    #[error("cannot read the log")]
    Io(#[from] io::Error),
    /// Something that was durable is not there any more, so this member may have forgotten its vote.
    #[error("the log is corrupt: {}, byte {offset}: {what}", path.display())]
    Corrupt { path: PathBuf, offset: u64, what: &'static str },
}

pub(crate) struct SegmentedLog {
    files: Mutex<Files>,
    writer: Mutex<Writer>,
}

/// What readers need. Never held while a device is waited for.
struct Files {
    index: Index,
    /// Oldest first; the last one is written. Their numbers are consecutive.
    segments: VecDeque<Segment>,
}

#[derive(Clone)]
struct Segment {
    number: u64,
    /// For people.
    path: PathBuf,
    file: Arc<dyn Storage>,
    /// The highest index that was ever written to it.
    highest: Option<u64>,
}

impl SegmentedLog {
    /// Opens the log in `root`, or makes one. A torn end is cut.
    pub(crate) fn open(root: &Path) -> Result<Self, LogOpenError> {
        Self::open_with(root, SEGMENT_BYTES)
    }

    fn open_with(root: &Path, segment_bytes: u64) -> Result<Self, LogOpenError> {
        Self::open_in(Arc::new(Directory::open(root)?), segment_bytes)
    }

    /// Opens the log in `folder`, which nobody else uses.
    pub(crate) fn open_in(folder: Arc<dyn Folder>, segment_bytes: u64) -> Result<Self, LogOpenError> {
        let mut spares = Spares::find(folder.clone(), segment_bytes)?;
        let Recovered { index, mut segments, end, next_frame } =
            recovery::recover(folder.as_ref(), &mut spares)?;
        let (current, written) = match segments.back() {
            Some(last) => (last.clone(), end),
            None => spares.become_segment(1)?,
        };
        let (file, segment) = (current.file.clone(), current.number);
        let frame = Frame::default();
        // What was read may never have been synced, and from now on it counts: it is synced below.
        let mut writer =
            Writer { file, segment, end, written, next_frame, durable: 0, spares, frame, failed: false };
        if segments.is_empty() {
            segments.push_back(current);
            writer.put_head(&index)?;
        }
        writer.sync()?;
        writer.spares.prepare_or_warn();
        let files = Files { index, segments };
        Ok(Self { files: Mutex::new(files), writer: Mutex::new(writer) })
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, writer: &mut Writer, writes: &[LogWrite]) -> io::Result<()> {
        if !self.files().index.accepts(writes) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the log's entries must be consecutive"));
        }
        let mut rest = writes;
        while !rest.is_empty() {
            let mut fields = writer.fill(rest)?;
            if !writer.has_room() {
                self.roll(writer)?;
                fields = writer.fill(rest)?;
            }
            let at = writer.put_frame()?;
            let (now, later) = rest.split_at(fields.len());
            self.files().note(now.iter().zip(fields), at)?;
            rest = later;
        }
        if writes.iter().any(LogWrite::must_be_durable) && !seeded::is(Bug::AckBeforeSync) {
            writer.sync()?;
        }
        if writes.iter().any(|write| matches!(write, LogWrite::PurgeTo { .. })) {
            self.reclaim(writer)?;
        }
        Ok(())
    }

    /// Goes on in the next segment. All before it is durable first, so that a gap between two segments is corruption.
    fn roll(&self, writer: &mut Writer) -> io::Result<()> {
        writer.sync()?;
        let (segment, written) = writer.spares.become_segment(writer.segment + 1)?;
        writer.file = segment.file.clone();
        writer.segment = segment.number;
        writer.end = 0;
        writer.written = written;
        let index = {
            let mut files = self.files();
            files.segments.push_back(segment);
            files.index.without_entries()
        };
        writer.put_head(&index)?;
        writer.spares.prepare_or_warn();
        Ok(())
    }

    /// Frees the oldest segments whose entries are all purged, and which nobody reads.
    fn reclaim(&self, writer: &mut Writer) -> io::Result<()> {
        loop {
            let segment = {
                let mut files = self.files();
                let Some(oldest) = files.segments.front() else { return Ok(()) };
                let needed = oldest.highest.is_some_and(|highest| !files.index.is_purged(highest));
                if needed || oldest.number == writer.segment || Arc::strong_count(&oldest.file) > 1 {
                    return Ok(());
                }
                files.segments.pop_front()
            };
            // That its entries are purged must be durable before they go.
            writer.sync()?;
            if let Some(segment) = segment {
                writer.spares.keep(&segment.name(), true)?;
            }
        }
    }
}

impl Files {
    /// Takes note of what was written as one frame at `at`.
    fn note<'a>(&mut self, written: impl Iterator<Item = (&'a LogWrite, usize)>, at: u64) -> io::Result<()> {
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        for (write, field) in written {
            if let LogWrite::Entry { index, .. } = write {
                segment.highest = segment.highest.max(Some(*index));
            }
            let noted = self.index.note(write.into(), segment.number, at + field as u64);
            noted.map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
        }
        Ok(())
    }
}

fn segment_name(number: u64) -> String {
    format!("{SEGMENT}-{number}")
}

impl Segment {
    fn new(number: u64, file: Arc<dyn Storage>, folder: &dyn Folder) -> Self {
        Self { number, path: folder.path_of(&segment_name(number)), file, highest: None }
    }

    fn name(&self) -> String {
        segment_name(self.number)
    }

    /// Reads entries that lie close together, and checks them.
    fn read(&self, run: &[(u64, Place)], entries: &mut Vec<(u64, Bytes)>) -> io::Result<()> {
        let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else { return Ok(()) };
        let bytes = usize::try_from(last.end() - first.offset).map_err(io::Error::other)?;
        let mut buffer = vec![0; bytes];
        self.file.read_at(&mut buffer, first.offset)?;
        let buffer = Bytes::from(buffer);
        for (index, place) in run {
            let start = usize::try_from(place.offset - first.offset).map_err(io::Error::other)?;
            let entry = buffer.slice(start..start + place.bytes as usize);
            if crc32fast::hash(&entry) != place.crc {
                let (path, offset) = (self.path.display(), place.offset);
                let what = format!("the log is corrupt: {path}, byte {offset}: an entry has changed");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            entries.push((*index, entry));
        }
        Ok(())
    }
}

impl LogDisk for SegmentedLog {
    fn load(&self) -> io::Result<LogHead> {
        let (index, last) = {
            let files = self.files();
            (files.index.without_entries(), files.index.last())
        };
        let last = match last {
            Some(last) => self.entries(last, last + 1)?.pop().map(|(_, entry)| entry),
            None => None,
        };
        let purged = index.purged.map(|(_, id)| id);
        Ok(LogHead { vote: index.vote, committed: index.committed, purged, last })
    }

    fn entries(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>> {
        // Holding the segments keeps their files from being used again meanwhile.
        let (places, segments) = {
            let files = self.files();
            (files.index.range(from, to).collect::<Vec<_>>(), files.segments.clone())
        };
        let mut entries = Vec::with_capacity(places.len());
        let mut rest = &places[..];
        while let Some((_, first)) = rest.first() {
            let near = |place: &Place| {
                place.segment == first.segment && place.end() - first.offset <= READ_BYTES_MAX
            };
            let count = rest.iter().take_while(|(_, place)| near(place)).count().max(1);
            let (run, later) = rest.split_at(count);
            let segment = segments.iter().find(|segment| segment.number == first.segment);
            let missing = || io::Error::new(io::ErrorKind::NotFound, "a segment of the log is missing");
            segment.ok_or_else(missing)?.read(run, &mut entries)?;
            rest = later;
        }
        Ok(entries)
    }

    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.failed {
            return Err(io::Error::other("an earlier write of the log has failed"));
        }
        let result = self.append(&mut writer, writes);
        writer.failed = result.is_err();
        result
    }

    fn waits(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
