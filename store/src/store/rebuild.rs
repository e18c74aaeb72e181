//! Rebuilding a replica from another member's: vote and log stay, the tables are replaced by a copy that is at least as
//! far as this member was.
//!
//! The member that is rebuilt pulls: it asks for an offer, then for the files that it lacks, piece by piece. The same
//! serves a member whose tables cannot be opened at all, before its Raft starts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Revision;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::Store;
use super::audit::{Answer, Claim, Question};
use crate::disk::{Arrived, Frozen, StateDisk, aside, codec, files};
use crate::mvcc::machine::Action;
use crate::mvcc::request::Txn;
use crate::raft::peers::{Call, Peer, Peers, SnapshotFile};
use crate::raft::record;
use crate::status::{Health, Role};

const CHUNK_BYTES: u64 = 1024 * 1024;
/// How long the other member may take for one answer: it writes its tables out before it offers them.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// A copy that nobody has asked for in this time is let go.
const TICKET_TIME_MAX: Duration = Duration::from_secs(300);
/// How many empty entries a member proposes to get as far as it is asked to be.
const NUDGES_MAX: u64 = 1000;

/// Asks for a copy that has applied at least `index`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) index: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    ticket: u64,
    /// The copy itself, of a disk that has no files.
    inline: Bytes,
    /// The row that says how far the copy is.
    applied: Bytes,
    /// Name, size, CRC-32.
    files: Vec<(String, u64, u32)>,
}

/// Asks for the next bytes of an offered file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Chunk {
    ticket: u64,
    name: String,
    offset: u64,
}

/// Why a replica could not be rebuilt. It is as it was before.
#[derive(Debug, Error)]
pub enum RebuildError {
    #[error("this member leads; move the leader first")]
    Leads,
    #[error("it is being rebuilt already")]
    Busy,
    #[error("no other member has a sound copy to offer: {0}")]
    NoOffer(String),
    #[error("cannot install the copy")]
    Install(#[source] io::Error),
}

/// The copy that others are taking from this member, one at a time.
#[derive(Default)]
pub(crate) struct Offered {
    open: Mutex<Option<Open>>,
    last_ticket: Mutex<u64>,
}

struct Open {
    ticket: u64,
    frozen: Frozen,
    used: Instant,
}

impl Offered {
    fn keep(&self, frozen: Frozen) -> u64 {
        let ticket = {
            let mut last = self.last_ticket.lock().unwrap_or_else(PoisonError::into_inner);
            *last += 1;
            *last
        };
        let open = Open { ticket, frozen, used: Instant::now() };
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        ticket
    }

    fn find(&self, ticket: u64) -> Option<Frozen> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().filter(|open| open.ticket == ticket)?;
        open.used = Instant::now();
        Some(open.frozen.clone())
    }

    /// Lets a copy go that was taken, or given up.
    pub(super) fn tidy(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|open| open.used.elapsed() > TICKET_TIME_MAX) {
            *open = None;
        }
    }
}

impl Store {
    /// Replaces this member's tables by those of another one. Returns the revision from which it goes on.
    ///
    /// # Errors
    /// When this member leads, or nobody can offer a copy.
    pub async fn rebuild(&self) -> Result<Revision, RebuildError> {
        if self.inner.status.borrow().role == Role::Leader && self.inner.replica.health.is_sound() {
            return Err(RebuildError::Leads);
        }
        let Ok(_one) = self.inner.rebuilding.try_lock() else { return Err(RebuildError::Busy) };
        // Nothing is applied from here on, so the copy must only be as far as this.
        self.quarantine("it is being rebuilt".to_owned());
        let least = self.inner.replica.applied_index();
        let mut others = self.others();
        let leader = self.inner.status.borrow().leader;
        others.sort_by_key(|peer| (Some(peer.id) != leader, peer.id));
        let mut refusals = Vec::new();
        for peer in &others {
            match pull(&*self.inner.peers, peer, least, self.inner.replica.disk.clone()).await {
                Ok(pulled) => {
                    if let Err(why) = self.fits(&pulled) {
                        refusals.push(format!("{}: {why}", peer.id));
                        continue;
                    }
                    self.install(pulled.arrived).await.map_err(RebuildError::Install)?;
                    let revision = self.revision();
                    info!(from = %peer.id, %revision, "this member is rebuilt");
                    let _ = self.inner.claims.try_send(Claim::Applied(revision));
                    return Ok(revision);
                }
                Err(why) => {
                    warn!(peer = %peer.id, why, "cannot be rebuilt from this member");
                    refusals.push(format!("{}: {why}", peer.id));
                }
            }
        }
        Err(RebuildError::NoOffer(refusals.join("; ")))
    }

