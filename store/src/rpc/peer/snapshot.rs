//! A snapshot on its way: the offer, then the files that the receiver lacks, each checked against size and CRC-32.
//!
//! Files are written where the receiver's intake says and synced before the snapshot is installed; what is cut
//! short stays in that directory, which the receiver ignores.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;
use futures::stream::{Stream, StreamExt as _};
use proto::peer as pb;
use proto::peer::snapshot_part::Part;
use proto::peer::snapshot_reply::Reply;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

use super::client::refusal;
use super::server::status;
use crate::{PeerError, PeerService, SnapshotFile, SnapshotOffer};

const CHUNK_BYTES: usize = 512 * 1024;

/// The sender's half of the conversation that is not the stream of parts.
pub(super) struct Sending {
    /// Tells the stream of parts what to send after the offer.
    missing: oneshot::Sender<Vec<String>>,
    /// A file that could not be read.
    broken: oneshot::Receiver<io::Error>,
}

/// What to stream to the receiver, and the half that follows its replies.
pub(super) fn parts(offer: &SnapshotOffer) -> (impl Stream<Item = pb::SnapshotPart> + Send + use<>, Sending) {
    let (missing_tx, missing_rx) = oneshot::channel();
    let (broken_tx, broken_rx) = oneshot::channel();
    let files = offer.files.iter().map(|file| pb::SnapshotFile {
        name: file.name.clone(),
        size: file.size,
        crc32: file.crc32,
    });
    let first = Part::Offer(pb::SnapshotOffer { meta: offer.meta.clone(), files: files.collect() });
    let dir = offer.dir.clone();
    let rest = futures::stream::once(missing_rx)
        .flat_map(|missing| futures::stream::iter(missing.unwrap_or_default()));
    let chunks = rest.flat_map(move |name| chunks(dir.join(&name), name));
    // The first failure ends the stream; the receiver then misses bytes and refuses.
    let sound = chunks.scan(Some(broken_tx), |broken, chunk| {
        let part = match chunk {
            Ok(chunk) => Some(Part::Chunk(chunk)),
            Err(error) => {
                if let Some(broken) = broken.take() {
                    // Whoever listened for it has given up.
                    let _gone = broken.send(error);
                }
                None
            }
        };
        std::future::ready(part)
    });
    let all = futures::stream::iter([first]).chain(sound).map(|part| pb::SnapshotPart { part: Some(part) });
    (all, Sending { missing: missing_tx, broken: broken_rx })
}

impl Sending {
    /// Follows the receiver: hears what it lacks, then that it has installed the snapshot.
    pub(super) async fn finish(self, mut replies: Streaming<pb::SnapshotReply>) -> Result<Bytes, PeerError> {
        let names = match reply(&mut replies).await? {
            Reply::Missing(missing) => missing.names,
            Reply::Installed(_) => {
                return Err(PeerError::Refused("installed without asking for files".into()));
            }
        };
        if self.missing.send(names).is_err() {
            return Err(PeerError::Unreachable("the stream of files is closed".into()));
        }
        let installed = reply(&mut replies);
        tokio::pin!(installed);
        tokio::select! {
            biased;
            Ok(error) = self.broken => Err(PeerError::Unreachable(Box::new(error))),
            installed = &mut installed => match installed? {
                Reply::Installed(answer) => Ok(answer.body),
                Reply::Missing(_) => Err(PeerError::Refused("asked for files twice".into())),
            },
        }
    }
}

async fn reply(replies: &mut Streaming<pb::SnapshotReply>) -> Result<Reply, PeerError> {
    let reply = replies.message().await.map_err(refusal)?;
    let ended = || PeerError::Unreachable("the receiver ended the conversation".into());
    reply.ok_or_else(ended)?.reply.ok_or_else(|| PeerError::Refused("sent an empty reply".into()))
}

/// The content of one file, at least one chunk.
fn chunks(path: PathBuf, name: String) -> impl Stream<Item = io::Result<pb::FileChunk>> + Send {
    enum At {
        Closed(PathBuf),
        Open { file: File, offset: u64 },
        End,
    }
    futures::stream::try_unfold((At::Closed(path), name), |(at, name)| async move {
        let (mut file, offset) = match at {
            At::Closed(path) => (File::open(path).await?, 0),
            At::Open { file, offset } => (file, offset),
            At::End => return Ok(None),
        };
        let mut data = BytesMut::with_capacity(CHUNK_BYTES);
        while data.len() < CHUNK_BYTES && file.read_buf(&mut data).await? > 0 {}
        if data.is_empty() && offset > 0 {
            return Ok(None);
        }
        let end = offset + data.len() as u64;
        let next = if data.len() < CHUNK_BYTES { At::End } else { At::Open { file, offset: end } };
        let chunk = pb::FileChunk { name: name.clone(), offset, data: data.freeze() };
        Ok(Some((chunk, (next, name))))
    })
}

