//! The end of the log that is written, and the files that wait to become its next segments.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use tracing::warn;

use super::frame::{Frame, Position};
use super::index::Index;
use super::{SEGMENT, Segment};
use crate::disk::{LogWrite, files};
use crate::failpoint;

const HALF_WRITTEN: &str = "append: half written";
const SPARE: &str = "spare";
/// A write of more than this becomes several frames.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// How many used segments wait to be used again.
const SPARES_MAX: usize = 2;

pub(super) struct Writer {
    pub(super) file: Arc<File>,
    /// The number of the segment that `file` is.
    pub(super) segment: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
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
            self.file.write_all_at(&frame[..frame.len() / 2], at)?;
            failpoint::reach(HALF_WRITTEN);
        }
        self.file.write_all_at(frame, at)?;
        failpoint::reach("append: written");
        self.end += frame.len() as u64;
        self.next_frame += 1;
        Ok(at)
    }

    /// Begins a segment with all that the log says beside its entries.
    pub(super) fn put_head(&mut self, index: &Index) -> io::Result<()> {
        self.fill(&index.head())?;
        self.put_frame().map(drop)
    }

    /// Makes everything that was written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.durable < self.next_frame {
            self.file.sync_data()?;
            self.durable = self.next_frame;
            failpoint::reach("append: synced");
        }
        Ok(())
    }
}

/// Files of a segment's size that nothing is in.
pub(super) struct Spares {
    root: PathBuf,
    /// No segment is ever shorter.
    pub(super) segment_bytes: u64,
    ready: Vec<PathBuf>,
    next: u64,
}

impl Spares {
    pub(super) fn find(root: &Path, segment_bytes: u64) -> io::Result<Self> {
        let mut spares = Self { root: root.to_owned(), segment_bytes, ready: Vec::new(), next: 1 };
        for number in files::numbered(root, SPARE)? {
            let path = root.join(format!("{SPARE}-{number}"));
            spares.next = number + 1;
            if spares.ready.len() < SPARES_MAX {
                spares.ready.push(path);
            } else {
                fs::remove_file(path)?;
            }
        }
        Ok(spares)
    }

    /// Makes a spare into the segment of this number. Its bytes are whatever they were.
    pub(super) fn become_segment(&mut self, number: u64) -> io::Result<Segment> {
        self.prepare()?;
        let Some(spare) = self.ready.pop() else {
            return Err(io::Error::other("the log has no spare segment"));
        };
        let path = self.root.join(format!("{SEGMENT}-{number}"));
        let file = OpenOptions::new().read(true).write(true).open(&spare)?;
        if file.metadata()?.len() != self.segment_bytes {
            file.set_len(self.segment_bytes)?;
            preallocate(&file, self.segment_bytes)?;
            file.sync_all()?;
        }
        fs::rename(&spare, &path)?;
        files::sync_dir(&self.root)?;
        failpoint::reach("append: in a new segment");
        Ok(Segment { number, path, file: Arc::new(file), highest: None })
    }

    /// Sees that a spare is there.
    fn prepare(&mut self) -> io::Result<()> {
        if !self.ready.is_empty() {
            return Ok(());
        }
        let path = self.fresh();
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
        if let Err(error) = preallocate(&file, self.segment_bytes).and_then(|()| file.sync_all()) {
            // It would only keep what little room is left from others.
            let _gone = fs::remove_file(&path);
            return Err(error);
        }
        self.ready.push(path);
        Ok(())
    }

    /// Sees that a spare is there while there is time for it. Only the next segment really needs it.
    pub(super) fn prepare_or_warn(&mut self) {
        if let Err(error) = self.prepare() {
            warn!(%error, "cannot preallocate the log's next segment");
        }
    }

    /// Takes a segment that nobody needs any more.
    pub(super) fn keep(&mut self, segment: &Path) -> io::Result<()> {
        if self.ready.len() < SPARES_MAX {
            let path = self.fresh();
            fs::rename(segment, &path)?;
            self.ready.push(path);
        } else {
            fs::remove_file(segment)?;
        }
        // In order: a gap between the segments that are left would be taken for a lost file.
        files::sync_dir(&self.root)?;
        failpoint::reach("purge: a segment is free");
        Ok(())
    }

    fn fresh(&mut self) -> PathBuf {
        let path = self.root.join(format!("{SPARE}-{}", self.next));
        self.next += 1;
        path
    }
}

/// Gives the file all its room now, so that a full disk is met here, and a sync has no size to write.
fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).map_err(io::Error::other)?;
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(Errno::EOPNOTSUPP) => zero(file, file.metadata()?.len()..bytes),
        result => Ok(result?),
    }
}

/// Fills a part of the file with zeros.
pub(super) fn zero(file: &File, range: Range<u64>) -> io::Result<()> {
    let zeros = [0; 64 * 1024];
    let mut rest = range.end.saturating_sub(range.start);
    while rest > 0 {
        let step = rest.min(zeros.len() as u64);
        file.write_all_at(&zeros[..usize::try_from(step).unwrap_or(0)], range.end - rest)?;
        rest -= step;
    }
    Ok(())
}
