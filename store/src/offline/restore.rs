//! Data directories of a new cluster, made from a snapshot.

use std::fs;
use std::path::{Path, PathBuf};

use base::{NodeId, Revision};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{OfflineError, snapshot_status};
use crate::archive::{Incoming, Unpacking};
use crate::disk::memory::MemoryTables;
use crate::disk::rocks_state::RocksState;
use crate::disk::{Arrived, StateDisk, read};
use crate::mvcc::refound::Raise;
use crate::mvcc::tables::{Changes, Table, TableError};
use crate::node::{InitialMember, founding_members};
use crate::raft::refound::refound;
use crate::seat::{self, MemberFile, Place};

/// How many rows are copied in one write.
const COPY_ROWS: usize = 1000;

/// What to restore, and for which member of which new cluster. Every member restores from the same file, with the
/// same values but its own name and directory.
#[derive(Clone, Debug)]
pub struct Restore {
    pub snapshot: PathBuf,
    /// Made by this; holds one member's data.
    pub dir: PathBuf,
    pub name: String,
    pub token: String,
    pub members: Vec<InitialMember>,
    pub raise: Raise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    pub cluster_id: u64,
    pub node_id: NodeId,
    pub revision: Revision,
    pub compacted: Revision,
}

/// Makes the data directory of one member of a new cluster.
///
/// # Errors
/// When the snapshot is damaged, the directory is in use, or the disk fails.
pub fn restore(restore: &Restore) -> Result<Restored, OfflineError> {
    let Some(place) = restore.members.iter().position(|member| member.name == restore.name) else {
        let members: Vec<&str> = restore.members.iter().map(|member| &*member.name).collect();
        return Err(OfflineError::NotAMember { name: restore.name.clone(), members: members.join(", ") });
    };
    let node_id = NodeId::new(place as u64 + 1);
    let path = restore.dir.display().to_string();
    if fs::read_dir(&restore.dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(OfflineError::NotEmpty { path });
    }
    // Checked before anything is made: a damaged snapshot leaves nothing behind.
    let found = snapshot_status(&restore.snapshot)?;
    let written = write(restore, node_id, &found.sha256);
    written.map_err(|source| OfflineError::Directory { path, source })
}

fn write(
    restore: &Restore,
    node_id: NodeId,
    sha256: &[u8; 32],
) -> Result<Restored, Box<dyn std::error::Error + Send + Sync>> {
    let cluster_id = cluster_id(restore, sha256);
    let tables = RocksState::open(&restore.dir.join("state"))?;
    fill(&tables, &restore.snapshot)?;
    let incarnation = |name: &str| seat::derived_incarnation(cluster_id, name);
    let founders = seat::founders(&restore.members, |member| incarnation(&member.name));
    let place = Place { cluster_id, node_id, founders, ..Place::default() };
    let refounded = refound(&tables, founding_members(&place), restore.raise)?;
    drop(tables);
    // Last: without it the directory is nobody's.
    let file = MemberFile {
        name: restore.name.clone(),
        token: restore.token.clone(),
        incarnation: incarnation(&restore.name),
        lost: None,
        place: Some(place),
    };
    file.write(&restore.dir)?;
    let (revision, compacted) = (refounded.revision, refounded.compacted);
    Ok(Restored { cluster_id, node_id, revision, compacted })
}

/// The same for all members that restore alike, and for no others: members with other rows never meet.
fn cluster_id(restore: &Restore, sha256: &[u8; 32]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(sha256);
    hash.update(restore.raise.by.to_be_bytes());
    hash.update([u8::from(restore.raise.mark_compacted)]);
    for text in std::iter::once(&restore.token).chain(restore.members.iter().map(|member| &member.name)) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let mut id = [0; 8];
    id.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(id).max(1)
}

fn fill(tables: &RocksState, snapshot: &Path) -> Result<(), TableError> {
    let incoming = Incoming::open(snapshot).map_err(TableError::Io)?;
    if incoming.manifest.is_inline() {
        let mut inline = Vec::new();
        let unpacked = incoming.unpack(|_, piece| {
            inline.extend_from_slice(piece);
            Ok(())
        });
        unpacked.map_err(TableError::Io)?;
        return copy_rows(inline.into(), tables);
    }
    let intake = tables.intake(&incoming.manifest.files())?;
    let mut unpacking = Unpacking::into_dir(&intake.dir);
    let unpacked = incoming.unpack(|name, piece| {
        // What is there already is the same, and may be shared.
        if intake.missing.iter().any(|missing| missing == name) {
            unpacking.write(name, piece)
        } else {
            Ok(())
        }
    });
    unpacked.map_err(TableError::Io)?;
    unpacking.finish().map_err(TableError::Io)?;
    tables.install(&Arrived { dir: intake.dir.clone(), inline: Bytes::new(), keep: false })
}

/// The rows of a node that had no disk.
fn copy_rows(inline: Bytes, tables: &RocksState) -> Result<(), TableError> {
    let memory = MemoryTables::default();
    memory.install(&Arrived { dir: PathBuf::new(), inline, keep: false })?;
    read(&memory, |view| {
        for table in Table::ALL {
            let mut changes = Changes::default();
            let mut cursor = view.cursor(table, &[], None)?;
            while let Some(key) = cursor.key() {
                changes.put(table, key.to_vec(), cursor.value().to_vec());
                if changes.0.len() >= COPY_ROWS {
                    tables.write(&std::mem::take(&mut changes))?;
                }
                cursor.advance()?;
            }
            tables.write(&changes)?;
        }
        Ok(())
    })
}
