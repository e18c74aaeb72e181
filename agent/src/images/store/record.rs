//! What `images.json` says of each image, and how it is replaced: as a whole, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ImageStoreError, WORK};
use crate::images::digest::Digest;
use crate::images::documents::ImageConfig;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::images) struct Record {
    pub(in crate::images) id: String,
    pub(in crate::images) names: Vec<String>,
    pub(in crate::images) digests: Vec<String>,
    pub(in crate::images) config: ImageConfig,
    /// Lowest first.
    pub(in crate::images) diff_ids: Vec<String>,
}

impl Record {
    /// `None` for what is no digest.
    pub(super) fn layers(&self) -> impl Iterator<Item = Option<Digest>> {
        self.diff_ids.iter().map(|text| Digest::parse(text))
    }
}

/// A name means the newest image that was given it; an image that was there keeps what it had.
pub(super) fn add(records: &mut Vec<Record>, mut new: Record) {
    for record in records.iter_mut() {
        record.names.retain(|name| !new.names.contains(name));
        record.digests.retain(|digest| !new.digests.contains(digest));
    }
    if let Some(at) = records.iter().position(|record| record.id == new.id) {
        let old = records.remove(at);
        new.names.extend(old.names);
        new.digests.extend(old.digests);
    }
    records.push(new);
}

pub(super) fn read(path: &Path) -> Result<Vec<Record>, ImageStoreError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|source| ImageStoreError::List { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(ImageStoreError::Files { path: path.to_owned(), source }),
    }
}

/// Writes the list beside, to the disk, and renames it.
pub(super) fn write(dir: &Path, name: &str, records: &[Record]) -> Result<(), ImageStoreError> {
    let beside = dir.join(WORK).join(name);
    let replace = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(records)?)?;
        file.sync_all()?;
        fs::rename(&beside, dir.join(name))?;
        File::open(dir)?.sync_all()
    };
    replace().map_err(|source| ImageStoreError::Files { path: dir.join(name), source })
}
