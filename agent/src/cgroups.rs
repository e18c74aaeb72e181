//! The cgroups above a pod's containers: one for the pod, one per quality-of-service class.
//!
//! containerd makes the containers' own cgroups below them, but neither limits nor removes these. Version 1
//! has one tree per controller, version 2 a single one; what to write is pure, writing it is a few lines.

mod container;
mod limits;

use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::cri::LinuxContainerResources;
use tracing::debug;

pub(crate) use container::{ContainerCgroup, DeviceAccess, hierarchy_of, is_one_tree, join};
use limits::{Limits, Version};
pub(crate) use limits::{
    QosClass, container_resources, pod_limits, qos_class, thousandths as resource_amount,
};

const MOUNT: &str = "/sys/fs/cgroup";

/// The cgroups of one agent's pods.
#[derive(Clone, Debug)]
pub(crate) struct Cgroups {
    /// Where this agent's pods live below every hierarchy, without slashes at the ends.
    root: String,
    hierarchies: Vec<PathBuf>,
    version: Version,
}

/// What of a container's limits is not as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unlike {
    pub(crate) cpu: bool,
    pub(crate) memory: bool,
}

impl Cgroups {
    /// Looks at what this machine has.
    pub(crate) fn detect(root: &str) -> Self {
        Self::at(Path::new(MOUNT), root)
    }

    fn at(mount: &Path, root: &str) -> Self {
        let root = root.trim_matches('/').to_owned();
        if mount.join("cgroup.controllers").exists() {
            return Self { root, hierarchies: vec![mount.to_owned()], version: Version::V2 };
        }
        let mut hierarchies: Vec<PathBuf> = std::fs::read_dir(mount)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            // cpu,cpuacct are often one mount with two links to it.
            .filter(|path| path.is_dir() && !path.is_symlink())
            .collect();
        hierarchies.sort();
        Self { root, hierarchies, version: Version::V1 }
    }

    /// What the sandbox's `cgroup_parent` is.
    pub(crate) fn pod_path(&self, uid: &str, class: QosClass) -> String {
        format!("/{}/{}", self.root, pod_below(uid, class))
    }

    /// Makes the pod's cgroup and sets its limits.
    ///
    /// # Errors
    /// When a folder cannot be made or a limit is refused.
    pub(crate) fn make(&self, pod: &Pod, uid: &str) -> io::Result<()> {
        let class = qos_class(pod);
        let below = pod_below(uid, class);
        let limits = pod_limits(pod);
        for hierarchy in &self.hierarchies {
            let dir = hierarchy.join(&self.root).join(&below);
            self.make_dirs(hierarchy, &below)?;
            for (file, value) in limits.files(self.version) {
                let path = dir.join(file);
                if path.exists() {
                    std::fs::write(path, value)?;
                }
            }
        }
        if class == QosClass::BestEffort {
            self.write_class("kubepods/besteffort", &Limits::smallest())?;
        }
        Ok(())
    }

    /// Raises those limits of the pod's cgroup that are below the pod's own, and lowers none.
    ///
    /// # Errors
    /// When a limit is refused.
    pub(crate) fn raise(&self, pod: &Pod, uid: &str) -> io::Result<()> {
        let below = pod_below(uid, qos_class(pod));
        for hierarchy in &self.hierarchies {
            for (file, value) in pod_limits(pod).files(self.version) {
                let path = hierarchy.join(&self.root).join(&below).join(file);
                let Ok(current) = std::fs::read_to_string(&path) else { continue };
                if limits::in_file(file, &current) < limits::in_file(file, &value) {
                    std::fs::write(path, value)?;
                }
            }
        }
        Ok(())
    }

    /// How what a container has differs from what it should have. What cannot be read is as it should be.
    pub(crate) fn unlike(
        &self,
        uid: &str,
        class: QosClass,
        id: &str,
        wanted: &LinuxContainerResources,
    ) -> Unlike {
        let mut unlike = Unlike::default();
        for (file, value) in Limits::of(wanted).files(self.version) {
            let below = Path::new(&self.root).join(pod_below(uid, class)).join(id).join(file);
            let mut found = self
                .hierarchies
                .iter()
                .filter_map(|hierarchy| std::fs::read_to_string(hierarchy.join(&below)).ok());
            let differs =
                found.next().is_some_and(|now| limits::in_file(file, &now) != limits::in_file(file, &value));
            if file.starts_with("memory") {
                unlike.memory |= differs;
            } else {
                unlike.cpu |= differs;
            }
        }
        unlike
    }

    /// Removes the pod's cgroup, whatever its class was. Only empty ones go; false when one is left.
    pub(crate) fn remove(&self, uid: &str) -> bool {
        let mut gone = true;
        for class in QosClass::ALL {
            for hierarchy in &self.hierarchies {
                gone &= remove_tree(&hierarchy.join(&self.root).join(pod_below(uid, class)));
            }
        }
        gone
    }

