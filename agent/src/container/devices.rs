//! Device nodes like those of the node.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat};

use super::failure::{Explain as _, refusal};
use super::inside::Inside;
use super::spec::{DeviceNode, StartFailure};

/// Folders of the node's `/dev` that are no devices but file systems, of which a container has its own.
const NOT_DEVICES: &[&str] = &["pts", "shm", "fd", "mqueue", "console"];

/// Puts one where the container wants it.
pub(super) fn place(inside: &Inside, device: &DeviceNode) -> Result<(), StartFailure> {
    let (folder, name) = inside.place(&device.target).at("make a place for", &device.target)?;
    make_like(&device.source, &folder, name)
}

/// Puts all devices of the node into a container's `/dev`. What is there already stays.
pub(super) fn all_of_node(dev: &OwnedFd) -> Result<(), StartFailure> {
    copy_folder(Path::new("/dev"), dev)
}

fn copy_folder(source: &Path, target: &OwnedFd) -> Result<(), StartFailure> {
    for entry in std::fs::read_dir(source).at("list", source)?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        if NOT_DEVICES.iter().any(|known| name == OsStr::new(known)) {
            continue;
        }
        // A device may go at any time.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_char_device() || kind.is_block_device() {
            make_like(&path, target, &name)?;
        } else if kind.is_dir() {
            match mkdirat(target, name.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error).at("make", &path),
            }
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            copy_folder(&path, &openat(target, name.as_os_str(), flags, Mode::empty()).at("open", &path)?)?;
        }
    }
    Ok(())
}

fn make_like(source: &Path, folder: impl AsFd, name: &OsStr) -> Result<(), StartFailure> {
    let found = std::fs::metadata(source).at("look at the device", source)?;
    let kind = if found.file_type().is_char_device() {
        SFlag::S_IFCHR
    } else if found.file_type().is_block_device() {
        SFlag::S_IFBLK
    } else {
        return Err(refusal(format!("{} is no device", source.display())));
    };
    match mknodat(&folder, name, kind, Mode::from_bits_truncate(found.mode() & 0o7777), found.rdev()) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return Ok(()),
        Err(error) => return Err(error).at("make a device like", source),
    }
    let (user, group) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    fchownat(&folder, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW).at("give away", source)
}
