//! The layers on the disk: how one is made, appears, is shared and goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use super::{ImageStore, ImageStoreError, LAYERS, WORK};
use crate::images::compression::Plain;
use crate::images::digest::{Digest, Hashing};
use crate::images::unpack::{self, Limits, UnpackError};

/// A layer's files, in its folder. The name is short: a list of 127 of them must fit into a page.
const FILES: &str = "fs";
/// What the layer is, beside its files.
const ABOUT: &str = "layer.json";

#[derive(Clone, Debug)]
pub(super) struct Layer {
    number: u64,
    pub(super) size: u64,
}

#[derive(Serialize, Deserialize)]
struct About {
    diff_id: String,
    size: u64,
}

/// The bytes of a layer as they came, perhaps compressed, and what they must be.
pub(in crate::images) struct Content<R> {
    pub(in crate::images) bytes: R,
    pub(in crate::images) blob: Digest,
}

/// Keeps layers from being removed while an image is being made of them.
#[derive(Debug)]
pub(in crate::images) struct Hold {
    store: ImageStore,
    number: u64,
}

/// A folder in `work` that goes with its owner.
struct Workplace(PathBuf);

impl Layer {
    pub(super) fn folder(&self, dir: &Path) -> PathBuf {
        home(dir, self.number).join(FILES)
    }
}

impl ImageStore {
    /// From now on these layers stay, those that are there and those that are made.
    pub(in crate::images) fn hold(&self, diff_ids: Vec<Digest>) -> Hold {
        let mut state = self.state();
        let number = state.take_number();
        state.held.insert(number, diff_ids);
        drop(state);
        Hold { store: self.clone(), number }
    }

    pub(in crate::images) fn has_layer(&self, diff_id: &Digest) -> bool {
        self.state().layers.contains_key(diff_id)
    }

    /// Whoever has this lock makes the layer; others wait, and find it made.
    pub(in crate::images) fn layer_lock(&self, diff_id: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.inner.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = making.get(diff_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        making.insert(diff_id.clone(), Arc::downgrade(&lock));
        lock
    }

    /// Unpacks a layer, checks it, and makes it appear. Blocks, for long.
    pub(in crate::images) fn add_layer(
        &self,
        diff_id: &Digest,
        content: Content<impl Read>,
    ) -> Result<(), ImageStoreError> {
        let number = self.state().take_number();
        let dir = &self.inner.dir;
        let work = Workplace(dir.join(WORK).join(number.to_string()));
        let files = work.0.join(FILES);
        let fail = |source| ImageStoreError::Files { path: work.0.clone(), source };
        fs::create_dir(&work.0).and_then(|()| fs::create_dir(&files)).map_err(fail)?;
        // The root of a layer that does not speak of it.
        fs::set_permissions(&files, Permissions::from_mode(0o755)).map_err(fail)?;
        let size = unpack_checked(diff_id, content, &files)?;
        let about = About { diff_id: diff_id.as_str().to_owned(), size };
        let write = || -> io::Result<()> {
            fs::write(work.0.join(ABOUT), serde_json::to_vec(&about)?)?;
            Ok(nix::unistd::syncfs(File::open(&work.0)?)?)
        };
        write().map_err(fail)?;
        let mut state = self.state();
        // Work that was given up may end after all, when somebody else has done it again.
        if state.layers.contains_key(diff_id) {
            return Ok(());
        }
        fs::rename(&work.0, home(dir, number)).map_err(fail)?;
        state.layers.insert(diff_id.clone(), Layer { number, size });
        drop(state);
        File::open(dir.join(LAYERS)).and_then(|layers| layers.sync_all()).map_err(fail)
    }

    /// Removes every layer that no image uses and no work holds.
    pub(super) fn sweep(&self) -> Result<(), ImageStoreError> {
        let dir = &self.inner.dir;
        let mut state = self.state();
        let used: BTreeSet<Digest> =
            state.images.values().flat_map(|(record, _)| record.layers().flatten()).collect();
        let held: BTreeSet<Digest> = state.held.values().flatten().cloned().collect();
        let unused: Vec<Digest> = state
            .layers
            .keys()
            .filter(|diff_id| !used.contains(*diff_id) && !held.contains(*diff_id))
            .cloned()
            .collect();
        let mut gone = Vec::new();
        for diff_id in &unused {
            let Some(layer) = state.layers.remove(diff_id) else { continue };
            let from = home(dir, layer.number);
            let work = Workplace(dir.join(WORK).join(layer.number.to_string()));
            // Renamed under the lock, so that nobody who looks finds half of it; removed after it.
            let moved = fs::rename(&from, &work.0);
            gone.push(work);
            if let Err(source) = moved
                && source.kind() != io::ErrorKind::NotFound
            {
                state.layers.insert(diff_id.clone(), layer);
                return Err(ImageStoreError::Files { path: from, source });
            }
        }
        drop(state);
        gone.iter().try_for_each(Workplace::remove)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.store.state().held.remove(&self.number);
    }
}

impl Workplace {
    fn remove(&self) -> Result<(), ImageStoreError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| ImageStoreError::Files { path: self.0.clone(), source }),
        }
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What stays behind here goes when the store is opened again.
        let _kept = self.remove();
    }
}

