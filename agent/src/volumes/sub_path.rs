//! subPath: one file or folder of a volume, held by a bind mount that no link of the pod can bend.
//!
//! The kernel resolves the path and refuses to leave the volume (RESOLVE_BENEATH); what it found is mounted
//! through its descriptor, so that there is no moment in which a name could come to mean something else.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use thiserror::Error;

use super::mounting::clear_target;

#[derive(Debug, Error)]
pub(crate) enum SubPathError {
    #[error("error SubPath `{0}` must not be an absolute path")]
    Absolute(String),
    #[error("unable to provision SubPath `{0}`: must not contain '..'")]
    Backsteps(String),
    #[error("the path leaves the volume")]
    Leaves,
    #[error("{0}")]
    Files(#[from] io::Error),
}

/// Mounts `sub_path` of the volume `root` at `target`, anew if it was mounted before. Missing folders are
/// made, as open to others as the volume itself.
pub(super) fn bind(root: &Path, sub_path: &str, target: &Path) -> Result<(), SubPathError> {
    check(sub_path)?;
    let volume = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let volume = volume.map_err(io::Error::from)?;
    let found = open_or_make(&volume, sub_path)?;
    clear_target(target, is_dir(&found)?)?;
    let held = format!("/proc/self/fd/{}", found.as_raw_fd());
    let mounted = mount(Some(held.as_str()), target, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    Ok(mounted.map_err(io::Error::from)?)
}

pub(super) fn check(sub_path: &str) -> Result<(), SubPathError> {
    let path = Path::new(sub_path);
    if path.is_absolute() {
        return Err(SubPathError::Absolute(sub_path.to_owned()));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(SubPathError::Backsteps(sub_path.to_owned()));
    }
    Ok(())
}

fn open_or_make(volume: &OwnedFd, sub_path: &str) -> Result<OwnedFd, SubPathError> {
    match beneath(volume, Path::new(sub_path)) {
        Err(Errno::ENOENT) => {}
        Err(error) => return Err(refusal(error)),
        Ok(found) => return Ok(found),
    }
    let mode = Mode::from_bits_truncate(fstat(volume).map_err(refusal)?.st_mode & 0o7777);
    let mut at = PathBuf::from(".");
    let mut parent = beneath(volume, &at).map_err(refusal)?;
    for part in Path::new(sub_path).components() {
        at.push(part);
        parent = match beneath(volume, &at) {
            Err(Errno::ENOENT) => make(&parent, part.as_os_str(), mode, || beneath(volume, &at)),
            other => other,
        }
        .map_err(refusal)?;
    }
    Ok(parent)
}

/// A dangling link is not replaced: making fails.
fn make(
    parent: &OwnedFd,
    name: &OsStr,
    mode: Mode,
    reopen: impl Fn() -> nix::Result<OwnedFd>,
) -> nix::Result<OwnedFd> {
    mkdirat(parent, name, mode)?;
    let made = nix::fcntl::openat(
        parent,
        name,
        OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    // mkdir obeys the umask.
    fchmod(&made, mode)?;
    reopen()
}

fn beneath(volume: &impl AsFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(volume, path, how)
}

fn refusal(error: Errno) -> SubPathError {
    match error {
        Errno::EXDEV => SubPathError::Leaves,
        error => SubPathError::Files(error.into()),
    }
}

fn is_dir(file: &OwnedFd) -> io::Result<bool> {
    let mode = fstat(file)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn outcome(volume: &Path, sub_path: &str) -> String {
        let opened = open(volume, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        let found = check(sub_path).and_then(|()| open_or_make(&opened, sub_path));
        match found {
            Ok(found) => {
                let held = format!("/proc/self/fd/{}", found.as_raw_fd());
                let path = std::fs::read_link(held).unwrap();
                path.strip_prefix(volume).unwrap().display().to_string()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_found_is_inside_the_volume_or_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        std::fs::create_dir_all(volume.join("a/b")).unwrap();
        std::fs::write(volume.join("a/file"), "").unwrap();
        symlink("/etc", volume.join("absolute")).unwrap();
        symlink("../..", volume.join("a/up")).unwrap();
        symlink("b", volume.join("a/inside")).unwrap();
        symlink("nowhere", volume.join("dangling")).unwrap();
        for (sub_path, said) in [
            ("a/b", "a/b"),
            ("a/file", "a/file"),
            ("a/inside", "a/b"),
            ("new/deep/er", "new/deep/er"),
            ("absolute", "the path leaves the volume"),
            ("absolute/passwd", "the path leaves the volume"),
            ("a/up/x", "the path leaves the volume"),
            ("dangling", "EEXIST: File exists"),
            ("/etc", "error SubPath `/etc` must not be an absolute path"),
            ("a/../b", "unable to provision SubPath `a/../b`: must not contain '..'"),
        ] {
            let outcome = outcome(&volume, sub_path);
            assert!(
                outcome == said || (said.contains("EEXIST") && outcome.contains("exists")),
                "{sub_path}: {outcome}"
            );
        }
        assert!(!dir.path().join("x").exists() && !volume.join("nowhere").exists());
    }
}
