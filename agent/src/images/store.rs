//! The images of one agent's built-in runtime: a folder of unpacked layers, and one file that says what they are of.
//!
//! A layer is made in `work` and appears in `layers` by a rename, once its digest was right and its files are
//! on the disk; `images.json` is replaced as a whole. So whatever moment the agent dies at, the next one finds
//! each layer and each image complete or not at all, and removes the rest. One agent uses the folder at a time.

mod layers;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use thiserror::Error;
use tracing::{info, warn};

use super::digest::Digest;
use super::documents::ImageConfig;
use super::reference::{Reference, Version};
use super::unpack::UnpackError;
pub(super) use layers::Content;
pub(super) use record::Record;

const WORK: &str = "work";
const LAYERS: &str = "layers";
const IMAGES: &str = "images.json";

/// Clones are one store.
#[derive(Clone, Debug)]
pub(crate) struct ImageStore {
    inner: Arc<Inner>,
}

/// An image, ready to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredImage {
    /// The digest of its configuration: `sha256:…`.
    pub(crate) id: String,
    /// In full: `docker.io/library/nginx:1.14`.
    pub(crate) names: Vec<String>,
    /// What it was pulled as: `docker.io/library/nginx@sha256:…`. Empty for what was imported.
    pub(crate) digests: Vec<String>,
    pub(crate) config: ImageConfig,
    /// Unpacked, topmost first, all in one folder. Nobody may write into them.
    pub(crate) layers: Vec<PathBuf>,
    /// What the files of its layers have, unpacked.
    pub(crate) size: u64,
}

#[derive(Debug, Error)]
pub(crate) enum ImageStoreError {
    #[error("cannot use the image store {}", path.display())]
    Files { path: PathBuf, source: io::Error },
    #[error("the image store's list {} is damaged", path.display())]
    List { path: PathBuf, source: serde_json::Error },
    #[error("cannot unpack layer {diff_id}")]
    Unpack { diff_id: Digest, source: UnpackError },
    #[error("layer {wanted} was unpacked to {found}: its content is not what the image says")]
    WrongLayer { wanted: Digest, found: Digest },
    #[error("the content of {wanted} is {found}")]
    WrongBlob { wanted: Digest, found: Digest },
    #[error("the work on the image was given up")]
    GivenUp,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    hosts_dirs: Vec<PathBuf>,
    state: Mutex<State>,
    /// Held while `images.json` is replaced.
    writing: Mutex<()>,
    /// One lock for each layer that is being made, so that it is made once.
    making: Mutex<BTreeMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct State {
    /// By id.
    images: BTreeMap<String, (Record, Arc<StoredImage>)>,
    /// By diff id.
    layers: BTreeMap<Digest, layers::Layer>,
    /// What work under way relies on, by the work's number.
    held: BTreeMap<u64, Vec<Digest>>,
    /// Names folders and holds; never used twice by one process.
    next: u64,
}

impl ImageStore {
    /// Opens the store in `dir`, made if it is missing, and removes what a dead process left half-made.
    /// `hosts_dirs` are where registries are configured, as in containerd's `certs.d`. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read and written, or its list of images is damaged.
    pub(crate) fn open(dir: PathBuf, hosts_dirs: Vec<PathBuf>) -> Result<Self, ImageStoreError> {
        layers::prepare(&dir)?;
        let records = record::read(&dir.join(IMAGES))?;
        let (layers, next) = layers::scan(&dir)?;
        let mut state = State { layers, next, ..State::default() };
        for record in records {
            match state.complete(&dir, &record) {
                Some(image) => drop(state.images.insert(record.id.clone(), (record, Arc::new(image)))),
                None => warn!(image = record.id, "an image lacks a layer and is forgotten"),
            }
        }
        let inner = Inner {
            dir,
            hosts_dirs,
            state: Mutex::new(state),
            writing: Mutex::new(()),
            making: Mutex::default(),
        };
        let store = Self { inner: Arc::new(inner) };
        store.sweep()?;
        Ok(store)
    }

    /// The image of this name (what it leaves out is filled in as for Docker), `name@digest`, or id.
    pub(crate) fn image(&self, name: &str) -> Option<Arc<StoredImage>> {
        let state = self.state();
        let id = if name.contains(':') { name.to_owned() } else { format!("sha256:{name}") };
        if let Some((_, image)) = state.images.get(&id) {
            return Some(image.clone());
        }
        let reference = Reference::parse(name)?;
        let full = reference.to_string();
        let has = |image: &StoredImage| match reference.version() {
            Version::Tag(_) => image.names.contains(&full),
            Version::Digest(_) => image.digests.contains(&full),
        };
        state.images.values().map(|(_, image)| image).find(|image| has(image)).cloned()
    }

    /// Every image, by id.
    pub(crate) fn images(&self) -> Vec<Arc<StoredImage>> {
        self.state().images.values().map(|(_, image)| image.clone()).collect()
    }

    /// Removes the image with this id, all its names, and the layers that no other image uses. No container
    /// may use it. It may be gone already. Blocks.
    ///
    /// # Errors
    /// When the disk fails; what remains is removed by the next call or `open`.
    pub(crate) fn remove(&self, id: &str) -> Result<(), ImageStoreError> {
        let known = self.change(|records| {
            let before = records.len();
            records.retain(|record| record.id != id);
            records.len() < before
        })?;
        if known {
            info!(image = id, "removed an image");
        }
        self.sweep()
    }

    /// Keeps an image whose layers are all there. Its names are taken from the images that had them. Blocks.
    pub(super) fn keep(&self, image: Record) -> Result<Arc<StoredImage>, ImageStoreError> {
        let id = image.id.clone();
        self.change(|records| record::add(records, image))?;
        let state = self.state();
        state.images.get(&id).map(|(_, image)| image.clone()).ok_or(ImageStoreError::GivenUp)
    }

    pub(super) fn hosts_dirs(&self) -> &[PathBuf] {
        &self.inner.hosts_dirs
    }

    /// Changes the list of images, on the disk first.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Record>) -> T) -> Result<T, ImageStoreError> {
        let _writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records: Vec<Record> =
            self.state().images.values().map(|(record, _)| record.clone()).collect();
        let answer = change(&mut records);
        record::write(&self.inner.dir, IMAGES, &records)?;
        let mut state = self.state();
        state.images = records
            .into_iter()
            .filter_map(|record| {
                let image = state.complete(&self.inner.dir, &record)?;
                Some((record.id.clone(), (record, Arc::new(image))))
            })
            .collect();
        Ok(answer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The image with its layers' folders; `None` when one is missing.
    fn complete(&self, dir: &Path, record: &Record) -> Option<StoredImage> {
        let layers: Option<Vec<_>> = record.layers().map(|diff_id| self.layers.get(&diff_id?)).collect();
        let layers = layers?;
        Some(StoredImage {
            id: record.id.clone(),
            names: record.names.clone(),
            digests: record.digests.clone(),
            config: record.config.clone(),
            size: layers.iter().map(|layer| layer.size).sum(),
            layers: layers.iter().rev().map(|layer| layer.folder(dir)).collect(),
        })
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
