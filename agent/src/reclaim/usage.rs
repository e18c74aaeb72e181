//! How much memory and disk each pod uses.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};

use crate::config::Paths;
use crate::runtime::{ContainerUsage, PodRuntime};

/// What is kept of disks is counted in these, whatever a file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// What one pod uses, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodUsage {
    /// By name.
    pub(super) containers: BTreeMap<String, Used>,
    /// Those of its emptyDirs, by name.
    pub(super) volumes: BTreeMap<String, u64>,
    /// All that counts as ephemeral storage.
    pub(super) storage: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) memory: u64,
    /// Its writable layer and its logs.
    pub(super) storage: u64,
}

impl PodUsage {
    pub(super) fn memory(&self) -> u64 {
        self.containers.values().map(|used| used.memory).sum()
    }
}

/// The folders of a pod to measure.
pub(super) struct Folders {
    logs: PathBuf,
    volumes: PathBuf,
}

impl Folders {
    pub(super) fn of(paths: &Paths, pod: &Pod) -> Self {
        let part = |value: &Option<String>| value.clone().unwrap_or_default();
        let uid = part(&pod.metadata.uid);
        let logs = paths.pod_logs_dir(&part(&pod.metadata.namespace), &part(&pod.metadata.name), &uid);
        Self { logs, volumes: paths.pod_dir(&uid).join("volumes/kubernetes.io~empty-dir") }
    }
}

pub(super) fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&str, &EmptyDirVolumeSource)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some((volume.name.as_str(), volume.empty_dir.as_ref()?)))
}

/// Reads folders, so it blocks; `stats` are what the runtime says, by container id.
pub(super) fn measure(
    pod: &Pod,
    runtime: Option<&PodRuntime>,
    stats: &BTreeMap<String, ContainerUsage>,
    folders: &Folders,
) -> PodUsage {
    let mut usage = PodUsage::default();
    for container in runtime.iter().flat_map(|runtime| &runtime.containers) {
        let of_run = stats.get(&container.id).copied().unwrap_or_default();
        let used = usage.containers.entry(container.name.clone()).or_default();
        used.memory += of_run.memory_bytes;
        used.storage += of_run.layer_bytes;
    }
    for (name, used) in &mut usage.containers {
        used.storage += bytes_below(&folders.logs.join(name));
    }
    for (name, source) in empty_dirs(pod) {
        let bytes = bytes_below(&folders.volumes.join(name));
        if source.medium.as_deref().unwrap_or_default().is_empty() {
            usage.storage += bytes;
        }
        usage.volumes.insert(name.to_owned(), bytes);
    }
    usage.storage += usage.containers.values().map(|used| used.storage).sum::<u64>();
    usage
}

/// Bytes on disk of a folder and all that is in it, on its own file system. What vanishes meanwhile is not there.
pub(crate) fn bytes_below(dir: &Path) -> u64 {
    let Ok(root) = std::fs::symlink_metadata(dir) else { return 0 };
    let mut bytes = root.blocks() * BLOCK_BYTES;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.dev() != root.dev() {
                continue;
            }
            bytes += metadata.blocks() * BLOCK_BYTES;
            if metadata.is_dir() {
                left.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_as_large_as_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let empty = bytes_below(dir.path());
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), vec![7; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("away")).unwrap();
        let full = bytes_below(dir.path());
        assert!(full >= empty + (1 << 20) && full < empty + (2 << 20), "{empty} {full}");
        assert_eq!(bytes_below(Path::new("/no/such/folder")), 0);
    }
}
