//! A container's own cgroup, below its pod's: made, limited, emptied, measured and removed by the agent.
//!
//! Version 1 has one folder per hierarchy and devices are allowed by rules; version 2 has one folder, and its
//! devices are not filtered (a container makes nodes only with CAP_MKNOD).

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::cri::LinuxContainerResources;

use super::limits::{Limits, QosClass, Version};
use super::{Cgroups, MOUNT, delegate, processes, remove_tree};
use crate::container::spec::DeviceNode;

const KILL_PAUSE: Duration = Duration::from_millis(10);
const KILL_ROUNDS_MAX: u32 = 500;

/// What every container may use, as containerd has it: making nodes of any kind, and using null, zero, full,
/// random, urandom, tty, ptmx, terminals and tun.
const DEVICE_RULES: &[&str] = &[
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

/// One container's cgroup. It need not exist.
#[derive(Clone, Debug)]
pub(crate) struct ContainerCgroup {
    folders: Vec<PathBuf>,
    version: Version,
}

/// Which devices of the node a container may use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DeviceAccess<'a> {
    All,
    /// What everybody may use, and these.
    Only(&'a [DeviceNode]),
}

/// What a container uses, as the kubelet counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// What cannot be taken away by forgetting files that were not used lately.
    pub(crate) working_set_bytes: u64,
    /// Since the cgroup was made.
    pub(crate) cpu_nanoseconds: u64,
}

impl Cgroups {
    /// The cgroup of a container in its pod's, which `pod_path` told.
    pub(crate) fn container(&self, pod_path: &str, id: &str) -> ContainerCgroup {
        let below = Path::new(pod_path.trim_matches('/')).join(id);
        let folders = self.hierarchies.iter().map(|hierarchy| hierarchy.join(&below)).collect();
        ContainerCgroup { folders, version: self.version }
    }

    /// Kills what is inside the container's cgroup, whatever class its pod is of.
    pub(crate) async fn kill_container(&self, uid: &str, id: &str) {
        for class in QosClass::ALL {
            let _told_by_who_removes_it = self.container(&self.pod_path(uid, class), id).kill().await;
        }
    }
}

impl ContainerCgroup {
    /// The one that a container's specification names.
    pub(crate) fn of(folders: &[PathBuf]) -> Self {
        let version = if is_one_tree() { Version::V2 } else { Version::V1 };
        Self { folders: folders.to_vec(), version }
    }

    /// One per hierarchy: what a container's specification names.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Makes it and sets its limits, again if it is there already.
    ///
    /// # Errors
    /// When a folder cannot be made or a limit is refused.
    pub(crate) fn make(
        &self,
        resources: &LinuxContainerResources,
        devices: DeviceAccess<'_>,
    ) -> io::Result<()> {
        for folder in &self.folders {
            self.make_folder(folder)?;
        }
        if let DeviceAccess::Only(devices) = devices {
            self.restrict_devices(devices)?;
        }
        self.update(resources)
    }

    /// Sets limits, of a running container too. What is not limited is left as it is.
    ///
    /// # Errors
    /// When a limit is refused: less memory than is used, for one.
    pub(crate) fn update(&self, resources: &LinuxContainerResources) -> io::Result<()> {
        let mut files = Limits::of(resources).files(self.version);
        files.push(("cpuset.cpus", resources.cpuset_cpus.clone()));
        files.push(("cpuset.mems", resources.cpuset_mems.clone()));
        for (file, value) in files.into_iter().filter(|(_, value)| !value.is_empty()) {
            for path in self.files(file) {
                std::fs::write(path, &value)?;
            }
        }
        Ok(())
    }

