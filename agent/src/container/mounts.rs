//! Mounts by descriptor: between finding a place and mounting on it no name is looked up twice.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::libc;
use rustix::fs::CWD;
use rustix::io::Result;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::kernel::{MountChange, change_mount};

/// What a file system is told when it is made.
pub(super) enum Setting {
    Flag(&'static str),
    Value(&'static str, &'static str),
}

/// A file system of the kernel's, mounted nowhere yet.
pub(super) fn filesystem(kind: &str, settings: &[Setting], attributes: MountAttrFlags) -> Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for setting in settings {
        match setting {
            Setting::Flag(key) => fsconfig_set_flag(&context, *key)?,
            Setting::Value(key, value) => fsconfig_set_string(&context, *key, *value)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A second mount of what a path of the node shows, mounted nowhere yet, with all that is mounted below.
pub(super) fn copy_of(path: &Path) -> Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags)
}

/// The same of one file.
pub(super) fn copy_of_file(path: &str) -> Result<OwnedFd> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// The same of what is open.
pub(super) fn copy_of_open(file: &OwnedFd) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(file, "", flags)
}

/// Mounts on what is open; the mount's descriptor stays good.
pub(super) fn attach(mount: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// Makes one mount read-only, and none below it.
pub(super) fn make_read_only(mount: &OwnedFd) -> io::Result<()> {
    change_mount(mount, MountChange { read_only: true, ..MountChange::default() })
}

/// Makes a mount read-only, and everything below it.
pub(super) fn make_all_read_only(mount: &OwnedFd) -> io::Result<()> {
    change_mount(mount, MountChange { read_only: true, recursive: true, propagation: 0 })
}

/// Neither shows what is mounted elsewhere nor is shown there, it and everything below.
pub(super) fn make_private(mount: &OwnedFd) -> io::Result<()> {
    change_mount(mount, MountChange { propagation: libc::MS_PRIVATE, recursive: true, read_only: false })
}

/// Shows what is mounted elsewhere, and is not shown there, it and everything below.
pub(super) fn make_slave(mount: &OwnedFd) -> io::Result<()> {
    change_mount(mount, MountChange { propagation: libc::MS_SLAVE, recursive: true, read_only: false })
}

/// Whether what is mounted below a mount is shown elsewhere too. It is attached.
pub(super) fn is_shared(mount: &OwnedFd) -> io::Result<bool> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", mount.as_raw_fd()))?;
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or_default().trim();
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let own = table.lines().find(|line| line.split(' ').next() == Some(id)).unwrap_or_default();
    // The seventh field and those after it, up to a dash, say with whom.
    Ok(own.split(' ').skip(6).take_while(|field| *field != "-").any(|field| field.starts_with("shared:")))
}
