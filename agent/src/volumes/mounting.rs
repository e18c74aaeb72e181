//! From a container's volumeMounts to what the runtime mounts, and the node's own mounts below a pod's folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container as ContainerSpec, VolumeDevice, VolumeMount};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use proto::cri::{Device, Mount, MountPropagation};
use thiserror::Error;
use tracing::warn;

use super::sub_path::{self, SubPathError};
use super::{Prepared, make_dir};
use crate::pods::{MissingValue, expand_known};

/// Why a container's mounts cannot be made; the words are the kubelet's.
#[derive(Debug, Error)]
pub(crate) enum MountError {
    #[error("cannot find volume {volume:?} to mount into container {container:?}")]
    Unknown { container: String, volume: String },
    #[error("volume {0} has volumeMode Block, but is specified in volumeMounts")]
    Device(String),
    #[error("volume {0} has volumeMode Filesystem, but is specified in volumeDevices")]
    NoDevice(String),
    #[error("{0}")]
    Expression(#[from] MissingValue),
    #[error("{0}")]
    Path(SubPathError),
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}: {source}")]
    SubPath { container: String, volume: String, source: SubPathError },
    #[error("failed to resolve recursive read-only mode: volume {volume:?} {why}")]
    RecursiveReadOnly { volume: String, why: &'static str },
    #[error("cannot make volume {volume:?} read-only: {source}")]
    ReadOnly { volume: String, source: io::Error },
}

/// The mounts that a container asks for. `environment` is for `subPathExpr`.
pub(crate) fn mounts(
    pod_dir: &Path,
    spec: &ContainerSpec,
    prepared: &Prepared,
    environment: &[(String, String)],
) -> Result<Vec<Mount>, MountError> {
    let wanted = spec.volume_mounts.iter().flatten().enumerate();
    let one = |(index, wanted)| one_mount(&Place { pod_dir, spec, index }, wanted, prepared, environment);
    wanted.map(one).collect()
}

/// The block devices that a container asks for.
pub(crate) fn devices(spec: &ContainerSpec, prepared: &Prepared) -> Result<Vec<Device>, MountError> {
    let one = |wanted: &VolumeDevice| {
        let volume = wanted.name.clone();
        let present = prepared
            .get(&volume)
            .ok_or_else(|| MountError::Unknown { container: spec.name.clone(), volume: volume.clone() })?;
        if !present.is_device {
            return Err(MountError::NoDevice(volume));
        }
        Ok(Device {
            container_path: wanted.device_path.clone(),
            host_path: present.path.display().to_string(),
            permissions: if present.read_only { "r" } else { "mrw" }.to_owned(),
        })
    };
    spec.volume_devices.iter().flatten().map(one).collect()
}

/// Which mount of which container.
struct Place<'a> {
    pod_dir: &'a Path,
    spec: &'a ContainerSpec,
    index: usize,
}

impl Place<'_> {
    fn dir(&self, kind: &str, volume: &str) -> PathBuf {
        self.pod_dir.join(kind).join(volume).join(&self.spec.name).join(self.index.to_string())
    }
}

fn one_mount(
    place: &Place<'_>,
    wanted: &VolumeMount,
    prepared: &Prepared,
    environment: &[(String, String)],
) -> Result<Mount, MountError> {
    let (container, volume) = (place.spec.name.clone(), wanted.name.clone());
    let Some(present) = prepared.get(&volume) else {
        return Err(MountError::Unknown { container, volume });
    };
    if present.is_device {
        return Err(MountError::Device(volume));
    }
    let mut host_path = present.path.clone();
    let sub_path = sub_path(wanted, environment)?;
    if !sub_path.is_empty() {
        sub_path::check(&sub_path).map_err(MountError::Path)?;
        let target = place.dir("volume-subpaths", &volume);
        sub_path::bind(&host_path, &sub_path, &target).map_err(|source| MountError::SubPath {
            container,
            volume: volume.clone(),
            source,
        })?;
        host_path = target;
    }
    if is_recursively_read_only(wanted)? {
        let target = place.dir("volume-read-only", &volume);
        bind_read_only(&host_path, &target)
            .map_err(|source| MountError::ReadOnly { volume: volume.clone(), source })?;
        host_path = target;
    }
    Ok(Mount {
        container_path: wanted.mount_path.clone(),
        host_path: host_path.display().to_string(),
        readonly: wanted.read_only == Some(true) || present.read_only,
        propagation: match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => MountPropagation::PropagationHostToContainer.into(),
            Some("Bidirectional") => MountPropagation::PropagationBidirectional.into(),
            _ => MountPropagation::PropagationPrivate.into(),
        },
    })
}

