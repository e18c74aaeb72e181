//! The folder that a layer is unpacked into, and places in it. No name in it leads out of it.
//!
//! A place is a descriptor of a folder that the kernel found with the layer's folder as its root, and one name
//! in it that is never followed. So what is written through `/proc/self/fd/N/name` is inside.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use rustix::fs::{XattrFlags, lsetxattr};
use tracing::debug;

use super::reader::{Entry, Kind, clean};
use super::{DEPTH_MAX, UnpackError, readable, written};

/// How often the kernel is asked again when something was renamed while it resolved a path.
const TRIES_MAX: usize = 128;
/// Overlayfs's own notes are ours to write; a layer's could send it elsewhere.
const ATTRIBUTES: &[&[u8]] = &[b"security.capability", b"user.", b"system.posix_acl_"];
const OVERLAY_ATTRIBUTES: &[u8] = b"user.overlay.";

pub(super) struct Tree {
    root: OwnedFd,
    /// How many parts the root's own path has.
    depth: usize,
}

/// One name in a folder of the tree.
pub(super) struct Place<'a> {
    path: PathBuf,
    /// Keeps `path` meaning what it means.
    folder: OwnedFd,
    tree: PhantomData<&'a Tree>,
}

/// What was at a place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    Whiteout,
    Other,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = File::open(root)?;
        let depth = depth(&root)?;
        Ok(Self { root: root.into(), depth })
    }

    /// Where `path` is, or will be; folders on the way are made. The root itself is the place `.`.
    pub(super) fn place(&self, path: &[u8]) -> Result<Place<'_>, UnpackError> {
        let (folder, name) = split(path);
        let folder = self.make_folders(folder)?;
        Ok(Place::of(folder, name))
    }

    /// The folder at `path`, as a place; made if it is missing.
    pub(super) fn folder(&self, path: &[u8]) -> Result<Place<'_>, UnpackError> {
        Ok(Place::of(self.make_folders(path)?, b"."))
    }

    /// Where something is that must be there.
    pub(super) fn find(&self, path: &[u8]) -> Result<Place<'_>, UnpackError> {
        let path = clean(path)?;
        let (folder, name) = split(&path);
        let fail = |error: Errno| written(&path, error.into());
        let place = Place::of(self.open_folder(folder).map_err(fail)?, name);
        fs::symlink_metadata(&place.path).map_err(|source| written(&path, source))?;
        Ok(place)
    }

    fn make_folders(&self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let fail = |source| written(path, source);
        let folder = match self.open_folder(path) {
            Err(Errno::ENOENT) => self.make_each(path)?,
            opened => opened.map_err(|error| fail(error.into()))?,
        };
        self.check_depth(&folder, path)?;
        Ok(folder)
    }

    /// Links may lead deeper than any path is long.
    fn check_depth(&self, folder: &OwnedFd, path: &[u8]) -> Result<(), UnpackError> {
        let depth = depth(folder).map_err(|source| written(path, source))?;
        if depth > self.depth + DEPTH_MAX {
            return Err(UnpackError::Deep { path: readable(path) });
        }
        Ok(())
    }

    fn make_each(&self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let fail = |source| written(path, source);
        let mut folder = self.open_folder(b"").map_err(|error| fail(error.into()))?;
        for (end, _) in path.iter().enumerate().chain([(path.len(), &b'/')]).filter(|(_, b)| **b == b'/') {
            let part = &path[..end];
            folder = match self.open_folder(part) {
                Err(Errno::ENOENT) => {
                    self.check_depth(&folder, path)?;
                    let (_, name) = split(part);
                    let place = Place::of(folder, name);
                    // A link that leads nowhere is not replaced: making fails.
                    fs::create_dir(&place.path).map_err(fail)?;
                    fs::set_permissions(&place.path, Permissions::from_mode(0o755)).map_err(fail)?;
                    self.open_folder(part)
                }
                opened => opened,
            }
            .map_err(|error| fail(error.into()))?;
        }
        Ok(folder)
    }

    fn open_folder(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV,
        );
        let path = if path.is_empty() { b"." } else { path };
        let mut tries = 0;
        loop {
            match openat2(&self.root, path, how) {
                Err(Errno::EAGAIN) if tries < TRIES_MAX => tries += 1,
                opened => return opened,
            }
        }
    }
}

