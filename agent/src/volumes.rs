//! The volumes of a pod as folders on the node, and the mounts that put them into containers.
//!
//! Preparing is idempotent and also how a changed ConfigMap reaches a running pod. What a volume type is not
//! listed here is refused by name: no pod starts with a volume missing.

mod content;
mod publish;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proto::cri::{Mount, MountPropagation};
use thiserror::Error;
use tracing::warn;

use crate::cgroups::resource_amount;
use crate::pods::Sources;

#[derive(Debug, Error)]
pub(crate) enum VolumeError {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Content { volume: String, source: content::ContentError },
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Files { volume: String, source: io::Error },
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : hostPath type check failed: {} is not {wanted}", path.display())]
    HostPathType { volume: String, path: PathBuf, wanted: String },
    #[error("volume \"{volume}\" has a type that this node cannot mount")]
    Unsupported { volume: String },
    #[error("container {container} mounts the volume \"{volume}\", which the pod does not have")]
    Unknown { container: String, volume: String },
    #[error("container {container} mounts a subPath that leaves its volume: {sub_path}")]
    SubPath { container: String, sub_path: String },
}

/// Where each volume of a pod is, by its name.
pub(crate) type Prepared = BTreeMap<String, PathBuf>;

/// Makes the volumes of a pod below `pod_dir`, or brings them up to date.
pub(crate) fn prepare(pod_dir: &Path, sources: &Sources<'_>) -> Result<Prepared, VolumeError> {
    let spec = sources.pod.spec.as_ref();
    let mut prepared = Prepared::new();
    for volume in spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        prepared.insert(volume.name.clone(), prepare_one(pod_dir, volume, sources)?);
    }
    Ok(prepared)
}

/// The mounts that a container asks for.
pub(crate) fn mounts(spec: &ContainerSpec, prepared: &Prepared) -> Result<Vec<Mount>, VolumeError> {
    let mut mounts = Vec::new();
    for wanted in spec.volume_mounts.iter().flatten() {
        let Some(root) = prepared.get(&wanted.name) else {
            return Err(VolumeError::Unknown { container: spec.name.clone(), volume: wanted.name.clone() });
        };
        let host_path = match wanted.sub_path.as_deref().filter(|path| !path.is_empty()) {
            None => root.clone(),
            Some(sub_path) => below(root, sub_path, spec, &wanted.name)?,
        };
        mounts.push(Mount {
            container_path: wanted.mount_path.clone(),
            host_path: host_path.display().to_string(),
            readonly: wanted.read_only == Some(true),
            propagation: match wanted.mount_propagation.as_deref() {
                Some("HostToContainer") => MountPropagation::PropagationHostToContainer.into(),
                Some("Bidirectional") => MountPropagation::PropagationBidirectional.into(),
                _ => MountPropagation::PropagationPrivate.into(),
            },
        });
    }
    Ok(mounts)
}

/// Unmounts and removes everything of a pod. False when something could not be removed yet.
pub(crate) fn clean_up(pod_dir: &Path) -> bool {
    for mounted in mounted_below(pod_dir) {
        if let Err(error) = umount2(&mounted, MntFlags::MNT_DETACH) {
            warn!(%error, path = %mounted.display(), "cannot unmount a volume");
            return false;
        }
    }
    match std::fs::remove_dir_all(pod_dir) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Mount points below a folder, deepest first.
pub(crate) fn mounted_below(dir: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        // The kernel writes a space as \040.
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| path.starts_with(dir))
        .collect();
    found.sort();
    found.reverse();
    found
}

