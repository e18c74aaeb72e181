//! The end of the log that is written, and the files that wait to become its next segments.

use std::io;
use std::sync::Arc;

use tracing::warn;

use super::Segment;
use super::folder::{Folder, Storage, zero};
use super::frame::{Frame, Position};
use super::index::Index;
use crate::disk::LogWrite;
use crate::failpoint;

const HALF_WRITTEN: &str = "append: half written";
const SPARE: &str = "spare";
/// A write of more than this becomes several frames.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// How far ahead of its end a segment that is used for the first time is filled with zeros. The first write of a block
/// that is only allocated makes the file system's journal part of the next sync: so it is part of one of many.
const ZEROS_AHEAD: u64 = 256 * 1024;
/// How many used segments wait to be used again.
const SPARES_MAX: usize = 2;

pub(super) struct Writer {
    pub(super) file: Arc<dyn Storage>,
    /// The number of the segment that `file` is.
    pub(super) segment: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// Up to here the file's blocks have been written before.
    pub(super) written: u64,
    pub(super) next_frame: u64,
    /// Frames below this number are durable.
    pub(super) durable: u64,
    pub(super) spares: Spares,
    pub(super) frame: Frame,
    pub(super) failed: bool,
}

impl Writer {
    /// Puts as many of the writes into the next frame as belong there, at least one, and says where in the frame the
    /// last field of each begins.
    pub(super) fn fill(&mut self, writes: &[LogWrite]) -> io::Result<Vec<usize>> {
        self.frame.clear();
        let mut fields = Vec::with_capacity(writes.len());
        for write in writes {
            fields.push(self.frame.push(write.into())?);
            if self.frame.frame_bytes() >= FRAME_BYTES_MAX {
                break;
            }
        }
        Ok(fields)
    }

    /// Whether the frame fits into the segment. One that is larger than any segment gets one of its own.
    pub(super) fn has_room(&self) -> bool {
        self.end == 0 || self.end + self.frame.frame_bytes() as u64 <= self.spares.segment_bytes
    }

    /// Writes the frame that was filled, and says where it begins.
    pub(super) fn put_frame(&mut self) -> io::Result<u64> {
        let at = self.end;
        let position = Position { segment: self.segment, number: self.next_frame, durable: self.durable };
        let frame = self.frame.seal(&position)?;
        failpoint::reach("append: nothing written");
        if failpoint::is_armed(HALF_WRITTEN) {
            self.file.write_at(&frame[..frame.len() / 2], at)?;
            failpoint::reach(HALF_WRITTEN);
        }
        self.file.write_at(frame, at)?;
        failpoint::reach("append: written");
        self.end += frame.len() as u64;
        self.next_frame += 1;
        self.fill_ahead()?;
        Ok(at)
    }

    fn fill_ahead(&mut self) -> io::Result<()> {
        if self.end <= self.written {
            return Ok(());
        }
        let ahead = self.spares.segment_bytes.min(self.end + ZEROS_AHEAD);
        zero(self.file.as_ref(), self.end..ahead)?;
        self.written = ahead.max(self.end);
        Ok(())
    }

    /// Begins a segment with all that the log says beside its entries.
    pub(super) fn put_head(&mut self, index: &Index) -> io::Result<()> {
        self.fill(&index.head())?;
        self.put_frame().map(drop)
    }

    /// Makes everything that was written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.durable < self.next_frame {
            self.file.sync()?;
            self.durable = self.next_frame;
            failpoint::reach("append: synced");
        }
        Ok(())
    }
}

/// A file of a segment's size that nothing is in.
struct Spare {
    name: String,
    /// It was a segment in this process, which filled it.
    was_filled: bool,
}

/// Those that are ready to be segments.
pub(super) struct Spares {
    folder: Arc<dyn Folder>,
    /// No segment is ever shorter.
    pub(super) segment_bytes: u64,
    ready: Vec<Spare>,
    next: u64,
}

impl Spares {
    pub(super) fn find(folder: Arc<dyn Folder>, segment_bytes: u64) -> io::Result<Self> {
        let mut spares = Self { folder, segment_bytes, ready: Vec::new(), next: 1 };
        for number in spares.folder.numbered(SPARE)? {
            spares.next = number + 1;
            let name = format!("{SPARE}-{number}");
            if spares.ready.len() < SPARES_MAX {
                // Whoever made it may have ended before its size was durable.
                spares.folder.open(&name)?.sync()?;
                spares.ready.push(Spare { name, was_filled: false });
            } else {
                spares.folder.remove(&name)?;
            }
        }
        Ok(spares)
    }

    /// Makes a spare into the segment of this number, and says up to where its blocks were written before. Its bytes are
    /// whatever they were.
    pub(super) fn become_segment(&mut self, number: u64) -> io::Result<(Segment, u64)> {
        self.prepare()?;
        let Some(spare) = self.ready.pop() else {
            return Err(io::Error::other("the log has no spare segment"));
        };
        let file = self.folder.open(&spare.name)?;
        if file.bytes()? != self.segment_bytes {
            file.allocate(self.segment_bytes)?;
        }
        let segment = Segment::new(number, file, self.folder.as_ref());
        self.folder.rename(&spare.name, &segment.name())?;
        self.folder.sync()?;
        failpoint::reach("append: in a new segment");
        Ok((segment, if spare.was_filled { self.segment_bytes } else { 0 }))
    }

    /// Sees that a spare is there.
    fn prepare(&mut self) -> io::Result<()> {
        if !self.ready.is_empty() {
            return Ok(());
        }
        let name = self.fresh();
        if let Err(error) = self.folder.create(&name)?.allocate(self.segment_bytes) {
            // It would only keep what little room is left from others.
            let _gone = self.folder.remove(&name);
            return Err(error);
        }
        self.ready.push(Spare { name, was_filled: false });
        Ok(())
    }

    /// Sees that a spare is there while there is time for it. Only the next segment really needs it.
    pub(super) fn prepare_or_warn(&mut self) {
        if let Err(error) = self.prepare() {
            warn!(%error, "cannot preallocate the log's next segment");
        }
    }

    /// Takes a segment that nobody needs any more; `was_filled`: up to its end.
    pub(super) fn keep(&mut self, segment: &str, was_filled: bool) -> io::Result<()> {
        if self.ready.len() < SPARES_MAX {
            let name = self.fresh();
            self.folder.rename(segment, &name)?;
            self.ready.push(Spare { name, was_filled });
        } else {
            self.folder.remove(segment)?;
        }
        // In order: a gap between the segments that are left would be taken for a lost file.
        self.folder.sync()?;
        failpoint::reach("purge: a segment is free");
        Ok(())
    }

    fn fresh(&mut self) -> String {
        let name = format!("{SPARE}-{}", self.next);
        self.next += 1;
        name
    }
}
