//! The last resort, when a majority of the voters is lost for good: one member's data becomes a cluster of its own.
//!
//! Works on a directory that no process uses. Everything in its log is taken as written, also what no majority had
//! confirmed: nothing that was acknowledged and reached this member is left out. The new cluster has another id, so
//! the old members and the new one refuse each other, and its revisions begin far above all old ones, so that no
//! client mistakes a new one for an old. What was there is set aside, not deleted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Entropy, NodeId, Revision, Timestamp};
use thiserror::Error;

use crate::disk::rocks_state::RocksState;
use crate::disk::{Arrived, LogDisk, StateDisk};
use crate::error::StartError;
use crate::mvcc::refound::Raise;
use crate::mvcc::tables::TableError;
use crate::node::{founding_members, open_log};
use crate::raft::refound::refound;
use crate::raft::replay::{self, Extent};
use crate::raft::replica::Replica;
use crate::seat::{Founder, MemberFile, Place, SeatDisk};
use crate::status::Member;

/// How far the revisions jump: more than anybody writes between the last word from a lost member and its loss.
const REVISIONS_SKIPPED: u64 = 1_000_000_000;
/// Where the new state is made, beside the old one.
const WORKSHOP: &str = "recovering";

/// Why nothing was recovered.
#[derive(Debug, Error)]
pub enum RecoverError {
    #[error("{path} holds no member of a cluster")]
    NoMember { path: String },
    #[error("the member's directory cannot be opened")]
    Start(#[from] StartError),
    #[error("cannot write to {path}")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("the log or the tables cannot be read or written")]
    Tables(#[source] io::Error),
}

impl From<TableError> for RecoverError {
    fn from(error: TableError) -> Self {
        Self::Tables(error.into())
    }
}

/// What is known here, and who would be given up.
#[derive(Clone, Debug)]
pub struct Report {
    pub name: String,
    pub cluster_name: String,
    pub cluster_id: u64,
    pub node_id: NodeId,
    /// The newest, with everything in the log.
    pub revision: Revision,
    pub applied_index: u64,
    /// Up to where a majority is known to have the log.
    pub committed_index: u64,
    /// The end of the log. All of it is kept.
    pub last_index: u64,
    /// When the newest entry was written, by its leader's clock.
    pub last_written: Option<Timestamp>,
    pub given_up: Vec<Member>,
}

#[derive(Clone, Debug)]
pub struct Recovered {
    pub cluster_id: u64,
    pub revision: Revision,
    /// Where everything is that was there before.
    pub set_aside: PathBuf,
}

/// A member's directory, held and read.
pub struct Recovery {
    dir: PathBuf,
    file: MemberFile,
    place: Place,
    log: Arc<dyn LogDisk>,
    tables: Arc<dyn StateDisk>,
    extent: Extent,
    /// The tables with the rest of the log applied, in the workshop.
    copy: Arc<dyn StateDisk>,
    report: Report,
}

impl Recovery {
    /// Reads what a member's directory holds, and changes nothing of it: what would be the new state is made beside it.
    /// A recovery that was interrupted in its last step is finished first.
    ///
    /// # Errors
    /// When it is not a member's directory, or a process uses it.
    pub fn open(dir: &Path) -> Result<Self, RecoverError> {
        move_in(dir)?;
        let no_member = || RecoverError::NoMember { path: dir.display().to_string() };
        let file = MemberFile::read(dir)?.ok_or_else(no_member)?;
        let place = file.place.clone().ok_or_else(no_member)?;
        let (log, tables) = (open_log(dir)?, open_tables(dir)?);
        let extent = replay::extent(log.as_ref(), tables.as_ref())?;
        let (copy, revision) = prepare(&dir.join(WORKSHOP), log.as_ref(), tables.as_ref(), &extent)?;
        let report = Report {
            name: file.name.clone(),
            cluster_name: file.token.clone(),
            cluster_id: place.cluster_id,
            node_id: place.node_id,
            revision,
            applied_index: extent.applied.map_or(0, |id| id.index),
            committed_index: extent.committed,
            last_index: extent.last,
            last_written: extent.last_written_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            given_up: extent.members.iter().filter(|one| one.id != place.node_id).cloned().collect(),
        };
        Ok(Self { dir: dir.to_owned(), file, place, log, tables, extent, copy, report })
    }

    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Makes the new cluster, of this member alone. It runs when the node is started next.
    ///
    /// # Errors
    /// When the disk fails: what was there is where it was, or set aside.
    pub fn commit(self, entropy: &dyn Entropy) -> Result<Recovered, RecoverError> {
        let file = self.successor(entropy);
        let place = file.place.clone().unwrap_or_default();
        // A watch that knows what is lost must not go on as if it were not: all begin anew.
        let raise = Raise { by: REVISIONS_SKIPPED, mark_compacted: true };
        let revision = refound(self.copy.as_ref(), founding_members(&place), raise)?.revision;
        // From here on the workshop is complete.
        file.write(&self.dir.join(WORKSHOP))?;
        let Self { dir, log, tables, copy, .. } = self;
        drop((log, tables, copy));
        let set_aside = SeatDisk::Directory(dir.clone()).set_aside()?;
        move_in(&dir)?;
        Ok(Recovered { cluster_id: place.cluster_id, revision, set_aside })
    }

    /// Leaves everything as it was.
    ///
    /// # Errors
    /// When the copy beside it cannot be removed.
    pub fn abandon(self) -> Result<(), RecoverError> {
        let workshop = self.dir.join(WORKSHOP);
        drop(self);
        std::fs::remove_dir_all(&workshop).map_err(|source| write_error(&workshop, source))
    }

    fn successor(&self, entropy: &dyn Entropy) -> MemberFile {
        let incarnation = entropy.u64().max(1);
        let old = self.extent.members.iter().find(|member| member.id == self.place.node_id);
        let me = Founder {
            id: NodeId::new(1),
            incarnation,
            name: self.file.name.clone(),
            // If it is found elsewhere by now, it says so when it starts.
            peer_url: old.map_or_else(|| "https://unknown:1".to_owned(), |old| old.peer_url.clone()),
            client_urls: old.map(|old| old.client_urls.clone()).unwrap_or_default(),
        };
        let given_up = self.place.supersedes.iter().copied().chain([self.place.cluster_id]);
        let place = Place {
            cluster_id: entropy.u64().max(1),
            node_id: me.id,
            founders: vec![me],
            supersedes: given_up.collect(),
            ..Place::default()
        };
        MemberFile { incarnation, lost: None, place: Some(place), ..self.file.clone() }
    }
}

/// A copy of the tables, with the rest of the log applied, and its newest revision.
fn prepare(
    workshop: &Path,
    log: &dyn LogDisk,
    tables: &dyn StateDisk,
    extent: &Extent,
) -> Result<(Arc<dyn StateDisk>, Revision), RecoverError> {
    let made = match std::fs::remove_dir_all(workshop) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => std::fs::create_dir_all(workshop),
    };
    made.map_err(|source| write_error(workshop, source))?;
    let frozen = tables.freeze()?;
    let copy = open_tables(workshop)?;
    copy.install(&Arrived { dir: frozen.dir.clone(), inline: frozen.inline.clone(), keep: true })?;
    let replica = Replica::open(copy.clone(), 0)?;
    replay::apply_rest(log, &replica, extent.applied)?;
    Ok((copy, replica.progress().horizon.newest))
}

fn open_tables(dir: &Path) -> Result<Arc<dyn StateDisk>, StartError> {
    let tables = RocksState::open(&dir.join("state"));
    Ok(Arc::new(tables.map_err(|error| StartError::open(dir, error.into()))?))
}

/// Whether the last step of a recovery is missing. Such a directory is not new.
pub(crate) fn is_unfinished(dir: &Path) -> Result<bool, StartError> {
    Ok(MemberFile::read(&dir.join(WORKSHOP))?.is_some() && MemberFile::read(dir)?.is_none())
}

/// Puts what was made where a node looks for it, once what was there is set aside. The member file comes last.
fn move_in(dir: &Path) -> Result<(), RecoverError> {
    if !is_unfinished(dir)? {
        return Ok(());
    }
    let workshop = dir.join(WORKSHOP);
    let moved = || -> io::Result<()> {
        for name in ["state", "member"] {
            match std::fs::rename(workshop.join(name), dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        std::fs::remove_dir_all(&workshop)
    };
    moved().map_err(|source| write_error(dir, source))
}

fn write_error(path: &Path, source: io::Error) -> RecoverError {
    RecoverError::Write { path: path.display().to_string(), source }
}
