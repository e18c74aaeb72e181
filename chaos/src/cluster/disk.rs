//! What can be done to a member's disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::volume::Volume;
use super::{Cluster, Disk, System};

/// Kinds of files of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// What was agreed on, in order.
    Log,
    /// What came of it.
    Tables,
}

impl Cluster {
    /// Whether the members' disks are file systems of their own.
    pub fn has_volumes(&self) -> bool {
        self.options.disk != Disk::Folder
    }

    /// Cuts the power of these disks at once, kills who used them, and gives the power back; says whether it was a power
    /// loss: what was synced is there, what was not is gone.
    ///
    /// # Errors
    /// When a disk is a folder, or cannot be used again.
    pub async fn lose_power(&mut self, names: &[String]) -> Result<bool> {
        // A sync that is under way when the power goes may say that it worked; nobody may be told.
        for name in names {
            if self.is_running(name)? {
                self.member_mut(name)?.process.hush()?;
            }
        }
        for name in names {
            self.volume(name)?.cut_power()?;
        }
        for name in names {
            // It may have noticed, and ended by itself.
            if self.is_running(name)? {
                self.kill(name).await?;
            }
        }
        let mut was_lost = true;
        for name in names {
            let seen = self.volume(name)?.restore_power().await?;
            ensure!(seen.kept_synced, "{name} has lost what was synced: this is no disk to test with");
            was_lost &= seen.lost_unsynced;
        }
        Ok(was_lost)
    }

    /// Leaves no free byte; says how many there were.
    ///
    /// # Errors
    /// When the disk is a folder.
    pub fn fill_disk(&mut self, name: &str) -> Result<u64> {
        self.volume(name)?.fill()
    }

    /// Gives back what `fill_disk` took; says how many bytes are free.
    ///
    /// # Errors
    /// When the disk is a folder.
    pub fn empty_disk(&mut self, name: &str) -> Result<u64> {
        let volume = self.volume(name)?;
        volume.empty()?;
        volume.free_bytes()
    }

    /// Has the disk refuse every write from now on; says whether it does.
    ///
    /// # Errors
    /// When it is no ext4.
    pub fn turn_read_only(&mut self, name: &str) -> Result<bool> {
        let volume = self.volume(name)?;
        volume.turn_read_only()?;
        Ok(!volume.is_writable())
    }

    /// Checks, mends and mounts the disk of a member that does not run.
    ///
    /// # Errors
    /// When the disk is a folder, or somebody uses it.
    pub async fn repair_disk(&mut self, name: &str) -> Result<()> {
        self.volume(name)?.repair().await
    }

    /// Whoever writes to the disk waits until `thaw_disk`, or this long; says whether it stands still.
    ///
    /// # Errors
    /// When the disk is a folder.
    pub async fn freeze_disk(&mut self, name: &str, longest: Duration) -> Result<bool> {
        let volume = self.volume(name)?;
        volume.freeze(longest).await?;
        volume.is_frozen().await
    }

    /// # Errors
    /// When the disk is a folder.
    pub async fn thaw_disk(&mut self, name: &str) -> Result<()> {
        self.volume(name)?.thaw().await
    }

    /// Forgets everything that the member has kept. It must not run.
    ///
    /// # Errors
    /// When it runs, or its files cannot be removed.
    pub fn wipe(&mut self, name: &str) -> Result<()> {
        ensure!(!self.is_running(name)?, "{name} still runs");
        let data = self.member(name)?.data_dir();
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
        }
        Ok(())
    }

    /// The member's files of one kind, in order.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn files(&self, name: &str, part: Part) -> Result<Vec<PathBuf>> {
        let is_one = |path: &str| match (self.options.system, part) {
            (System::Navarch, Part::Log) => path.contains("/log/segment-"),
            (System::Navarch, Part::Tables) => path.ends_with(".sst"),
            (System::Etcd, Part::Log) => path.ends_with(".wal"),
            (System::Etcd, Part::Tables) => path.ends_with("/snap/db"),
        };
        let (mut found, mut folders) = (Vec::new(), vec![self.member(name)?.data_dir()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.extend((!is_set_aside(&path)).then_some(path));
                } else if is_one(&path.to_string_lossy()) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn volume(&mut self, name: &str) -> Result<&mut Volume> {
        let volume = self.member_mut(name)?.volume.as_mut();
        volume.with_context(|| format!("the disk of {name} is a folder"))
    }
}

/// Whether a server has put it away, and reads it no more.
fn is_set_aside(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("set-aside-") || name.ends_with("-damaged")
}