    /// Everything inside, also what the container has put into cgroups of its own.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut found: Vec<i32> = self.folders.iter().flat_map(|folder| processes(folder)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills everything inside. False when something is left nevertheless.
    pub(crate) async fn kill(&self) -> bool {
        for _ in 0..KILL_ROUNDS_MAX {
            for path in self.files("cgroup.kill") {
                let _then_one_by_one = std::fs::write(path, "1");
            }
            let left = self.processes();
            if left.is_empty() {
                return true;
            }
            for pid in left {
                let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            tokio::time::sleep(KILL_PAUSE).await;
        }
        false
    }

    /// Removes it, with what is below. False when it is not empty.
    pub(crate) fn remove(&self) -> bool {
        self.folders.iter().filter(|folder| !remove_tree(folder)).count() == 0
    }

    /// How often the kernel killed something inside for memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        self.numbered(file, "oom_kill").unwrap_or(0)
    }

    /// None when there is no such cgroup.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let (used, idle, cpu_nanoseconds) = match self.version {
            Version::V1 => (
                self.number("memory.usage_in_bytes")?,
                self.numbered("memory.stat", "total_inactive_file"),
                self.number("cpuacct.usage")?,
            ),
            Version::V2 => (
                self.number("memory.current")?,
                self.numbered("memory.stat", "inactive_file"),
                self.numbered("cpu.stat", "usage_usec")? * 1000,
            ),
        };
        Some(Usage { working_set_bytes: used.saturating_sub(idle.unwrap_or(0)), cpu_nanoseconds })
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(pod) = folder.parent() else { return Ok(()) };
        if self.version == Version::V2 {
            delegate(pod);
        }
        std::fs::create_dir_all(folder)?;
        if folder.join("cpuset.cpus").exists() && self.version == Version::V1 {
            fill_cpuset(folder)?;
        }
        Ok(())
    }

    fn restrict_devices(&self, devices: &[DeviceNode]) -> io::Result<()> {
        for deny in self.files("devices.deny") {
            let allow = deny.with_file_name("devices.allow");
            std::fs::write(deny, "a")?;
            for rule in DEVICE_RULES {
                std::fs::write(&allow, rule)?;
            }
            for device in devices {
                std::fs::write(&allow, device_rule(device)?)?;
            }
        }
        Ok(())
    }

    /// The file in those folders that have it.
    fn files<'a>(&'a self, file: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        self.folders.iter().map(move |folder| folder.join(file)).filter(|path| path.exists())
    }

    fn number(&self, file: &str) -> Option<u64> {
        let path = self.files(file).next()?;
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// The number on the line that begins with this word.
    fn numbered(&self, file: &str, word: &str) -> Option<u64> {
        let text = std::fs::read_to_string(self.files(file).next()?).ok()?;
        text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// Puts this process into a cgroup.
///
/// # Errors
/// When there is none, or it takes no more.
pub(crate) fn join(folder: &Path) -> io::Result<()> {
    std::fs::write(folder.join("cgroup.procs"), "0")
}

/// Whether this machine has version 2 alone.
pub(crate) fn is_one_tree() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// The name of the hierarchy that a cgroup's folder is in: one of version 1.
pub(crate) fn hierarchy_of(folder: &Path) -> Option<String> {
    let first = folder.strip_prefix(MOUNT).ok()?.components().next()?;
    Some(first.as_os_str().to_string_lossy().into_owned())
}

/// Version 1: whatever was made without processors or memory nodes gets those above it, from the top down.
fn fill_cpuset(folder: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut empty = Vec::new();
        for at in folder.ancestors() {
            let text = std::fs::read_to_string(at.join(file))?;
            if !text.trim().is_empty() {
                for below in empty.into_iter().rev() {
                    let path: &Path = below;
                    std::fs::write(path.join(file), &text)?;
                }
                break;
            }
            empty.push(at);
        }
    }
    Ok(())
}

fn device_rule(device: &DeviceNode) -> io::Result<String> {
    let found = std::fs::metadata(&device.source)?;
    let kind = if found.file_type().is_block_device() { 'b' } else { 'c' };
    let (major, minor) = (nix::sys::stat::major(found.rdev()), nix::sys::stat::minor(found.rdev()));
    Ok(format!("{kind} {major}:{minor} {}", device.permissions))
}

#[cfg(test)]
mod tests;
