//! How much memory a process may use: a control group of its own, of the kernel's first or second version.
//!
//! What a process uses is counted where it was first used, so a process belongs to its group from its start.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Cluster;

/// Where the controller is mounted when it has a hierarchy of its own, as in version 1.
const FIRST: &str = "/sys/fs/cgroup/memory";
/// The only hierarchy of version 2.
const SECOND: &str = "/sys/fs/cgroup";
/// How groups are named, before the harness's process and the member.
const PREFIX: &str = "navarch-chaos-";
/// The first version refuses a limit below what cannot be given back at once; then a little more is tried, so often.
const MORE_BYTES: u64 = 256 * 1024;
const TRIES: u64 = 32;

/// A process's group. Dropping it removes it, when its process is gone.
#[derive(Debug)]
pub(super) struct MemoryGroup {
    dir: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

/// What its limit has done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squeezed {
    /// How often it met the limit.
    pub met: u64,
    /// How often the kernel killed it for that.
    pub kills: u64,
}

/// Whether this machine limits the memory of a group of processes.
pub(crate) fn limits_memory() -> bool {
    version().is_some()
}

fn version() -> Option<Version> {
    if Path::new(FIRST).join("memory.limit_in_bytes").exists() {
        return Some(Version::First);
    }
    let controllers = fs::read_to_string(Path::new(SECOND).join("cgroup.subtree_control")).ok()?;
    controllers.split_whitespace().any(|name| name == "memory").then_some(Version::Second)
}

impl MemoryGroup {
    /// A group without a limit, and without those that a harness left behind that was killed.
    pub(super) fn create(member: &str) -> Result<Self> {
        let version = version().context("this machine has no control groups that limit memory")?;
        let root = Path::new(if version == Version::First { FIRST } else { SECOND });
        sweep(root);
        let dir = root.join(format!("{PREFIX}{}-{member}", std::process::id()));
        if !dir.exists() {
            fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(Self { dir, version })
    }

    pub(super) fn adopt(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Leaves its processes so many bytes, or a little more, beside those that they use and cannot give back. Says how
    /// much those are, and how much they may use now.
    fn limit(&self, left_bytes: u64) -> Result<(u64, u64)> {
        let (usage, file, limit) = match self.version {
            Version::First => ("memory.usage_in_bytes", "total_cache", "memory.limit_in_bytes"),
            Version::Second => ("memory.current", "file", "memory.max"),
        };
        let used = self.number(usage)?.saturating_sub(self.among("memory.stat", file)?);
        let mut most = used + left_bytes;
        for _ in 1..TRIES {
            if self.write(limit, &most.to_string()).is_ok() {
                return Ok((used, most));
            }
            most += MORE_BYTES;
        }
        self.write(limit, &most.to_string())?;
        Ok((used, most))
    }

    fn lift(&self) -> Result<()> {
        match self.version {
            Version::First => self.write("memory.limit_in_bytes", "-1"),
            Version::Second => self.write("memory.max", "max"),
        }
    }

    fn squeezed(&self) -> Result<Squeezed> {
        Ok(match self.version {
            Version::First => Squeezed {
                met: self.number("memory.failcnt")?,
                kills: self.among("memory.oom_control", "oom_kill")?,
            },
            Version::Second => Squeezed {
                met: self.among("memory.events", "max")?,
                kills: self.among("memory.events", "oom_kill")?,
            },
        })
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.dir.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn number(&self, file: &str) -> Result<u64> {
        let text = self.read(file)?;
        text.trim().parse().with_context(|| format!("{file} of {} is no number", self.dir.display()))
    }

    /// What stands after the name in a file with a name and a number in each line.
    fn among(&self, file: &str, name: &str) -> Result<u64> {
        match value(&self.read(file)?, name) {
            Some(number) => Ok(number),
            None => bail!("{file} of {} has no {name}", self.dir.display()),
        }
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Whose process outlives it is swept by the next harness.
        let _later = fs::remove_dir(&self.dir);
    }
}

fn value(text: &str, name: &str) -> Option<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// Removes the groups of harnesses that are gone.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = maker(&name);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // A process that is about to end keeps it until then.
            let _later = fs::remove_dir(entry.path());
        }
    }
}

/// Of a group's name.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

impl Cluster {
    /// The member may use hardly any more memory than this; says how much it uses, and may use.
    ///
    /// # Errors
    /// When its memory cannot be limited.
    pub fn limit_memory(&mut self, name: &str, left_bytes: u64) -> Result<(u64, u64)> {
        self.memory_of(name)?.limit(left_bytes)
    }

    /// It may use as much as there is.
    ///
    /// # Errors
    /// When its memory cannot be limited, and so was not.
    pub fn free_memory(&mut self, name: &str) -> Result<()> {
        self.memory_of(name)?.lift()
    }

    /// What the limits of its memory have done to it since it was made.
    ///
    /// # Errors
    /// When its memory cannot be limited.
    pub fn squeezed(&self, name: &str) -> Result<Squeezed> {
        self.memory_of(name)?.squeezed()
    }

    fn memory_of(&self, name: &str) -> Result<&MemoryGroup> {
        self.member(name)?.memory.as_ref().with_context(|| format!("the memory of {name} is not its own"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_files_are_read() {
        let first = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(value(first, "oom_kill"), Some(2));
        assert_eq!(value("low 0\nmax 7\noom_kill 1\n", "max"), Some(7));
        assert_eq!(value("low 0\n", "max"), None);
    }

    #[test]
    fn groups_tell_whose_they_are() {
        assert_eq!(maker("navarch-chaos-812-n1"), Some(812));
        assert_eq!(maker("navarch-pod1"), None);
        assert_eq!(maker("navarch-chaos-"), None);
    }
}