fn prepare_one(pod_dir: &Path, volume: &Volume, sources: &Sources<'_>) -> Result<PathBuf, VolumeError> {
    let name = &volume.name;
    let at = |kind: &str| pod_dir.join("volumes").join(kind).join(name);
    let failed = |source: io::Error| VolumeError::Files { volume: name.clone(), source };
    let group = fs_group(sources.pod);
    if let Some(empty) = &volume.empty_dir {
        let dir = at("kubernetes.io~empty-dir");
        return empty_dir(&dir, empty, group).map(|()| dir).map_err(failed);
    }
    if let Some(host) = &volume.host_path {
        return host_path(name, host);
    }
    let (kind, content) = if let Some(source) = &volume.config_map {
        ("kubernetes.io~configmap", content::config_map(source, sources))
    } else if let Some(source) = &volume.secret {
        ("kubernetes.io~secret", content::secret(source, sources))
    } else if let Some(source) = &volume.downward_api {
        ("kubernetes.io~downward-api", content::downward(source, sources))
    } else if let Some(source) = &volume.projected {
        ("kubernetes.io~projected", content::projected(source, sources))
    } else {
        return Err(VolumeError::Unsupported { volume: name.clone() });
    };
    let content = content.map_err(|source| VolumeError::Content { volume: name.clone(), source })?;
    let dir = at(kind);
    make_dir(&dir, 0o755).map_err(failed)?;
    if kind != "kubernetes.io~configmap" {
        // Secrets never touch the disk.
        mount_tmpfs(&dir, None).map_err(failed)?;
    }
    publish::publish(&dir, &content, group).map_err(failed)?;
    Ok(dir)
}

fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> io::Result<()> {
    let in_memory = source.medium.as_deref() == Some("Memory");
    if dir.exists() && (!in_memory || is_mounted(dir)) {
        return Ok(());
    }
    make_dir(dir, 0o777)?;
    if in_memory {
        let size = source.size_limit.as_ref().and_then(|limit| resource_amount(&limit.0)).map(|t| t / 1000);
        mount_tmpfs(dir, size)?;
    }
    // mkdir obeys the umask.
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))?;
    std::os::unix::fs::chown(dir, None, group)
}

fn host_path(volume: &str, source: &HostPathVolumeSource) -> Result<PathBuf, VolumeError> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let failed = |error: io::Error| VolumeError::Files { volume: volume.to_owned(), source: error };
    if !path.exists() {
        match kind {
            "DirectoryOrCreate" | "" => make_dir(&path, 0o755).map_err(failed)?,
            "FileOrCreate" => drop(std::fs::File::create(&path).map_err(failed)?),
            _ => {}
        }
    }
    let fits = match kind {
        "" => path.exists(),
        "Directory" | "DirectoryOrCreate" => path.is_dir(),
        "File" | "FileOrCreate" => path.is_file(),
        _ => path.exists() && !path.is_dir() && !path.is_file(),
    };
    if fits {
        Ok(path)
    } else {
        Err(VolumeError::HostPathType { volume: volume.to_owned(), path, wanted: kind.to_owned() })
    }
}

/// A path inside a volume; a missing folder is made, as the kubelet does.
fn below(root: &Path, sub_path: &str, spec: &ContainerSpec, volume: &str) -> Result<PathBuf, VolumeError> {
    let leaves = Path::new(sub_path).components().any(|part| !matches!(part, Component::Normal(_)));
    let path = root.join(sub_path);
    let outside = || VolumeError::SubPath { container: spec.name.clone(), sub_path: sub_path.to_owned() };
    if leaves {
        return Err(outside());
    }
    if !path.exists() {
        make_dir(&path, 0o755).map_err(|source| VolumeError::Files { volume: volume.to_owned(), source })?;
    }
    // A link planted by the pod must not lead out of its volume.
    let real = |path: &Path| std::fs::canonicalize(path);
    match (real(root), real(&path)) {
        (Ok(root), Ok(path)) if path.starts_with(&root) => Ok(path),
        _ => Err(outside()),
    }
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir)
}

fn is_mounted(dir: &Path) -> bool {
    mounted_below(dir).iter().any(|mounted| mounted == dir)
}

fn mount_tmpfs(dir: &Path, size_bytes: Option<i128>) -> io::Result<()> {
    if is_mounted(dir) {
        return Ok(());
    }
    let options = size_bytes.map(|bytes| format!("size={bytes}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), dir, Some("tmpfs"), flags, options.as_deref()).map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
