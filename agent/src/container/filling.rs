//! What an image has at the place of a volume, copied into the volume: whose it is, and all that is said of it.
//!
//! Nothing runs in the container yet, so nothing changes while it is looked at; links are never followed.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

/// The kernel's limits.
const NAMES_BYTES_MAX: usize = 64 * 1024;
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Copies the open folder's content, and what is said of the folder, into an empty one.
pub(super) fn fill(from: &OwnedFd, to: &Path) -> io::Result<()> {
    let from = PathBuf::from(format!("/proc/self/fd/{}/.", from.as_raw_fd()));
    let found = fs::symlink_metadata(&from)?;
    Copying::default().content(&from, to)?;
    describe(&from, to, &found)
}

#[derive(Default)]
struct Copying {
    /// Files of several names, by device and number: the first copy.
    linked: BTreeMap<(u64, u64), PathBuf>,
}

impl Copying {
    fn content(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            self.copy(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    }

    fn copy(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(from)?;
        let kind = found.file_type();
        if !kind.is_dir() && found.nlink() > 1 {
            let file = (found.dev(), found.ino());
            if let Some(first) = self.linked.get(&file) {
                return fs::hard_link(first, to);
            }
            self.linked.insert(file, to.to_owned());
        }
        if kind.is_dir() {
            fs::create_dir(to)?;
            self.content(from, to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
        } else if kind.is_file() {
            fs::copy(from, to)?;
        } else {
            let kind = if kind.is_fifo() {
                SFlag::S_IFIFO
            } else if kind.is_socket() {
                SFlag::S_IFSOCK
            } else if kind.is_block_device() {
                SFlag::S_IFBLK
            } else {
                SFlag::S_IFCHR
            };
            mknod(to, kind, Mode::empty(), found.rdev())?;
        }
        describe(from, to, &found)
    }
}

/// Gives a copy its owner, its attributes, its mode and its times, of which each may undo the one after it.
fn describe(from: &Path, to: &Path, found: &Metadata) -> io::Result<()> {
    lchown(to, Some(found.uid()), Some(found.gid()))?;
    copy_attributes(from, to)?;
    if !found.is_symlink() {
        fs::set_permissions(to, Permissions::from_mode(found.mode() & 0o7777))?;
    }
    let (read, written) =
        (TimeSpec::new(found.atime(), found.atime_nsec()), TimeSpec::new(found.mtime(), found.mtime_nsec()));
    Ok(utimensat(AT_FDCWD, to, &read, &written, UtimensatFlags::NoFollowSymlink)?)
}

fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0; NAMES_BYTES_MAX];
    let length = match llistxattr(from, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let mut value = vec![0; VALUE_BYTES_MAX];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = lgetxattr(from, name, &mut value)?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // The volume's file system may know fewer than the image's.
            Err(Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}