fn unpack_checked(
    diff_id: &Digest,
    content: Content<impl Read>,
    files: &Path,
) -> Result<u64, ImageStoreError> {
    let fail = |source| ImageStoreError::Unpack { diff_id: diff_id.clone(), source };
    let limits = Limits::of(files).map_err(|error| fail(UnpackError::Folder(error)))?;
    let plain = Plain::of(Hashing::new(content.bytes)).map_err(|error| fail(UnpackError::Read(error)))?;
    let mut plain = Hashing::new(plain);
    let size = unpack::unpack(&mut plain, files, limits).map_err(fail)?;
    let (plain, found, _) = plain.finish();
    let packed = plain.drain().map_err(|error| fail(UnpackError::Read(error)))?;
    let (_, blob, _) = packed.finish();
    if blob != content.blob {
        return Err(ImageStoreError::WrongBlob { wanted: content.blob, found: blob });
    }
    if found != *diff_id {
        return Err(ImageStoreError::WrongLayer { wanted: diff_id.clone(), found });
    }
    Ok(size)
}

/// Makes the store's folders, and empties the one for work.
pub(super) fn prepare(dir: &Path) -> Result<(), ImageStoreError> {
    let make = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        // Layers hold programs that run as their owner, and device files.
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        match fs::remove_dir_all(dir.join(WORK)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(dir.join(WORK))?,
        }
        fs::create_dir_all(dir.join(LAYERS))
    };
    make().map_err(|source| ImageStoreError::Files { path: dir.to_owned(), source })
}

/// The layers that are there, and the highest number that one has. What is no layer is removed.
pub(super) fn scan(dir: &Path) -> Result<(BTreeMap<Digest, Layer>, u64), ImageStoreError> {
    let fail = |source| ImageStoreError::Files { path: dir.join(LAYERS), source };
    let mut layers = BTreeMap::new();
    let mut highest = 0;
    for entry in fs::read_dir(dir.join(LAYERS)).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number: Option<u64> = name.parse().ok();
        let about = fs::read(path.join(ABOUT)).ok();
        let about: Option<About> = about.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let known = number.zip(about).and_then(|(number, about)| {
            Some((Digest::parse(&about.diff_id)?, Layer { number, size: about.size }))
        });
        match known {
            Some((diff_id, layer)) if !layers.contains_key(&diff_id) => {
                highest = highest.max(layer.number);
                layers.insert(diff_id, layer);
            }
            _ => Workplace(path).remove()?,
        }
    }
    Ok((layers, highest))
}

fn home(dir: &Path, number: u64) -> PathBuf {
    dir.join(LAYERS).join(number.to_string())
}
