//! One layer's tar stream, unpacked into a folder as overlayfs wants it. The stream is a stranger's.
//!
//! Nothing is written outside the folder, whatever names and links the stream holds: the kernel resolves every
//! path with the folder as its root. How much is written is limited. Blocks: callers are on a thread for that.

mod header;
mod reader;
mod sparse;
#[cfg(test)]
pub(super) mod tars;
#[cfg(test)]
mod tests;
mod tree;

use std::io::{self, Read};
use std::path::Path;

use thiserror::Error;

use reader::{Entry, Kind, Reader};
use tree::{Place, Tree};

/// What one layer may hold, unpacked.
const BYTES_MAX: u64 = 64 << 30;
const ENTRIES_MAX: u64 = 4 << 20;
/// How much of what is free on the disk one layer may take.
const DISK_PERCENT_MAX: u64 = 90;
/// Deeper folders could not be removed with the descriptors that a process has.
const DEPTH_MAX: usize = 255;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own notes, which hide nothing.
const WHITEOUT_NOTE: &[u8] = b".wh..wh.";

#[derive(Debug, Error)]
pub(crate) enum UnpackError {
    #[error("the archive is cut short")]
    CutShort,
    #[error("the archive is damaged: {0}")]
    Damaged(&'static str),
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    #[error("entry {path:?}: its path leaves the layer")]
    Leaves { path: String },
    #[error("entry {path:?}: more than {DEPTH_MAX} folders deep")]
    Deep { path: String },
    #[error("entry {path:?}: {kind} is not supported")]
    Unsupported { path: String, kind: String },
    #[error("entry {path:?}: the file {target:?} that it is a hard link to is not in the layer")]
    LinkTarget { path: String, target: String },
    #[error("entry {path:?}: cannot write it")]
    Write { path: String, source: io::Error },
    #[error("the layer has more than {0} entries")]
    Entries(u64),
    #[error("the layer is larger than {0} bytes when it is unpacked")]
    Large(u64),
    #[error("cannot write the layer's folder")]
    Folder(#[source] io::Error),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    bytes_max: u64,
    entries_max: u64,
}

impl Limits {
    /// For a layer in `folder`: of what is free on its disk, some must stay free.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let disk = nix::sys::statvfs::statvfs(folder)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        Ok(Self { bytes_max: BYTES_MAX.min(free / 100 * DISK_PERCENT_MAX), entries_max: ENTRIES_MAX })
    }
}

/// Unpacks all of `input` into the empty folder `folder`, and tells how many bytes its files have.
pub(crate) fn unpack(input: impl Read, folder: &Path, limits: Limits) -> Result<u64, UnpackError> {
    let tree = Tree::open(folder).map_err(UnpackError::Folder)?;
    // Headers and padding count, too: a stream without end must end.
    let mut reader = Reader::new(input, limits.bytes_max);
    let mut folders = Vec::new();
    let (mut bytes, mut entries) = (0_u64, 0_u64);
    while let Some(entry) = reader.next()? {
        entries += 1;
        bytes = bytes.saturating_add(entry.size);
        if entries > limits.entries_max {
            return Err(UnpackError::Entries(limits.entries_max));
        }
        if bytes > limits.bytes_max {
            return Err(UnpackError::Large(limits.bytes_max));
        }
        let is_folder = entry.kind == Kind::Directory;
        let Some(place) = apply(&tree, &entry, &mut reader)? else { continue };
        if is_folder {
            // What is written into it later would change its time.
            folders.push((entry.path, entry.modified));
        } else {
            place.set_time(entry.modified).map_err(|source| written(&entry.path, source))?;
        }
    }
    reader.drain()?;
    for (path, modified) in folders {
        // A later entry may have put something else there.
        if let Ok(place) = tree.find(&path) {
            place.set_time(modified).map_err(|source| written(&path, source))?;
        }
    }
    Ok(bytes)
}

/// Makes one entry; `None` when it makes nothing that has a time.
fn apply<'a, R: Read>(
    tree: &'a Tree,
    entry: &Entry,
    reader: &mut Reader<R>,
) -> Result<Option<Place<'a>>, UnpackError> {
    let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.starts_with(WHITEOUT) {
        whiteout(tree, entry, name)?;
        return Ok(None);
    }
    if entry.path.is_empty() && entry.kind != Kind::Directory {
        return Err(UnpackError::Damaged("the layer's root is no folder"));
    }
    let place = tree.place(&entry.path)?;
    let fail = |source| written(&entry.path, source);
    if entry.kind == Kind::HardLink {
        let source = tree.find(&entry.target).map_err(|error| match error {
            UnpackError::Write { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                UnpackError::LinkTarget { path: readable(&entry.path), target: readable(&entry.target) }
            }
            error => error,
        })?;
        if place.is_same(&source) {
            return Ok(None);
        }
        place.clear().map_err(fail)?;
        source.link_to(&place).map_err(fail)?;
        // It has the times, modes and owners of what it is linked to.
        return Ok(None);
    }
    let hid = if entry.kind == Kind::Directory { place.make_folder() } else { place.clear() };
    let hid = hid.map_err(fail)?;
    match entry.kind {
        Kind::Directory if hid == tree::Before::Whiteout => place.set_opaque().map_err(fail)?,
        Kind::Directory | Kind::HardLink => {}
        Kind::File => {
            let mut file = place.make_file().map_err(fail)?;
            reader.copy_content(entry, &mut file)?;
        }
        Kind::Symlink => place.make_symlink(&entry.target).map_err(fail)?,
        Kind::Character | Kind::Block | Kind::Fifo => {
            place.make_node(entry.kind, entry.device).map_err(fail)?;
        }
    }
    place.set_attributes(entry).map_err(fail)?;
    Ok(Some(place))
}

/// `.wh.name` hides `name` of the layers below, `.wh..wh..opq` all that they have in this folder.
fn whiteout(tree: &Tree, entry: &Entry, name: &[u8]) -> Result<(), UnpackError> {
    let folder = &entry.path[..entry.path.len() - name.len()];
    let fail = |source| written(&entry.path, source);
    if name == OPAQUE {
        return tree.folder(folder)?.set_opaque().map_err(fail);
    }
    if name.starts_with(WHITEOUT_NOTE) {
        return Ok(());
    }
    let hidden = &name[WHITEOUT.len()..];
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(UnpackError::Leaves { path: readable(&entry.path) });
    }
    tree.place(&[folder, hidden].concat())?.make_whiteout().map_err(fail)
}

fn written(path: &[u8], source: io::Error) -> UnpackError {
    UnpackError::Write { path: readable(path), source }
}

/// As an error shows it.
fn readable(path: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 200;
    String::from_utf8_lossy(path).chars().take(CHARACTERS_MAX).collect()
}
