//! Pulls an image: its manifest, its configuration, and the layers that the store lacks.
//!
//! A layer is unpacked while it is fetched; nothing of it appears before its digest was right. Dropping the pull
//! ends its work. Errors read like containerd's, which people look for.

#[cfg(test)]
mod debian;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod mirrors;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt};
use proto::cri::AuthConfig;
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::info;

use super::digest::Digest;
use super::documents::{self, Blob, Document, DocumentError, Machine, Manifest};
use super::reference::{Reference, Version};
use super::registry::{Patience, RegistryError, Repository};
use super::store::{Content, ImageStore, ImageStoreError, Record, StoredImage};

/// Of one pull.
const LAYERS_AT_ONCE_MAX: usize = 3;
/// Pieces that wait to be unpacked; then the registry waits.
const PIECES_WAITING_MAX: usize = 16;
/// Indexes in indexes.
const NESTING_MAX: usize = 4;
const PATIENCE: Patience = Patience { idle: Duration::from_secs(60), pause: Duration::from_secs(1) };
/// Of a whole pull, however steadily it goes on.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Which image, and what went wrong with it; the causes say where and why.
#[derive(Debug, Error)]
#[error("failed to pull and unpack image \"{image}\"")]
pub(crate) struct PullError {
    image: String,
    source: PullStep,
}

#[derive(Debug, Error)]
enum PullStep {
    #[error("invalid reference format")]
    Name,
    #[error("failed to resolve reference \"{reference}\"")]
    Resolve { reference: String, source: RegistryError },
    #[error("failed to read the manifest {digest}")]
    Manifest { digest: Digest, source: DocumentError },
    #[error("failed to fetch the configuration {digest}")]
    FetchConfig { digest: Digest, source: RegistryError },
    #[error("failed to read the configuration {digest}")]
    Config { digest: Digest, source: DocumentError },
    #[error("failed to fetch layer {digest}")]
    FetchLayer { digest: Digest, source: RegistryError },
    #[error("failed to extract layer {digest}")]
    Extract { digest: Digest, source: ImageStoreError },
    #[error("failed to keep the image")]
    Keep(#[source] ImageStoreError),
    #[error("it took longer than {} s", .0.as_secs())]
    Deadline(Duration),
}

/// How much time a pull has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) patience: Patience,
    pub(super) deadline: Duration,
}

impl ImageStore {
    /// Fetches the image, or what of it is missing, and keeps it under this name. The registry is asked what the
    /// name means, and whether `auth` may have it, even if the image is there.
    ///
    /// # Errors
    /// When the registry, the network, the image or the disk does not do as it should. Layers that were complete
    /// stay until an image is removed or the store is opened again.
    pub(crate) async fn pull(
        &self,
        name: &str,
        auth: Option<AuthConfig>,
    ) -> Result<Arc<StoredImage>, PullError> {
        self.pull_within(name, auth, Limits { patience: PATIENCE, deadline: DEADLINE }).await
    }

    pub(super) async fn pull_within(
        &self,
        name: &str,
        auth: Option<AuthConfig>,
        limits: Limits,
    ) -> Result<Arc<StoredImage>, PullError> {
        let Some(reference) = Reference::parse(name) else {
            return Err(PullError { image: name.to_owned(), source: PullStep::Name });
        };
        let pulled = self.pull_reference(&reference, auth, limits.patience);
        let pulled = tokio::time::timeout(limits.deadline, pulled).await;
        let image = pulled
            .unwrap_or(Err(PullStep::Deadline(limits.deadline)))
            .map_err(|source| PullError { image: reference.to_string(), source })?;
        info!(image = %reference, id = image.id, "pulled an image");
        Ok(image)
    }

