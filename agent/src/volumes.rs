//! The volumes of a pod as folders on the node, and the mounts that put them into containers.
//!
//! Preparing is idempotent and also how a changed ConfigMap or a renewed token reaches a running pod. What
//! volume type is not listed here is refused by name: no pod starts with a volume missing.

mod claims;
mod content;
mod empty_dir;
mod host_path;
mod mounting;
mod nfs;
mod ownership;
mod publish;
mod sub_path;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, Volume};
use thiserror::Error;

use crate::pods::{Sources, lasting};
use claims::{ClaimError, Found};
pub(crate) use mounting::{clean_up, devices, mounts, share};
use ownership::Ownership;

const IMAGE: &str = "kubernetes.io~image";

/// A volume that is not there; the words are the kubelet's.
#[derive(Debug, Error)]
pub(crate) enum VolumeError {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    SetUp { volume: String, source: SetUpError },
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process volumes=[{volume}]: {source}"
    )]
    Claim { volume: String, source: ClaimError },
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process volumes=[{volume}]: failed to get Plugin from volumeSpec for volume \"{volume}\" err=no volume plugin matched"
    )]
    Unsupported { volume: String },
}

/// Why one volume cannot be made.
#[derive(Debug, Error)]
pub(crate) enum SetUpError {
    #[error("{0}")]
    Content(#[from] content::ContentError),
    #[error("{0}")]
    HostPath(#[from] host_path::HostPathError),
    #[error("{0}")]
    EmptyDir(#[from] empty_dir::EmptyDirError),
    #[error("{0}")]
    Nfs(#[from] nfs::NfsError),
    #[error("path {0:?} does not exist")]
    NoLocalPath(PathBuf),
    #[error("path {0:?} is not a block device")]
    NoBlockDevice(PathBuf),
    #[error("{0}")]
    Files(#[from] io::Error),
}

/// A volume that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreparedVolume {
    pub(crate) path: PathBuf,
    /// Whatever a container's mount says.
    pub(crate) read_only: bool,
    /// A block device, which containers open instead of mounting it.
    pub(crate) is_device: bool,
}

impl PreparedVolume {
    fn folder(path: PathBuf, read_only: bool) -> Self {
        Self { path, read_only, is_device: false }
    }
}

/// Each volume of a pod, by its name.
pub(crate) type Prepared = BTreeMap<String, PreparedVolume>;

/// Makes the volumes of a pod below `pod_dir`, or brings them up to date.
pub(crate) async fn prepare(pod_dir: &Path, sources: &Sources<'_>) -> Result<Prepared, VolumeError> {
    let spec = sources.pod.spec.as_ref();
    let mut prepared = Prepared::new();
    for volume in spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let found = claims::find(volume, sources)
            .map_err(|source| VolumeError::Claim { volume: volume.name.clone(), source })?;
        let Some(made) = set_up(pod_dir, volume, &found, sources).await else {
            return Err(VolumeError::Unsupported { volume: volume.name.clone() });
        };
        let made =
            made.map_err(|source| VolumeError::SetUp { volume: found.name(volume).to_owned(), source })?;
        prepared.insert(volume.name.clone(), made);
    }
    Ok(prepared)
}

/// `None`: nobody here knows this type.
async fn set_up(
    pod_dir: &Path,
    volume: &Volume,
    found: &Found<'_>,
    sources: &Sources<'_>,
) -> Option<Result<PreparedVolume, SetUpError>> {
    let at = |kind: &str| pod_dir.join("volumes").join(kind).join(found.name(volume));
    let made = match *found {
        Found::HostPath { source, read_only, .. } => host_path::prepare(source)
            .map(|path| PreparedVolume::folder(path, read_only))
            .map_err(SetUpError::from),
        Found::Local { source, read_only, is_device: true, .. } => device(Path::new(&source.path), read_only),
        Found::Local { source, read_only, .. } => {
            local(Path::new(&source.path), &at("kubernetes.io~local-volume"), sources.pod, read_only)
        }
        Found::Nfs { source, options, read_only, .. } => {
            let dir = at("kubernetes.io~nfs");
            let mounted = nfs::prepare(&dir, source, options, read_only).await;
            mounted.map(|()| PreparedVolume::folder(dir, read_only)).map_err(SetUpError::from)
        }
        Found::InPod => return in_pod(&at, volume, sources),
        Found::Unknown { .. } => return None,
    };
    Some(made)
}

/// Where a volume that is an image is mounted.
pub(crate) fn image_folder(pod_dir: &Path, volume: &str) -> PathBuf {
    pod_dir.join("volumes").join(IMAGE).join(volume)
}

/// What lives and dies with the pod.
fn in_pod(
    at: &dyn Fn(&str) -> PathBuf,
    volume: &Volume,
    sources: &Sources<'_>,
) -> Option<Result<PreparedVolume, SetUpError>> {
    if let Some(source) = &volume.empty_dir {
        let dir = at("kubernetes.io~empty-dir");
        let made = empty_dir::prepare(&dir, source, sources);
        return Some(made.map(|()| PreparedVolume::folder(dir, false)).map_err(SetUpError::from));
    }
    if volume.image.is_some() {
        // Mounted when the first container that wants it starts, after its image was pulled.
        return Some(Ok(PreparedVolume::folder(at(IMAGE), true)));
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
        return None;
    };
    let dir = at(kind);
    let in_memory = kind != "kubernetes.io~configmap";
    let made = content
        .map_err(SetUpError::from)
        .and_then(|content| files(&dir, in_memory, &content, sources.pod).map_err(SetUpError::from));
    Some(made.map(|()| PreparedVolume::folder(dir, true)))
}

fn files(dir: &Path, in_memory: bool, content: &content::Content, pod: &Pod) -> io::Result<()> {
    make_dir(dir, 0o755)?;
    if in_memory {
        // Secrets never touch the disk.
        mounting::tmpfs(dir, None)?;
    }
    publish::publish(dir, content, Ownership::of(pod).map(Ownership::for_reading).as_ref())
}

/// A folder or a disk of the node. `seen` remembers that it was given to the pod's group, which happens once.
fn local(path: &Path, seen: &Path, pod: &Pod, read_only: bool) -> Result<PreparedVolume, SetUpError> {
    if !path.exists() {
        return Err(SetUpError::NoLocalPath(path.to_owned()));
    }
    if !seen.exists() {
        if let Some(ownership) = Ownership::of(pod).filter(|_| !read_only) {
            ownership.take(path)?;
        }
        make_dir(seen, 0o755)?;
    }
    Ok(PreparedVolume::folder(path.to_owned(), read_only))
}

fn device(path: &Path, read_only: bool) -> Result<PreparedVolume, SetUpError> {
    match path.metadata() {
        Err(_) => Err(SetUpError::NoLocalPath(path.to_owned())),
        Ok(found) if !found.file_type().is_block_device() => Err(SetUpError::NoBlockDevice(path.to_owned())),
        Ok(_) => Ok(PreparedVolume { path: path.to_owned(), read_only, is_device: true }),
    }
}

/// The user as whom all of a pod's containers run, if they agree: then a file can be theirs alone.
pub(super) fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let of = |container: &ContainerSpec| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod)
    };
    let mut users = lasting(pod).map(of);
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir)
}

#[cfg(test)]
mod tests;
