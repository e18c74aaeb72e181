//! Everything that the container sees as files, made from outside and then made its `/`.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::SFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{fchdir, pivot_root};
use rustix::mount::{MountAttrFlags, MountFlags, MountPropagationFlags, mount_change, mount_remount};

use super::failure::{Explain as _, refusal};
use super::inside::{Inside, kind};
use super::mounts;
use super::spec::{BindMount, ContainerSpec, Propagation, StartFailure};
use super::{devices, filling, overlay, system};

/// Files of `/proc` that something may be mounted on; nothing else there may be covered.
const COVERED_IN_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// Builds the container's files in this process's own mount namespace, which is left with nothing else.
pub(super) fn build(container: &ContainerSpec) -> Result<(), StartFailure> {
    // While they still share with the node what it shares.
    let binds = container.mounts.iter().map(copy).collect::<Result<Vec<_>, _>>()?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).step("separate the container's mounts")?;
    let inside = overlay::mount_root(&container.root)?;
    for volume in container.mounts.iter().filter(|mount| mount.is_filled) {
        fill(&inside, volume)?;
    }
    let null = system::mount_all(&inside, container)?;
    for (wanted, mount) in container.mounts.iter().zip(&binds) {
        bind(&inside, wanted, mount)?;
    }
    let working_dir = &container.process.working_dir;
    inside.folder(working_dir).at("make the working directory", working_dir)?;
    for device in &container.devices {
        devices::place(&inside, device)?;
    }
    for path in &container.readonly_paths {
        make_read_only(&inside, path)?;
    }
    for path in &container.masked_paths {
        mask(&inside, path, &null)?;
    }
    enter(&inside, container.root.readonly)
}

fn copy(wanted: &BindMount) -> Result<OwnedFd, StartFailure> {
    mounts::copy_of(&wanted.source).at("open the mount's source", &wanted.source)
}

/// A folder that the image does not have is an empty volume.
fn fill(inside: &Inside, volume: &BindMount) -> Result<(), StartFailure> {
    let path = &volume.target;
    let Some(found) = existing(inside, path)? else { return Ok(()) };
    if kind(&found).at("look at", path)? != SFlag::S_IFDIR {
        return Err(refusal(format!("the image's volume {} is no folder", path.display())));
    }
    filling::fill(&found, &volume.source).at("fill the image's volume", path)
}

fn bind(inside: &Inside, wanted: &BindMount, mount: &OwnedFd) -> Result<(), StartFailure> {
    let path = &wanted.target;
    let folder = kind(mount).at("look at", &wanted.source)? == SFlag::S_IFDIR;
    let target = if folder { inside.folder(path) } else { inside.file(path) };
    let target = target.at("make the mount's target", path)?;
    check_covered(&target, path, mount)?;
    mounts::attach(mount, &target).at("mount at", path)?;
    match wanted.propagation {
        Propagation::Private => mounts::make_private(mount).at("set the propagation of", path)?,
        Propagation::HostToContainer => mounts::make_slave(mount).at("set the propagation of", path)?,
        // A copy shares what its source shares.
        Propagation::Bidirectional => check_shared(wanted, mount)?,
    }
    if wanted.recursive_readonly {
        mounts::make_all_read_only(mount).at("make read-only, with all below it,", path)?;
    } else if wanted.readonly {
        mounts::make_read_only(mount).at("make read-only", path)?;
    }
    Ok(())
}

/// What watches over the container reads `/proc`: an image or a volume may not put something else there.
fn check_covered(target: &OwnedFd, path: &Path, mount: &OwnedFd) -> Result<(), StartFailure> {
    let in_proc = |file: &OwnedFd| Ok(fstatfs(file)?.filesystem_type() == PROC_SUPER_MAGIC);
    let covers = in_proc(target).map_err(|error: Errno| error).at("look at", path)?;
    let allowed = COVERED_IN_PROC.iter().any(|known| path == Path::new(known))
        || path == Path::new("/proc") && in_proc(mount).at("look at the source of", path)?;
    if covers && !allowed {
        return Err(refusal(format!("mount at {}: it is inside /proc", path.display())));
    }
    Ok(())
}

fn check_shared(wanted: &BindMount, mount: &OwnedFd) -> Result<(), StartFailure> {
    if mounts::is_shared(mount).at("look at", &wanted.source)? {
        return Ok(());
    }
    let source = wanted.source.display();
    Err(refusal(format!("path {source} is to be mounted in both directions, but is not on a shared mount")))
}

/// What is not there needs no protection.
fn make_read_only(inside: &Inside, path: &Path) -> Result<(), StartFailure> {
    let Some(found) = existing(inside, path)? else { return Ok(()) };
    let mount = mounts::copy_of_open(&found).at("copy", path)?;
    mounts::attach(&mount, &found).at("mount at", path)?;
    mounts::make_read_only(&mount).at("make read-only", path)
}

/// A file looks empty, a folder too.
fn mask(inside: &Inside, path: &Path, null: &OwnedFd) -> Result<(), StartFailure> {
    let Some(found) = existing(inside, path)? else { return Ok(()) };
    let mount = if kind(&found).at("look at", path)? == SFlag::S_IFDIR {
        mounts::filesystem("tmpfs", &[], MountAttrFlags::MOUNT_ATTR_RDONLY)
    } else {
        mounts::copy_of_open(null)
    };
    mounts::attach(&mount.at("make a mask for", path)?, &found).at("mask", path)
}

fn existing(inside: &Inside, path: &Path) -> Result<Option<OwnedFd>, StartFailure> {
    match inside.find(path) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        found => found.map(Some).at("look for", path),
    }
}

fn enter(inside: &Inside, readonly: bool) -> Result<(), StartFailure> {
    fchdir(inside.root()).step("enter the root")?;
    pivot_root(".", ".").step("change the root")?;
    // The old one lies on the new one.
    umount2(".", MntFlags::MNT_DETACH).step("leave the node's files")?;
    nix::unistd::chdir("/").step("enter the root")?;
    if readonly {
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        mount_remount("/", flags, c"").step("make the root read-only")?;
    }
    Ok(())
}
