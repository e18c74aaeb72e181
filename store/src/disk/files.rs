//! Directories of the state machine: which one is current, which copies are kept, what is in them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Room;
use crate::raft::peers::SnapshotFile;

/// A directory that goes away with its last holder, once it is superseded.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    superseded: AtomicBool,
}

impl Kept {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, superseded: AtomicBool::new(false) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::SeqCst);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.superseded.load(Ordering::SeqCst)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a superseded directory");
        }
    }
}

/// The files of a copy that another node needs. An empty path has none.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<SnapshotFile>> {
    let mut files = Vec::new();
    if dir.as_os_str().is_empty() {
        return Ok(files);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let needed = name == "CURRENT" || name.starts_with("MANIFEST-") || name.ends_with(".sst");
        if needed {
            let (size, crc32) = checksum(&entry.path())?;
            files.push(SnapshotFile { name, size, crc32 });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Size and CRC-32 of a whole file.
pub(super) fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, hasher.finalize()));
        }
        size += read as u64;
        hasher.update(&buffer[..read]);
    }
}

/// Writes a small file so that a crash leaves the old one or the new one.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(parent) = path.parent() {
        sync_dir(parent)?;
    }
    Ok(())
}

/// The room on the file system of `path`, without what only root may use.
pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = nix::sys::statvfs::statvfs(path).map_err(io::Error::from)?;
    let block = found.fragment_size();
    Ok(Room { free_bytes: block * found.blocks_available(), total_bytes: block * found.blocks() })
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The numbers of the directories `<prefix>-<number>` in `root`.
pub(crate) fn numbered(root: &Path, prefix: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_prefix('-')?.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}