/// Serves one snapshot that a peer sends: says what is missing, writes it, installs it.
pub(super) fn receive(
    service: Arc<dyn PeerService>,
    parts: Streaming<pb::SnapshotPart>,
) -> impl Stream<Item = Result<pb::SnapshotReply, Status>> + Send {
    enum Step {
        Offered(Box<Streaming<pb::SnapshotPart>>),
        Filling(Box<Filling>),
        Done,
    }
    futures::stream::try_unfold((Step::Offered(Box::new(parts)), service), |(step, service)| async move {
        let (reply, next) = match step {
            Step::Offered(parts) => {
                let filling = Filling::start(&*service, *parts).await?;
                let names = filling.intake.missing.clone();
                (Reply::Missing(pb::Missing { names }), Step::Filling(Box::new(filling)))
            }
            Step::Filling(filling) => {
                let body = filling.finish(&*service).await?;
                (Reply::Installed(pb::Installed { body }), Step::Done)
            }
            Step::Done => return Ok(None),
        };
        Ok(Some((pb::SnapshotReply { reply: Some(reply) }, (next, service))))
    })
}

struct Filling {
    parts: Streaming<pb::SnapshotPart>,
    meta: Bytes,
    intake: crate::Intake,
    expected: BTreeMap<String, SnapshotFile>,
}

impl Filling {
    async fn start(
        service: &dyn PeerService,
        mut parts: Streaming<pb::SnapshotPart>,
    ) -> Result<Self, Status> {
        let Some(Part::Offer(offer)) = parts.message().await?.and_then(|part| part.part) else {
            return Err(Status::invalid_argument("a snapshot begins with its offer"));
        };
        let files: Vec<SnapshotFile> = offer.files.into_iter().map(file).collect::<Result<_, _>>()?;
        let expected: BTreeMap<_, _> = files.iter().map(|file| (file.name.clone(), file.clone())).collect();
        if expected.len() != files.len() {
            return Err(Status::invalid_argument("a snapshot names a file twice"));
        }
        let intake = service.snapshot_intake(offer.meta.clone(), files).await.map_err(status)?;
        Ok(Self { parts, meta: offer.meta, intake, expected })
    }

    async fn finish(mut self, service: &dyn PeerService) -> Result<Bytes, Status> {
        let mut missing: BTreeSet<String> = self.intake.missing.iter().cloned().collect();
        while !missing.is_empty() {
            let chunk = next_chunk(&mut self.parts).await?;
            if !missing.remove(&chunk.name) {
                return Err(Status::invalid_argument(format!("file {} was not asked for", chunk.name)));
            }
            let Some(expected) = self.expected.get(&chunk.name) else {
                return Err(Status::internal("the intake asks for a file that was not offered"));
            };
            write(&self.intake.dir, expected, chunk, &mut self.parts).await?;
        }
        sync(&self.intake.dir).await.map_err(|error| broken(&error))?;
        service.snapshot_install(self.meta, self.intake).await.map_err(status)
    }
}

fn file(file: pb::SnapshotFile) -> Result<SnapshotFile, Status> {
    let plain = !file.name.is_empty() && !file.name.starts_with('.') && !file.name.contains(['/', '\0']);
    if !plain {
        return Err(Status::invalid_argument(format!("{:?} is not a plain file name", file.name)));
    }
    Ok(SnapshotFile { name: file.name, size: file.size, crc32: file.crc32 })
}

async fn next_chunk(parts: &mut Streaming<pb::SnapshotPart>) -> Result<pb::FileChunk, Status> {
    match parts.message().await?.and_then(|part| part.part) {
        Some(Part::Chunk(chunk)) => Ok(chunk),
        Some(Part::Offer(_)) => Err(Status::invalid_argument("a second offer in one snapshot")),
        None => Err(Status::invalid_argument("the snapshot ended before all of its files")),
    }
}

/// Writes one whole file, from its first chunk on.
async fn write(
    dir: &Path,
    expected: &SnapshotFile,
    first: pb::FileChunk,
    parts: &mut Streaming<pb::SnapshotPart>,
) -> Result<(), Status> {
    let mut file = File::create(dir.join(&expected.name)).await.map_err(|error| broken(&error))?;
    let mut crc = Hasher::new();
    let mut chunk = first;
    let mut size = 0;
    loop {
        let after = size + chunk.data.len() as u64;
        if chunk.name != expected.name || chunk.offset != size || after > expected.size {
            return Err(Status::data_loss(format!(
                "file {} arrives out of order or too long",
                expected.name
            )));
        }
        crc.update(&chunk.data);
        file.write_all(&chunk.data).await.map_err(|error| broken(&error))?;
        size = after;
        if size == expected.size {
            break;
        }
        chunk = next_chunk(parts).await?;
    }
    if crc.finalize() != expected.crc32 {
        return Err(Status::data_loss(format!("file {} has another checksum than offered", expected.name)));
    }
    file.sync_all().await.map_err(|error| broken(&error))
}

async fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir).await?.sync_all().await
}

/// The receiver's disk: the sender may try again later.
fn broken(error: &io::Error) -> Status {
    Status::unavailable(format!("cannot write the snapshot: {error}"))
}
