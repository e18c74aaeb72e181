//! Where segments are: a folder and its files, as little of both as the log asks for.
//!
//! The real ones are here. Their twin in memory (`disk/memory/device.rs`) tears, loses and damages what the same code
//! writes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::disk::files;

/// A folder that one log has to itself.
pub(crate) trait Folder: Send + Sync + 'static {
    /// The numbers of the files `<prefix>-<number>`, in order.
    fn numbered(&self, prefix: &str) -> io::Result<Vec<u64>>;

    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Storage>>;

    /// A new file, with nothing in it.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Storage>>;

    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes durable which files there are, and how they are called.
    fn sync(&self) -> io::Result<()>;

    /// How people find the file.
    fn path_of(&self, name: &str) -> PathBuf;
}

/// The bytes of one file.
pub(crate) trait Storage: Send + Sync + 'static {
    fn bytes(&self) -> io::Result<u64>;

    /// Fills the buffer with what begins at `at`.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes the file so long, and gives it all its room now, so that a full disk is met here, and a sync has no size to
    /// write. Durable on return.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
}

/// All that is in the file.
pub(super) fn read(file: &dyn Storage) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.bytes()?).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Fills a part of the file with zeros.
pub(super) fn zero(file: &dyn Storage, range: Range<u64>) -> io::Result<()> {
    let zeros = [0; 64 * 1024];
    let mut rest = range.end.saturating_sub(range.start);
    while rest > 0 {
        let step = rest.min(zeros.len() as u64);
        file.write_at(&zeros[..usize::try_from(step).unwrap_or(0)], range.end - rest)?;
        rest -= step;
    }
    Ok(())
}

/// A folder of a file system.
pub(super) struct Directory {
    root: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if there is none, and keeps other processes out of it.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(root.join("LOCK"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process has the log open")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }
}

impl Folder for Directory {
    fn numbered(&self, prefix: &str) -> io::Result<Vec<u64>> {
        files::numbered(&self.root, prefix)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path_of(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        let path = self.path_of(name);
        let file = OpenOptions::new().create(true).read(true).write(true).truncate(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path_of(from), self.path_of(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path_of(name))
    }

    fn sync(&self) -> io::Result<()> {
        files::sync_dir(&self.root)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl Storage for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = self.bytes()?;
        if length > bytes {
            self.set_len(bytes)?;
        }
        match fallocate(self, FallocateFlags::empty(), 0, i64::try_from(bytes).map_err(io::Error::other)?) {
            Err(Errno::EOPNOTSUPP) => zero(self, length..bytes)?,
            result => result?,
        }
        self.sync_all()
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
