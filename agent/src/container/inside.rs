//! Paths as the container sees them, opened from outside before it runs: no link of an image or a volume leads out
//! of its root, because the kernel resolves every one as if the root were `/`.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

/// Dangling links that are followed one after the other.
const LINKS_MAX: u32 = 40;

/// A container's root, before it is anybody's `/`.
#[derive(Debug)]
pub(super) struct Inside {
    root: OwnedFd,
}

impl Inside {
    pub(super) fn open(root: &Path) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: open(root, flags, Mode::empty())? })
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// What is there, links followed inside the root.
    pub(super) fn find(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.resolve(path, OFlag::empty(), ResolveFlag::empty())
    }

    /// A folder directly in the root that is no link: what the kernel's file systems are mounted on.
    pub(super) fn plain_folder(&self, name: &str) -> nix::Result<OwnedFd> {
        match mkdirat(&self.root, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        self.resolve(Path::new(name), OFlag::O_DIRECTORY, ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    /// A folder, made with those above it where it is missing.
    pub(super) fn folder(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.make_folders(path, LINKS_MAX)
    }

    /// A file, made empty with the folders above it where it is missing. It may be anything but a folder.
    pub(super) fn file(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.make_file(path, LINKS_MAX)
    }

    /// The folder that a path's last part is in, made where it is missing, and that part.
    pub(super) fn place<'a>(&self, path: &'a Path) -> nix::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        Ok((self.folder(path.parent().unwrap_or(Path::new("/")))?, name))
    }

    fn make_folders(&self, path: &Path, links: u32) -> nix::Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::ENOENT) => {}
            found => return found,
        }
        let mut at = PathBuf::from("/");
        let mut parent = self.find(&at)?;
        for part in path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)) {
            let next = at.join(part);
            parent = match self.find(&next) {
                Err(Errno::ENOENT) => self.make_folder(&parent, &at, part.as_os_str(), links)?,
                found => found?,
            };
            at = next;
        }
        Ok(parent)
    }

    fn make_folder(&self, parent: &OwnedFd, at: &Path, name: &OsStr, links: u32) -> nix::Result<OwnedFd> {
        match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = openat(parent, name, flags, Mode::empty())?;
        if kind(&made)? != SFlag::S_IFLNK {
            return Ok(made);
        }
        // A link that leads nowhere yet.
        let left = links.checked_sub(1).ok_or(Errno::ELOOP)?;
        self.make_folders(&at.join(readlinkat(parent, name)?), left)
    }

    fn make_file(&self, path: &Path, links: u32) -> nix::Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::ENOENT) => {}
            found => return found,
        }
        let (parent, name) = self.place(path)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        match openat(&parent, name, flags, Mode::from_bits_truncate(0o644)) {
            Ok(made) => Ok(made),
            Err(Errno::EEXIST) => {
                let left = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                let above = path.parent().unwrap_or(Path::new("/"));
                self.make_file(&above.join(readlinkat(&parent, name)?), left)
            }
            Err(error) => Err(error),
        }
    }

    fn resolve(&self, path: &Path, flags: OFlag, more: ResolveFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | more);
        // The kernel asks to try again when somebody renames below it.
        loop {
            match openat2(&self.root, path, how) {
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
    }
}

pub(super) fn kind(file: &OwnedFd) -> nix::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(file)?.st_mode & SFlag::S_IFMT.bits()))
}
