//! A copy of the whole state as one file: what the Snapshot call streams, and what a new cluster is restored from.
//!
//! ```text
//! NAVARCHS | be32 length | manifest | be32 CRC-32 of the manifest | the files, one after the other
//!          | zeros up to a multiple of 512 bytes | SHA-256 of all before
//! ```
//! etcdctl takes a file for complete by its length, a multiple of bolt's smallest page and a hash.
//! The manifest names every file with its size and CRC-32. Nothing here is bolt: etcd's own tools cannot read it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::disk::{Frozen, codec, files};
use crate::raft::peers::SnapshotFile;

const MAGIC: &[u8; 8] = b"NAVARCHS";
const HASH_BYTES: usize = 32;
const PAGE_BYTES: u64 = 512;
/// More than any manifest takes; keeps a corrupt length from asking for all memory.
const MANIFEST_BYTES_MAX: u32 = 64 * 1024 * 1024;
const CHUNK_BYTES: usize = 256 * 1024;
/// The file that holds the rows of a state without files.
const INLINE: &str = "rows";

/// What an archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) cluster_id: u64,
    /// The name of the member that made it.
    pub(crate) member: String,
    /// When, in milliseconds since 1970.
    pub(crate) time_ms: i64,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// The state hash of the revision.
    pub(crate) hash: u32,
    files: Vec<FileRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileRecord {
    name: String,
    size: u64,
    crc32: u32,
}

impl Manifest {
    /// About this copy, its files not listed yet.
    pub(crate) fn new(cluster_id: u64, member: String, time_ms: i64) -> Self {
        Self { cluster_id, member, time_ms, revision: 0, compacted: 0, hash: 0, files: Vec::new() }
    }

    pub(crate) fn files(&self) -> Vec<SnapshotFile> {
        let file =
            |file: &FileRecord| SnapshotFile { name: file.name.clone(), size: file.size, crc32: file.crc32 };
        self.files.iter().map(file).collect()
    }

    pub(crate) fn is_inline(&self) -> bool {
        matches!(&self.files[..], [file] if file.name == INLINE)
    }

    fn encode(&self) -> io::Result<Bytes> {
        let manifest = codec::encode(self);
        let length = u32::try_from(manifest.len()).map_err(io::Error::other)?;
        let mut out = BytesMut::with_capacity(manifest.len() + 16);
        out.put_slice(MAGIC);
        out.put_u32(length);
        out.put_slice(&manifest);
        out.put_u32(crc32fast::hash(&manifest));
        Ok(out.freeze())
    }
}

/// An archive on its way out, piece by piece. Holds the copy until it is dropped.
pub(crate) struct Outgoing {
    _copy: Frozen,
    pieces: VecDeque<Piece>,
    open: Option<(File, u64)>,
    /// Without the hash at the end.
    remaining: u64,
    hash: Sha256,
    ended: bool,
}

enum Piece {
    Bytes(Bytes),
    File { path: PathBuf, size: u64 },
}

/// A piece of an archive, and how many bytes follow it, the hash at the end not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) remaining: u64,
}

impl Outgoing {
    /// Reads every file once, for its checksum.
    pub(crate) fn new(copy: Frozen, mut manifest: Manifest) -> io::Result<Self> {
        let listed = files::list(&copy.dir)?;
        let record =
            |file: &SnapshotFile| FileRecord { name: file.name.clone(), size: file.size, crc32: file.crc32 };
        manifest.files = listed.iter().map(record).collect();
        let mut pieces = VecDeque::new();
        if listed.is_empty() {
            let (size, crc32) = (copy.inline.len() as u64, crc32fast::hash(&copy.inline));
            manifest.files.push(FileRecord { name: INLINE.to_owned(), size, crc32 });
            pieces.push_back(Piece::Bytes(copy.inline.clone()));
        }
        pieces.extend(
            listed.iter().map(|file| Piece::File { path: copy.dir.join(&file.name), size: file.size }),
        );
        let head = manifest.encode()?;
        let content = head.len() as u64 + manifest.files.iter().map(|file| file.size).sum::<u64>();
        let padding = padding(content);
        let remaining = content + padding.len() as u64;
        pieces.push_front(Piece::Bytes(head));
        pieces.push_back(Piece::Bytes(padding));
        Ok(Self { _copy: copy, pieces, open: None, remaining, hash: Sha256::new(), ended: false })
    }