    /// Removes everything of this agent, killing what is still inside. False when something is left.
    pub(crate) fn purge(&self) -> bool {
        let mut gone = true;
        for hierarchy in &self.hierarchies {
            let root = hierarchy.join(&self.root);
            if self.root.is_empty() || !root.exists() {
                continue;
            }
            for pid in processes(&root) {
                let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            gone &= remove_tree(&root);
        }
        gone
    }

    fn make_dirs(&self, hierarchy: &Path, below: &str) -> io::Result<()> {
        let mut dir = hierarchy.to_owned();
        for part in self.root.split('/').chain(below.split('/')).filter(|part| !part.is_empty()) {
            if self.version == Version::V2 {
                delegate(&dir);
            }
            let parent = dir.clone();
            dir.push(part);
            if !dir.exists() {
                std::fs::create_dir(&dir)?;
                if hierarchy.ends_with("cpuset") {
                    inherit_cpuset(&parent, &dir)?;
                }
            }
        }
        Ok(())
    }

    fn write_class(&self, below: &str, limits: &Limits) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            for (file, value) in limits.files(self.version) {
                let path = hierarchy.join(&self.root).join(below).join(file);
                if path.exists() {
                    std::fs::write(path, value)?;
                }
            }
        }
        Ok(())
    }
}

/// The kubelet's layout (cgroupfs driver).
pub(crate) fn pod_below(uid: &str, class: QosClass) -> String {
    match class {
        QosClass::Guaranteed => format!("kubepods/pod{uid}"),
        QosClass::Burstable => format!("kubepods/burstable/pod{uid}"),
        QosClass::BestEffort => format!("kubepods/besteffort/pod{uid}"),
    }
}

/// Version 2: children have only the controllers that the parent hands down.
fn delegate(dir: &Path) {
    for controller in ["cpu", "memory", "pids", "cpuset", "io"] {
        if let Err(error) = std::fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")) {
            debug!(%error, %controller, dir = %dir.display(), "a cgroup controller cannot be handed down");
        }
    }
}

/// Version 1: a cpuset without cpus and memory nodes takes no process.
fn inherit_cpuset(parent: &Path, dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let inherited = std::fs::read(parent.join(file))?;
        std::fs::write(dir.join(file), inherited)?;
    }
    Ok(())
}

/// Deepest first; the files inside are the kernel's and go with their folder.
fn remove_tree(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return true };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    match std::fs::remove_dir(dir) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn processes(dir: &Path) -> Vec<i32> {
    let mut found: Vec<i32> = std::fs::read_to_string(dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(processes(&entry.path()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_cgroup_says_its_class() {
        let cgroups = Cgroups::at(Path::new("/nonexistent"), "/navarch-a1/");
        assert_eq!(cgroups.pod_path("u", QosClass::Guaranteed), "/navarch-a1/kubepods/podu");
        assert_eq!(cgroups.pod_path("u", QosClass::BestEffort), "/navarch-a1/kubepods/besteffort/podu");
    }

    #[test]
    fn version_2_is_one_tree() {
        let mount = tempfile::tempdir().unwrap();
        std::fs::write(mount.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let cgroups = Cgroups::at(mount.path(), "/n");
        assert_eq!(cgroups.version, Version::V2);
        let pod = Pod::default();
        cgroups.make(&pod, "u").unwrap();
        assert!(mount.path().join("n/kubepods/besteffort/podu").is_dir());
        let handed_down = std::fs::read_to_string(mount.path().join("n/cgroup.subtree_control")).unwrap();
        assert_eq!(handed_down, "+io");
    }

    #[test]
    fn version_1_makes_the_pod_in_every_tree_and_removes_it() {
        let mount = tempfile::tempdir().unwrap();
        for controller in ["cpu", "memory", "cpuset"] {
            std::fs::create_dir(mount.path().join(controller)).unwrap();
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            std::fs::write(mount.path().join("cpuset").join(file), "0-1").unwrap();
        }
        let cgroups = Cgroups::at(mount.path(), "n");
        cgroups.make(&Pod::default(), "u").unwrap();
        let cpus = mount.path().join("cpuset/n/kubepods/besteffort/podu/cpuset.cpus");
        assert_eq!(std::fs::read_to_string(cpus).unwrap(), "0-1");
        assert!(mount.path().join("memory/n/kubepods/besteffort/podu").is_dir());
        std::fs::remove_dir_all(mount.path().join("cpuset/n")).unwrap();
        assert!(cgroups.remove("u"));
        assert!(!mount.path().join("memory/n/kubepods/besteffort/podu").exists());
    }
}
