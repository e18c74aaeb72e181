//! Images from an archive: an OCI image layout in one tar, as `archive.rs` builds it and `docker save` does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tracing::info;

use super::digest::Digest;
use super::documents::{self, Blob, Descriptor, Document, DocumentError, MANIFEST_BYTES_MAX, Machine};
use super::reference::Reference;
use super::store::{Content, ImageStore, ImageStoreError, Record, StoredImage};

const INDEX: &str = "index.json";
/// Where an image's name stands, the first that does.
const NAME_ANNOTATIONS: &[&str] = &["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/// Indexes in indexes.
const NESTING_MAX: usize = 4;

/// Where an archive is.
#[derive(Clone, Debug)]
pub(crate) enum Archive {
    File(PathBuf),
    Bytes(Bytes),
}

#[derive(Debug, Error)]
pub(crate) enum ImportError {
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    #[error("the archive lacks {0}: it is no OCI image layout")]
    Lacks(String),
    #[error("{what} has {found} bytes, not {wanted}")]
    Size { what: String, wanted: u64, found: u64 },
    #[error("{what} has {bytes} bytes, more than {max}")]
    Large { what: String, bytes: u64, max: u64 },
    #[error("the content of {wanted} is {found}")]
    Digest { wanted: Digest, found: Digest },
    #[error("{0:?} is no image's name")]
    Name(String),
    #[error("the archive has indexes in indexes")]
    Nested,
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("cannot keep the image")]
    Store(#[from] ImageStoreError),
    #[error("the import was given up")]
    GivenUp,
}

impl ImageStore {
    /// Unpacks and keeps every image of the archive; those that are there get its names, too.
    ///
    /// # Errors
    /// When the archive is not what it should be, or the disk fails. Images before the bad one stay.
    pub(crate) async fn import(&self, archive: Archive) -> Result<Vec<Arc<StoredImage>>, ImportError> {
        let store = self.clone();
        let imported = tokio::task::spawn_blocking(move || Layout::open(&archive)?.import_into(&store)).await;
        imported.unwrap_or(Err(ImportError::GivenUp))
    }
}

/// An opened archive and where in it each file is.
struct Layout {
    bytes: Opened,
    files: BTreeMap<String, Section>,
}

#[derive(Clone)]
enum Opened {
    File(Arc<File>),
    Bytes(Bytes),
}

#[derive(Clone, Copy)]
struct Section {
    offset: u64,
    size: u64,
}

/// Reads one section, whoever else reads another.
struct SectionReader {
    bytes: Opened,
    at: u64,
    left: u64,
}

impl Layout {
    fn open(archive: &Archive) -> Result<Self, ImportError> {
        let (bytes, files) = match archive {
            Archive::File(path) => {
                let file = File::open(path).map_err(ImportError::Read)?;
                let files = sections(&file).map_err(ImportError::Read)?;
                (Opened::File(Arc::new(file)), files)
            }
            Archive::Bytes(bytes) => {
                let files = sections(Cursor::new(bytes)).map_err(ImportError::Read)?;
                (Opened::Bytes(bytes.clone()), files)
            }
        };
        Ok(Self { bytes, files })
    }

    fn import_into(&self, store: &ImageStore) -> Result<Vec<Arc<StoredImage>>, ImportError> {
        let machine = Machine::this();
        let Document::Index(images) = Document::parse(&self.small(INDEX, MANIFEST_BYTES_MAX)?)? else {
            return Err(ImportError::Lacks("an index".to_owned()));
        };
        images.iter().map(|image| self.import_one(store, image, &machine)).collect()
    }

    fn import_one(
        &self,
        store: &ImageStore,
        image: &Descriptor,
        machine: &Machine,
    ) -> Result<Arc<StoredImage>, ImportError> {
        let manifest = self.manifest(image.blob()?, machine)?;
        let config_bytes = self.checked(&manifest.config)?;
        let (config, diff_ids) = documents::parse_config(&config_bytes, machine)?;
        if diff_ids.len() != manifest.layers.len() {
            let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
            return Err(DocumentError::Uneven { layers, diff_ids }.into());
        }
        let hold = store.hold(diff_ids.clone());
        for (diff_id, blob) in diff_ids.iter().zip(&manifest.layers) {
            let lock = store.layer_lock(diff_id);
            let _making = lock.blocking_lock();
            if !store.has_layer(diff_id) {
                let content = Content { bytes: self.blob(blob)?, blob: blob.digest.clone() };
                store.add_layer(diff_id, content)?;
            }
        }
        let kept = store.keep(Record {
            id: manifest.config.digest.to_string(),
            names: name(image)?.into_iter().collect(),
            digests: Vec::new(),
            config,
            diff_ids: diff_ids.iter().map(Digest::to_string).collect(),
        })?;
        drop(hold);
        info!(image = kept.id, names = ?kept.names, "imported an image");
        Ok(kept)
    }

    fn manifest(&self, mut blob: Blob, machine: &Machine) -> Result<documents::Manifest, ImportError> {
        for _ in 0..NESTING_MAX {
            match Document::parse(&self.checked(&blob)?)? {
                Document::Manifest(manifest) => return Ok(manifest),
                Document::Index(manifests) => blob = documents::choose(&manifests, machine)?,
            }
        }
        Err(ImportError::Nested)
    }

    /// A manifest or configuration, with the right digest.
    fn checked(&self, blob: &Blob) -> Result<Vec<u8>, ImportError> {
        let bytes = self.small(&path_of(&blob.digest), MANIFEST_BYTES_MAX)?;
        let found = Digest::of(&bytes);
        if found == blob.digest {
            Ok(bytes)
        } else {
            Err(ImportError::Digest { wanted: blob.digest.clone(), found })
        }
    }

    fn blob(&self, blob: &Blob) -> Result<SectionReader, ImportError> {
        let path = path_of(&blob.digest);
        let section = self.section(&path)?;
        if section.size == blob.size {
            Ok(self.read(section))
        } else {
            Err(ImportError::Size { what: path, wanted: blob.size, found: section.size })
        }
    }

    fn small(&self, path: &str, max: u64) -> Result<Vec<u8>, ImportError> {
        let section = self.section(path)?;
        if section.size > max {
            return Err(ImportError::Large { what: path.to_owned(), bytes: section.size, max });
        }
        let mut bytes = Vec::new();
        self.read(section).read_to_end(&mut bytes).map_err(ImportError::Read)?;
        Ok(bytes)
    }

    fn section(&self, path: &str) -> Result<Section, ImportError> {
        self.files.get(path).copied().ok_or_else(|| ImportError::Lacks(path.to_owned()))
    }

    fn read(&self, section: Section) -> SectionReader {
        SectionReader { bytes: self.bytes.clone(), at: section.offset, left: section.size }
    }
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        let read = match &self.bytes {
            Opened::File(file) => file.read_at(buffer, self.at)?,
            Opened::Bytes(bytes) => {
                let from = usize::try_from(self.at).unwrap_or(usize::MAX).min(bytes.len());
                (&bytes[from..]).read(buffer)?
            }
        };
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

fn sections(archive: impl Read + Seek) -> io::Result<BTreeMap<String, Section>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries_with_seek()? {
        let entry = entry?;
        let section = Section { offset: entry.raw_file_position(), size: entry.size() };
        if let Some(path) = entry.path()?.to_str().filter(|_| entry.header().entry_type().is_file()) {
            files.insert(path.trim_start_matches("./").to_owned(), section);
        }
    }
    Ok(files)
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A bare tag, which some archives have, is no name.
fn name(image: &Descriptor) -> Result<Option<String>, ImportError> {
    let text = NAME_ANNOTATIONS.iter().find_map(|key| image.annotations.get(*key));
    let Some(text) = text.filter(|text| text.contains([':', '/'])) else { return Ok(None) };
    let reference = Reference::parse(text).ok_or_else(|| ImportError::Name(text.clone()))?;
    Ok(Some(reference.to_string()))
}