    /// The next piece; the last one is the hash. `None`: that was all. Reads the disk.
    pub(crate) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let Some(bytes) = self.read()? else {
            if self.ended {
                return Ok(None);
            }
            self.ended = true;
            let hash = self.hash.finalize_reset();
            return Ok(Some(Chunk { bytes: Bytes::copy_from_slice(&hash), remaining: 0 }));
        };
        self.hash.update(&bytes);
        self.remaining -= bytes.len() as u64;
        Ok(Some(Chunk { bytes, remaining: self.remaining }))
    }

    fn read(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some((file, left)) = &mut self.open {
                if *left > 0 {
                    let wanted = usize::try_from(*left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
                    let mut buffer = vec![0; wanted];
                    file.read_exact(&mut buffer)?;
                    *left -= wanted as u64;
                    return Ok(Some(buffer.into()));
                }
                self.open = None;
            }
            match self.pieces.pop_front() {
                None => return Ok(None),
                Some(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Piece::Bytes(mut bytes)) => {
                    let first = bytes.split_to(bytes.len().min(CHUNK_BYTES));
                    self.pieces.push_front(Piece::Bytes(bytes));
                    return Ok(Some(first));
                }
                Some(Piece::File { path, size }) => self.open = Some((File::open(path)?, size)),
            }
        }
    }
}

/// An archive that is read, from its start to the hash at its end.
pub(crate) struct Incoming {
    file: File,
    pub(crate) manifest: Manifest,
    hash: Sha256,
    /// How many bytes were read.
    read: u64,
}

impl Incoming {
    /// # Errors
    /// `InvalidData` when it is not an archive.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut head = [0; 12];
        file.read_exact(&mut head).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => invalid("it is too short to be a snapshot of this store"),
            _ => error,
        })?;
        let (magic, length) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(invalid("it is not a snapshot of this store (etcd's own are not)"));
        }
        let length = u32::from_be_bytes(<[u8; 4]>::try_from(length).map_err(io::Error::other)?);
        if length > MANIFEST_BYTES_MAX {
            return Err(invalid("its manifest has an impossible length"));
        }
        let mut manifest = vec![0; length as usize];
        file.read_exact(&mut manifest).map_err(cut)?;
        let mut crc32 = [0; 4];
        file.read_exact(&mut crc32).map_err(cut)?;
        if crc32fast::hash(&manifest) != u32::from_be_bytes(crc32) {
            return Err(invalid("its manifest is corrupt"));
        }
        let mut hash = Sha256::new();
        hash.update(head);
        hash.update(&manifest);
        hash.update(crc32);
        let manifest: Manifest = codec::decode(&manifest)?;
        if manifest.files.iter().any(|file| !is_safe(&file.name)) {
            return Err(invalid("a file in it has an unsafe name"));
        }
        let read = (head.len() + crc32.len()) as u64 + u64::from(length);
        Ok(Self { file, manifest, hash, read })
    }

    /// Hands every byte of every file to `write`, checks all sums, and returns the hash at the end.
    pub(crate) fn unpack(
        mut self,
        mut write: impl FnMut(&str, &[u8]) -> io::Result<()>,
    ) -> io::Result<[u8; HASH_BYTES]> {
        let mut buffer = vec![0; CHUNK_BYTES];
        for record in &self.manifest.files {
            let mut crc32 = crc32fast::Hasher::new();
            let mut left = record.size;
            write(&record.name, &[])?;
            while left > 0 {
                let wanted = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
                let piece = &mut buffer[..wanted];
                self.file.read_exact(piece).map_err(cut)?;
                self.hash.update(&*piece);
                crc32.update(piece);
                write(&record.name, piece)?;
                left -= wanted as u64;
            }
            if crc32.finalize() != record.crc32 {
                return Err(invalid("a file in it is corrupt"));
            }
            self.read += record.size;
        }
        let mut zeros = vec![0; padding(self.read).len()];
        self.file.read_exact(&mut zeros).map_err(cut)?;
        self.hash.update(&zeros);
        let mut told = [0; HASH_BYTES];
        self.file.read_exact(&mut told).map_err(cut)?;
        if self.file.read(&mut buffer)? > 0 {
            return Err(invalid("something follows its end"));
        }
        if self.hash.finalize()[..] != told {
            return Err(invalid("its SHA-256 is wrong"));
        }
        Ok(told)
    }
}