fn sub_path(wanted: &VolumeMount, environment: &[(String, String)]) -> Result<String, MissingValue> {
    match wanted.sub_path_expr.as_deref().filter(|expression| !expression.is_empty()) {
        Some(expression) => expand_known(expression, environment),
        None => Ok(wanted.sub_path.clone().unwrap_or_default()),
    }
}

/// We make the mounts below read-only ourselves, so that every runtime can.
fn is_recursively_read_only(wanted: &VolumeMount) -> Result<bool, MountError> {
    let asked = matches!(wanted.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
    let refused = |why| MountError::RecursiveReadOnly { volume: wanted.name.clone(), why };
    if asked && wanted.read_only != Some(true) {
        return Err(refused("requested recursive read-only mode, but it is not read-only"));
    }
    if asked && !matches!(wanted.mount_propagation.as_deref(), None | Some("None")) {
        return Err(refused(
            "requested recursive read-only mode, but it is not compatible with its propagation",
        ));
    }
    Ok(asked)
}

fn bind_read_only(source: &Path, target: &Path) -> io::Result<()> {
    clear_target(target, source.is_dir())?;
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    for mounted in mounted_below(target) {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept(&mounted)?;
        mount(none, &mounted, none, flags, none)?;
    }
    Ok(())
}

/// Makes room for a mount: a folder is mounted on a folder, anything else on a file. What was mounted there goes.
pub(super) fn clear_target(target: &Path, folder: bool) -> io::Result<()> {
    while is_mounted(target) {
        umount2(target, MntFlags::MNT_DETACH)?;
    }
    match target.symlink_metadata() {
        Ok(present) if present.is_dir() == folder => return Ok(()),
        Ok(present) if present.is_dir() => std::fs::remove_dir(target)?,
        Ok(_) => std::fs::remove_file(target)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if folder {
        return make_dir(target, 0o750);
    }
    if let Some(parent) = target.parent() {
        make_dir(parent, 0o750)?;
    }
    std::fs::File::create(target).map(drop)
}

/// What a remount would take away if it did not say it again.
fn kept(mounted: &Path) -> io::Result<MsFlags> {
    let flags = statvfs(mounted)?.flags();
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    Ok(pairs.into_iter().filter(|(has, _)| flags.contains(*has)).map(|(_, keep)| keep).collect())
}

/// Unmounts and removes everything of a pod. False when something could not be removed yet.
pub(crate) fn clean_up(pod_dir: &Path) -> bool {
    for mounted in mounted_below(pod_dir) {
        match umount2(&mounted, MntFlags::MNT_DETACH) {
            // Hidden by another mount, or gone with it.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => {
                warn!(%error, path = %mounted.display(), "cannot unmount a volume");
                return false;
            }
        }
    }
    // What is mounted here may be somebody's only copy.
    if !mounted_below(pod_dir).is_empty() {
        return false;
    }
    match std::fs::remove_dir_all(pod_dir) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Makes a folder a mount that shares what is mounted below it, so that mounts can reach containers and come
/// out of them.
pub(crate) fn share(dir: &Path) -> io::Result<()> {
    make_dir(dir, 0o755)?;
    let none = None::<&str>;
    if !is_mounted(dir) {
        mount(Some(dir), dir, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    }
    Ok(mount(none, dir, none, MsFlags::MS_SHARED, none)?)
}

/// Mount points below a folder, deepest and newest first; the folder itself is one of them.
pub(super) fn mounted_below(dir: &Path) -> Vec<PathBuf> {
    // The kernel's table knows no links.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let paths = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    for path in paths.filter(|path| path.starts_with(&dir)) {
        *found.entry(path).or_default() += 1;
    }
    found.into_iter().rev().flat_map(|(path, times)| std::iter::repeat_n(path, times)).collect()
}

/// The kernel writes a space as \040.
fn unescaped(path: &str) -> PathBuf {
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(plain.iter().fold(path.to_owned(), |path, (code, plain)| path.replace(code, plain)))
}

pub(super) fn is_mounted(dir: &Path) -> bool {
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    mounted_below(dir).contains(&real)
}

pub(super) fn tmpfs(dir: &Path, size_bytes: Option<i128>) -> io::Result<()> {
    if is_mounted(dir) {
        return Ok(());
    }
    let options = size_bytes.map(|bytes| format!("size={bytes}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), dir, Some("tmpfs"), flags, options.as_deref()).map_err(io::Error::from)
}
