//! A file of nothing that holds room while there is enough, and gives it back when the disk is full: what frees space
//! needs some first.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use tracing::warn;

use super::Room;

const FILE: &str = "ballast";
/// A disk with less room than one part in this many of the ballast counts as full.
const FULL_PART: u64 = 4;

pub(crate) struct Ballast {
    path: PathBuf,
    /// How much it holds now.
    held: Mutex<u64>,
}

impl Ballast {
    /// Finds what an earlier process has left.
    pub(crate) fn find(root: &Path) -> Self {
        let path = root.join(FILE);
        let held = fs::metadata(&path).map_or(0, |found| found.len());
        Self { path, held: Mutex::new(held) }
    }

    /// Takes `bytes` of the disk if more than `enough` is left then, and gives all back when the disk is full.
    pub(crate) fn settle(&self, bytes: u64, enough: u64, room: Room) -> io::Result<()> {
        let mut held = self.lock();
        if *held > 0 && (room.free_bytes < bytes / FULL_PART || bytes == 0) {
            return self.give_back(&mut held);
        }
        if *held == 0 && bytes > 0 && room.free_bytes >= enough.saturating_add(bytes) {
            return self.take(&mut held, bytes);
        }
        Ok(())
    }

    /// Gives everything back if the disk could not take `bytes` more.
    pub(crate) fn make_room_for(&self, bytes: u64, room: Room) -> io::Result<()> {
        let mut held = self.lock();
        if *held > 0 && room.free_bytes < bytes { self.give_back(&mut held) } else { Ok(()) }
    }

    fn take(&self, held: &mut u64, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(&self.path)?;
        let length = i64::try_from(bytes).map_err(io::Error::other)?;
        match fallocate(&file, FallocateFlags::empty(), 0, length) {
            Ok(()) => *held = bytes,
            // A disk that cannot promise room gets no ballast.
            Err(Errno::EOPNOTSUPP) => fs::remove_file(&self.path)?,
            Err(error) => {
                fs::remove_file(&self.path)?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn give_back(&self, held: &mut u64) -> io::Result<()> {
        warn!(bytes = *held, "the disk is full: gave the ballast back");
        *held = 0;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn room(free_bytes: u64) -> Room {
        Room { free_bytes, total_bytes: 1000 * MIB }
    }

    fn size(dir: &Path) -> Option<u64> {
        fs::metadata(dir.join(FILE)).ok().map(|found| found.len())
    }

    #[test]
    fn it_is_taken_while_there_is_enough_and_given_back_when_there_is_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let ballast = Ballast::find(dir.path());
        let settle = |free| ballast.settle(4 * MIB, 10 * MIB, room(free)).expect("it settles");
        settle(13 * MIB);
        assert_eq!(size(dir.path()), None, "too little would be left");
        settle(14 * MIB);
        assert_eq!(size(dir.path()), Some(4 * MIB));
        settle(2 * MIB);
        assert_eq!(size(dir.path()), Some(4 * MIB), "short is not full");
        let again = Ballast::find(dir.path());
        again.settle(4 * MIB, 10 * MIB, room(MIB - 1)).expect("it settles");
        assert_eq!(size(dir.path()), None);
        again.settle(4 * MIB, 10 * MIB, room(20 * MIB)).expect("it settles");
        again.make_room_for(MIB, room(2 * MIB)).expect("it settles");
        assert_eq!(size(dir.path()), Some(4 * MIB));
        again.make_room_for(3 * MIB, room(2 * MIB)).expect("it settles");
        assert_eq!(size(dir.path()), None);
    }
}