/// Writes the files of an archive into a directory, each synced when the next begins.
pub(crate) struct Unpacking<'a> {
    dir: &'a Path,
    current: Option<(String, File)>,
}

impl<'a> Unpacking<'a> {
    pub(crate) fn into_dir(dir: &'a Path) -> Self {
        Self { dir, current: None }
    }

    pub(crate) fn write(&mut self, name: &str, piece: &[u8]) -> io::Result<()> {
        if self.current.as_ref().is_none_or(|(current, _)| current != name) {
            self.finish()?;
            self.current = Some((name.to_owned(), File::create(self.dir.join(name))?));
        }
        match &mut self.current {
            Some((_, file)) => file.write_all(piece),
            None => Ok(()),
        }
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some((_, file)) = self.current.take() else { return Ok(()) };
        file.sync_all()?;
        files::sync_dir(self.dir)
    }
}

/// The zeros that follow so many bytes.
fn padding(bytes: u64) -> Bytes {
    let length = bytes.next_multiple_of(PAGE_BYTES) - bytes;
    vec![0; usize::try_from(length).unwrap_or(0)].into()
}

fn is_safe(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("it is cut short"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let copy = Frozen {
            dir: PathBuf::new(),
            inline: Bytes::from(vec![7; CHUNK_BYTES + 10]),
            applied: None,
            hold: None,
        };
        let mut outgoing = Outgoing::new(copy, Manifest::new(1, "a".to_owned(), 5)).expect("it is in memory");
        let total = outgoing.remaining;
        let mut all = Vec::new();
        while let Some(chunk) = outgoing.next().expect("it is in memory") {
            all.extend_from_slice(&chunk.bytes);
            let told = total - all.len().min(total as usize) as u64;
            assert_eq!(chunk.remaining, told, "it says what follows");
        }
        assert_eq!(all.len() as u64, total + HASH_BYTES as u64);
        all
    }

    fn read(bytes: &[u8]) -> Result<(Manifest, Vec<u8>), String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("it is written");
        let incoming = Incoming::open(file.path()).map_err(|error| error.to_string())?;
        let (manifest, mut content) = (incoming.manifest.clone(), Vec::new());
        let unpacked = incoming.unpack(|_, piece| {
            content.extend_from_slice(piece);
            Ok(())
        });
        unpacked.map_err(|error| error.to_string())?;
        Ok((manifest, content))
    }

    #[test]
    fn what_goes_out_comes_in() {
        let (manifest, content) = read(&archive()).expect("a sound archive");
        assert_eq!((manifest.member.as_str(), manifest.time_ms), ("a", 5));
        assert!(manifest.is_inline());
        assert_eq!(content, vec![7; CHUNK_BYTES + 10]);
    }

    #[test]
    fn no_damage_passes() {
        let sound = archive();
        for at in [0, 9, 20, sound.len() / 2, sound.len() - 1] {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            read(&damaged).expect_err("a changed byte");
            read(&sound[..at]).expect_err("a cut");
        }
        assert_eq!(read(&[&sound[..], b"x"].concat()).err().as_deref(), Some("something follows its end"));
        let bolt = read(&[0; 4096]).err();
        assert_eq!(bolt.as_deref(), Some("it is not a snapshot of this store (etcd's own are not)"));
    }
}
