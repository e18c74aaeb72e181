//! What every container gets of the kernel's own file systems: `/proc`, `/dev`, `/sys` and its cgroups.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use nix::unistd::symlinkat;
use rustix::mount::MountAttrFlags;

use super::devices;
use super::failure::{Explain as _, refusal};
use super::inside::Inside;
use super::mounts::{self, Setting};
use super::spec::{ContainerSpec, StartFailure};
use super::terminal;
use crate::cgroups;

/// Character devices that everybody may use: name, major, minor.
const DEVICES: &[(&str, u64, u64)] =
    &[("full", 1, 7), ("null", 1, 3), ("random", 1, 8), ("tty", 5, 0), ("urandom", 1, 9), ("zero", 1, 5)];

/// Name and where it leads.
const LINKS: &[(&str, &str)] = &[
    ("core", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

const NO_SUID_DEV_EXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Mounts them all, and takes a terminal if the process is to have one. Returns the container's `/dev/null`.
pub(super) fn mount_all(inside: &Inside, container: &ContainerSpec) -> Result<OwnedFd, StartFailure> {
    let proc = inside.plain_folder("proc").step("make /proc")?;
    attach_made("proc", &[], NO_SUID_DEV_EXEC, &proc, "/proc")?;
    let null = mount_devices(inside, container)?;
    let sys = inside.plain_folder("sys").step("make /sys")?;
    let writable = container.privileged;
    attach_made("sysfs", &[], NO_SUID_DEV_EXEC | read_only_unless(writable), &sys, "/sys")?;
    mount_cgroups(inside, container)?;
    Ok(null)
}

fn read_only_unless(writable: bool) -> MountAttrFlags {
    if writable { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY }
}

fn attach_made(
    kind: &str,
    settings: &[Setting],
    attributes: MountAttrFlags,
    target: &OwnedFd,
    path: &str,
) -> Result<OwnedFd, StartFailure> {
    let made = mounts::filesystem(kind, settings, attributes).at(&format!("make a {kind} for"), path)?;
    mounts::attach(&made, target).at("mount", path)?;
    Ok(made)
}

fn mount_devices(inside: &Inside, container: &ContainerSpec) -> Result<OwnedFd, StartFailure> {
    let target = inside.plain_folder("dev").step("make /dev")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let settings = [Setting::Value("mode", "755"), Setting::Value("size", "65536k")];
    let dev = attach_made("tmpfs", &settings, attributes, &target, "/dev")?;
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        mknodat(&dev, *name, SFlag::S_IFCHR, mode, makedev(*major, *minor)).at("make a device", name)?;
    }
    for (name, target) in LINKS {
        symlinkat(*target, &dev, *name).at("make a link", name)?;
    }
    let no_exec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let terminals = [
        Setting::Flag("newinstance"),
        Setting::Value("ptmxmode", "0666"),
        Setting::Value("mode", "0620"),
        Setting::Value("gid", "5"),
    ];
    let terminals = attach_made("devpts", &terminals, no_exec, &folder_in(&dev, "pts")?, "/dev/pts")?;
    let shared = [Setting::Value("mode", "1777"), Setting::Value("size", "65536k")];
    attach_made("tmpfs", &shared, NO_SUID_DEV_EXEC, &folder_in(&dev, "shm")?, "/dev/shm")?;
    attach_made("mqueue", &[], NO_SUID_DEV_EXEC, &folder_in(&dev, "mqueue")?, "/dev/mqueue")?;
    if container.privileged {
        devices::all_of_node(&dev)?;
    }
    if container.process.tty {
        let terminal = mounts::copy_of_open(&terminal::take(&terminals)?).step("open the terminal")?;
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let console = openat(&dev, "console", flags, Mode::from_bits_truncate(0o600));
        mounts::attach(&terminal, &console.step("make /dev/console")?).step("mount /dev/console")?;
    }
    let null = openat(&dev, "null", OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
    null.step("open /dev/null")
}

fn folder_in(parent: &OwnedFd, name: &str) -> Result<OwnedFd, StartFailure> {
    mkdirat(parent, name, Mode::from_bits_truncate(0o755)).at("make", name)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty()).at("open", name)
}

/// Version 2: its own tree, or all of it when it is privileged. Version 1: of each hierarchy its own folder.
fn mount_cgroups(inside: &Inside, container: &ContainerSpec) -> Result<(), StartFailure> {
    let path = Path::new("/sys/fs/cgroup");
    let target = inside.find(path).at("find", path)?;
    let read_only = read_only_unless(container.privileged);
    if cgroups::is_one_tree() {
        attach_made("cgroup2", &[], NO_SUID_DEV_EXEC | read_only, &target, "/sys/fs/cgroup")?;
        return Ok(());
    }
    let tree =
        attach_made("tmpfs", &[Setting::Value("mode", "755")], NO_SUID_DEV_EXEC, &target, "/sys/fs/cgroup")?;
    for folder in &container.cgroups {
        let Some(hierarchy) = cgroups::hierarchy_of(folder) else {
            return Err(refusal(format!("{} is in no cgroup hierarchy", folder.display())));
        };
        let target = folder_in(&tree, &hierarchy)?;
        let own = mounts::copy_of(folder).at("open the cgroup", folder)?;
        mounts::attach(&own, &target).at("mount the cgroup", folder)?;
        if !container.privileged {
            mounts::make_read_only(&own).at("make read-only", folder)?;
        }
    }
    if !container.privileged {
        mounts::make_read_only(&tree).at("make read-only", path)?;
    }
    Ok(())
}
