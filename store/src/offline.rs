//! Work on files while no node runs on them: what is in a snapshot, and data directories made from one.
//!
//! A snapshot founds a new cluster. Keys, leases, users and revisions are as they were; members, alarms and the Raft
//! log of the old cluster are not taken along, and the new id keeps the two apart.

mod restore;

use std::fs;
use std::io;
use std::path::Path;

use base::Revision;
use thiserror::Error;

pub use restore::{Restore, Restored, restore};

use crate::archive::Incoming;

/// Why a snapshot was not read or not restored. Each says what to do.
#[derive(Debug, Error)]
pub enum OfflineError {
    #[error("cannot use the snapshot {path}")]
    Snapshot {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not empty; name a directory that does not exist yet")]
    NotEmpty { path: String },
    #[error("the member {name} is not in the list of initial members ({members})")]
    NotAMember { name: String, members: String },
    #[error("cannot write the new data directory {path}; it is of no use, remove it")]
    Directory {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a snapshot says of itself, after all of it was read and every sum was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotStatus {
    pub cluster_id: u64,
    /// The member that made it.
    pub member: String,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    pub revision: Revision,
    pub compacted: Revision,
    /// The state hash of the revision.
    pub hash: u32,
    pub size_bytes: u64,
    pub sha256: [u8; 32],
}

/// Reads a snapshot and checks every byte of it.
///
/// # Errors
/// When it is not a snapshot, or damaged.
pub fn snapshot_status(path: &Path) -> Result<SnapshotStatus, OfflineError> {
    let failed = |source| OfflineError::Snapshot { path: path.display().to_string(), source };
    let incoming = Incoming::open(path).map_err(failed)?;
    let size_bytes = fs::metadata(path).map_err(failed)?.len();
    let manifest = incoming.manifest.clone();
    let sha256 = incoming.unpack(|_, _| Ok(())).map_err(failed)?;
    Ok(SnapshotStatus {
        cluster_id: manifest.cluster_id,
        member: manifest.member,
        time_ms: manifest.time_ms,
        revision: Revision::new(manifest.revision),
        compacted: Revision::new(manifest.compacted),
        hash: manifest.hash,
        size_bytes,
        sha256,
    })
}