    async fn pull_reference(
        &self,
        reference: &Reference,
        auth: Option<AuthConfig>,
        patience: Patience,
    ) -> Result<Arc<StoredImage>, PullStep> {
        let unresolved = |source| PullStep::Resolve { reference: reference.to_string(), source };
        let repository = Repository::open(reference, auth.as_ref(), self.hosts_dirs(), patience).await;
        let repository = repository.map_err(unresolved)?;
        let machine = Machine::this();
        let (top, manifest) = resolve(&repository, reference, &machine).await?;
        let digest = manifest.config.digest.clone();
        let config = repository.small_blob(&manifest.config).await;
        let config = config.map_err(|source| PullStep::FetchConfig { digest: digest.clone(), source })?;
        let bad_config = |source| PullStep::Config { digest: digest.clone(), source };
        let (config, diff_ids) = documents::parse_config(&config, &machine).map_err(bad_config)?;
        if diff_ids.len() != manifest.layers.len() {
            let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
            return Err(bad_config(DocumentError::Uneven { layers, diff_ids }));
        }
        let hold = self.hold(diff_ids.clone());
        let layers = diff_ids.iter().zip(&manifest.layers);
        let fetched: Vec<_> =
            layers.map(|(diff_id, blob)| self.fetch_layer(&repository, diff_id, blob)).collect();
        futures::stream::iter(fetched).buffer_unordered(LAYERS_AT_ONCE_MAX).try_collect::<()>().await?;
        let record = Record {
            id: digest.to_string(),
            names: match reference.version() {
                Version::Tag(_) => vec![reference.to_string()],
                Version::Digest(_) => Vec::new(),
            },
            digests: vec![reference.with_digest(&top).to_string()],
            config,
            diff_ids: diff_ids.iter().map(Digest::to_string).collect(),
        };
        let store = self.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let kept = store.keep(record);
            drop(hold);
            kept
        });
        kept.await.unwrap_or(Err(ImageStoreError::GivenUp)).map_err(PullStep::Keep)
    }

    /// Makes a layer of a blob, unless somebody else has or does.
    async fn fetch_layer(
        &self,
        repository: &Repository,
        diff_id: &Digest,
        blob: &Blob,
    ) -> Result<(), PullStep> {
        let lock = self.layer_lock(diff_id);
        let _making = lock.lock().await;
        if self.has_layer(diff_id) {
            return Ok(());
        }
        let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let reader = PieceReader { pieces, piece: Bytes::new(), left: blob.size };
        let content = Content { bytes: reader, blob: blob.digest.clone() };
        let (store, id) = (self.clone(), diff_id.clone());
        let unpacking = tokio::task::spawn_blocking(move || store.add_layer(&id, content));
        let (fetched, unpacked) =
            futures::future::join(repository.stream_blob(blob, sender), unpacking).await;
        let digest = || blob.digest.clone();
        match fetched {
            Ok(()) | Err(RegistryError::Unread) => {}
            // What was unpacked of it is cut short, which is nothing new.
            Err(source) => return Err(PullStep::FetchLayer { digest: digest(), source }),
        }
        let unpacked = unpacked.unwrap_or(Err(ImageStoreError::GivenUp));
        unpacked.map_err(|source| PullStep::Extract { digest: digest(), source })
    }
}

/// What the name means: its digest, and the manifest for this machine.
async fn resolve(
    repository: &Repository,
    reference: &Reference,
    machine: &Machine,
) -> Result<(Digest, Manifest), PullStep> {
    let mut at = reference.clone();
    let mut top = None;
    for _ in 0..NESTING_MAX {
        let answer = repository.manifest(&at).await;
        let (bytes, digest) =
            answer.map_err(|source| PullStep::Resolve { reference: at.to_string(), source })?;
        let bad = |source| PullStep::Manifest { digest: digest.clone(), source };
        let first = top.get_or_insert_with(|| digest.clone()).clone();
        match Document::parse(&bytes).map_err(bad)? {
            Document::Manifest(manifest) => return Ok((first, manifest)),
            Document::Index(manifests) => {
                let chosen = documents::choose(&manifests, machine).map_err(bad)?;
                at = reference.with_digest(&chosen.digest);
            }
        }
    }
    let digest = top.unwrap_or_else(|| Digest::of(b""));
    Err(PullStep::Manifest { digest, source: DocumentError::NoManifest })
}

/// A blob as it arrives. It ends when all of it was read; when no more comes before that, it is an error.
struct PieceReader {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    left: u64,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        while self.piece.is_empty() {
            self.piece = self.pieces.blocking_recv().ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        let read = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}