impl Place<'_> {
    fn of(folder: OwnedFd, name: &[u8]) -> Self {
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
        Self { path: path.join(OsStr::from_bytes(name)), folder, tree: PhantomData }
    }

    fn before(&self) -> io::Result<Option<fs::Metadata>> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes what is there.
    pub(super) fn clear(&self) -> io::Result<Before> {
        let Some(found) = self.before()? else { return Ok(Before::Nothing) };
        if found.is_dir() {
            fs::remove_dir_all(&self.path)?;
        } else {
            fs::remove_file(&self.path)?;
        }
        Ok(if is_whiteout(&found) { Before::Whiteout } else { Before::Other })
    }

    /// A folder that is there stays, with what is in it.
    pub(super) fn make_folder(&self) -> io::Result<Before> {
        if self.before()?.is_some_and(|found| found.is_dir()) {
            return Ok(Before::Other);
        }
        let before = self.clear()?;
        fs::create_dir(&self.path)?;
        Ok(before)
    }

    pub(super) fn make_file(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&self.path)
    }

    pub(super) fn make_symlink(&self, target: &[u8]) -> io::Result<()> {
        symlink(OsStr::from_bytes(target), &self.path)
    }

    pub(super) fn make_node(&self, kind: Kind, (major, minor): (u64, u64)) -> io::Result<()> {
        let kind = match kind {
            Kind::Character => SFlag::S_IFCHR,
            Kind::Block => SFlag::S_IFBLK,
            Kind::Fifo | Kind::File | Kind::Directory | Kind::Symlink | Kind::HardLink => SFlag::S_IFIFO,
        };
        Ok(mknod(&self.path, kind, Mode::S_IRUSR | Mode::S_IWUSR, makedev(major, minor))?)
    }

    /// Hides what lower layers have here. What this layer itself has stays, and is all that is seen.
    pub(super) fn make_whiteout(&self) -> io::Result<()> {
        match self.before()? {
            None => Ok(mknod(&self.path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?),
            Some(found) if found.is_dir() => self.set_opaque(),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn set_opaque(&self) -> io::Result<()> {
        Ok(lsetxattr(&self.path, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        let identity = |place: &Self| place.before().ok().flatten().map(|found| (found.dev(), found.ino()));
        identity(self).is_some_and(|one| identity(other) == Some(one))
    }

    /// A hard link at `new` to what is here; a symbolic link itself, not what it leads to.
    pub(super) fn link_to(&self, new: &Self) -> io::Result<()> {
        let (_, from) = split(self.path.as_os_str().as_bytes());
        let (_, to) = split(new.path.as_os_str().as_bytes());
        Ok(nix::unistd::linkat(&self.folder, from, &new.folder, to, AtFlags::empty())?)
    }

    /// Owner first: a change of it takes setuid and capabilities away.
    pub(super) fn set_attributes(&self, entry: &Entry) -> io::Result<()> {
        let (uid, gid) = entry.owner;
        lchown(&self.path, Some(uid), Some(gid))?;
        if entry.kind != Kind::Symlink {
            fs::set_permissions(&self.path, Permissions::from_mode(entry.mode))?;
        }
        for (name, value) in &entry.attributes {
            let known = ATTRIBUTES.iter().any(|known| name.starts_with(known));
            if !known || name.starts_with(OVERLAY_ATTRIBUTES) {
                debug!(attribute = %readable(name), "left out an attribute of a layer's file");
                continue;
            }
            match lsetxattr(&self.path, name.as_slice(), value, XattrFlags::empty()) {
                // Not every file system has them, and links have none of the user's.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => {
                    debug!(attribute = %readable(name), "the file system takes no such attribute");
                }
                set => set?,
            }
        }
        Ok(())
    }

    pub(super) fn set_time(&self, (seconds, nanos): (i64, u32)) -> io::Result<()> {
        let time = TimeSpec::new(seconds, i64::from(nanos));
        let flag = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(nix::fcntl::AT_FDCWD, &self.path, &time, &time, flag)?)
    }
}

fn is_whiteout(found: &fs::Metadata) -> bool {
    found.file_type().is_char_device() && found.rdev() == 0
}

/// The folder's path, and the name in it: `.` for the root.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None if path.is_empty() => (b"", b"."),
        None => (b"", path),
    }
}

fn depth(folder: &impl AsFd) -> io::Result<usize> {
    let path = fs::read_link(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd()))?;
    Ok(path.components().count())
}