    /// A restart must find the copy on the log's own line, or beyond its end.
    fn fits(&self, pulled: &Pulled) -> Result<(), String> {
        let (id, _) = record::decode_applied(&pulled.applied).map_err(|error| error.to_string())?;
        let Some(id) = id else { return Err("its copy has applied nothing".to_owned()) };
        match self.inner.log.agrees_with(id) {
            Ok(true) => Ok(()),
            Ok(false) => Err("this member's log is not yet in line with the others'".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn install(&self, arrived: Arrived) -> io::Result<()> {
        let replica = self.inner.replica.clone();
        aside(replica.disk.waits(), move || replica.install(&arrived)).await??;
        self.inner.replica.health.set(Health::Sound);
        Ok(())
    }

    /// Freezes this member's tables for another one, once they are as far as it needs.
    pub(super) async fn offer(&self, wanted: Wanted) -> Result<Offer, String> {
        if !self.inner.replica.health.is_sound() {
            return Err("its own data is not sound".to_owned());
        }
        let behind = wanted.index.saturating_sub(self.inner.replica.progress().applied);
        // An idle cluster may never get that far by itself; whoever asks for what is far ahead waits, or is wrong.
        let nudges = if behind <= NUDGES_MAX { behind } else { 0 };
        for _ in 0..nudges {
            // It changes nothing.
            let _ = self.propose(Action::Txn(Txn::default())).await;
        }
        let reached = self.inner.replica.wait_for_index(wanted.index);
        if timeout(ANSWER_TIME_MAX / 4, reached).await.is_err() {
            return Err(format!("it has not applied entry {} yet", wanted.index));
        }
        let disk = self.inner.replica.disk.clone();
        let frozen = aside(disk.waits(), move || {
            let frozen = disk.freeze().map_err(io::Error::from)?;
            let files = files::list(&frozen.dir)?;
            Ok::<_, io::Error>((frozen, files))
        });
        let (frozen, files) = frozen.await.flatten().map_err(|error| error.to_string())?;
        let offer = Offer {
            inline: frozen.inline.clone(),
            applied: frozen.applied.clone().unwrap_or_default(),
            files: files.into_iter().map(|file| (file.name, file.size, file.crc32)).collect(),
            ticket: 0,
        };
        Ok(Offer { ticket: self.inner.offered.keep(frozen), ..offer })
    }

    pub(super) async fn chunk(&self, chunk: Chunk) -> Result<Bytes, String> {
        let frozen = self.inner.offered.find(chunk.ticket).ok_or("the copy is gone")?;
        if chunk.name.contains('/') || chunk.name.starts_with('.') {
            return Err("not a plain file name".to_owned());
        }
        let read = move || -> io::Result<Bytes> {
            let mut file = File::open(frozen.dir.join(&chunk.name))?;
            file.seek(SeekFrom::Start(chunk.offset))?;
            let mut bytes = Vec::new();
            file.take(CHUNK_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes.into())
        };
        aside(true, read).await.flatten().map_err(|error| error.to_string())
    }
}

/// A copy that has arrived and is whole.
pub(crate) struct Pulled {
    pub(crate) arrived: Arrived,
    pub(crate) applied: Bytes,
}

/// Takes a copy from `peer` that is at `least` or beyond.
pub(crate) async fn pull(
    peers: &dyn Peers,
    peer: &Peer,
    least: u64,
    disk: Arc<dyn StateDisk>,
) -> Result<Pulled, String> {
    let Answer::Offer(offer) = ask(peers, peer, &Question::Offer(Wanted { index: least })).await? else {
        return Err("it answered something else".to_owned());
    };
    let (id, _) = record::decode_applied(&offer.applied).map_err(|error| error.to_string())?;
    if id.map_or(0, |id| id.index) < least {
        return Err("its copy is too old".to_owned());
    }
    let listed = offer.files.iter().map(|(name, size, crc32)| SnapshotFile {
        name: name.clone(),
        size: *size,
        crc32: *crc32,
    });
    let listed: Vec<SnapshotFile> = listed.collect();
    let intake = disk.intake(&listed).map_err(|error| error.to_string())?;
    for name in &intake.missing {
        let Some(file) = listed.iter().find(|file| file.name == *name) else {
            return Err(format!("{name} was not offered"));
        };
        take_file(peers, peer, offer.ticket, file, &intake.dir).await?;
    }
    if !listed.is_empty() {
        files::sync_dir(&intake.dir).map_err(|error| error.to_string())?;
    }
    let arrived = Arrived { dir: intake.dir, inline: offer.inline, keep: false };
    Ok(Pulled { arrived, applied: offer.applied })
}

async fn take_file(
    peers: &dyn Peers,
    peer: &Peer,
    ticket: u64,
    file: &SnapshotFile,
    dir: &Path,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot write {}: {error}", file.name);
    let mut out = File::create(dir.join(&file.name)).map_err(failed)?;
    let mut crc = crc32fast::Hasher::new();
    let mut offset = 0;
    while offset < file.size {
        let question = Question::Chunk(Chunk { ticket, name: file.name.clone(), offset });
        let Answer::Chunk(bytes) = ask(peers, peer, &question).await? else {
            return Err("it answered something else".to_owned());
        };
        if bytes.is_empty() || offset + bytes.len() as u64 > file.size {
            return Err(format!("{} has another length than offered", file.name));
        }
        crc.update(&bytes);
        out.write_all(&bytes).map_err(failed)?;
        offset += bytes.len() as u64;
    }
    if crc.finalize() != file.crc32 {
        return Err(format!("{} has another checksum than offered", file.name));
    }
    out.sync_all().map_err(failed)
}

async fn ask(peers: &dyn Peers, peer: &Peer, question: &Question) -> Result<Answer, String> {
    let asked = peers.call(peer, Call::Audit, codec::encode(question), ANSWER_TIME_MAX);
    let answer = match timeout(ANSWER_TIME_MAX, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("it does not answer".to_owned()),
    };
    match codec::decode(&answer) {
        Ok(Answer::Refused(why)) => Err(why),
        Ok(answer) => Ok(answer),
        Err(error) => Err(error.to_string()),
    }
}
