//! Room for a copy that arrives from another node, and what of it is here already.
//!
//! Table files never change once they are written, so a file of the same name, size and checksum is the same file: one
//! that an earlier copy brought, or one that a transfer brought before it broke. It is linked and not sent again. A name
//! and a CRC-32 that meet by chance are found out when the tables are opened: the manifest knows each file's own id.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::files;
use crate::raft::peers::{Intake, SnapshotFile};

/// The directories of transfers.
#[derive(Default)]
pub(super) struct Intakes {
    pub(super) arriving: Option<PathBuf>,
    /// What transfers that broke have brought.
    pub(super) broken: Vec<PathBuf>,
}

impl Intakes {
    pub(super) fn remove_broken(&mut self) -> io::Result<()> {
        self.broken.drain(..).try_for_each(fs::remove_dir_all)
    }
}

/// Makes `dir` and links into it what `sources` have of `wanted`.
pub(super) fn begin(dir: PathBuf, wanted: &[SnapshotFile], sources: &[PathBuf]) -> io::Result<Intake> {
    fs::create_dir(&dir)?;
    let mut missing = Vec::new();
    for file in wanted {
        if !reuse(&dir, file, sources)? {
            missing.push(file.name.clone());
        }
    }
    files::sync_dir(&dir)?;
    let (here, sent) = (wanted.len() - missing.len(), missing.len());
    tracing::info!(here, sent, "another node's snapshot arrives");
    Ok(Intake { dir, missing })
}

fn reuse(dir: &Path, file: &SnapshotFile, sources: &[PathBuf]) -> io::Result<bool> {
    // RocksDB goes on writing to its manifest, so that one must be a copy of its own.
    if !file.name.ends_with(".sst") {
        return Ok(false);
    }
    for source in sources {
        let found = source.join(&file.name);
        let Ok(metadata) = fs::symlink_metadata(&found) else { continue };
        if !metadata.is_file() || metadata.len() != file.size {
            continue;
        }
        // One that cannot be read is sent again.
        let Ok((_, crc32)) = files::checksum(&found) else { continue };
        let here = dir.join(&file.name);
        if crc32 == file.crc32 && fs::hard_link(&found, &here).is_ok() {
            // A transfer may have broken between the last byte and its sync.
            File::open(&here)?.sync_all()?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the names of an offer can be files of one directory, each once.
pub(super) fn names_are_plain(wanted: &[SnapshotFile]) -> bool {
    let names: BTreeSet<&str> = wanted.iter().map(|file| &*file.name).collect();
    names.len() == wanted.len()
        && names.iter().all(|name| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']))
}
