//! Reads a tar entry by entry; every length is checked before it is believed, and none is allocated at once.
//!
//! Knows ustar, GNU's long names and sparse files, and pax. Global pax headers are skipped, as containerd does.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::header::{self, BLOCK, Header};
use super::sparse::{self, Piece};
use super::{UnpackError, readable, written};

/// Long names and pax headers: the longest path has 4 KiB, an attribute at most 64 KiB.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
const COPY_BYTES: usize = 128 << 10;
const XATTR: &[u8] = b"SCHILY.xattr.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Character,
    Block,
    Fifo,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// Without slashes at the ends; empty for the layer's own root.
    pub(super) path: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, u32),
    pub(super) device: (u64, u64),
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of the file, holes included.
    pub(super) size: u64,
    /// `None`: the content is stored as it is.
    pieces: Option<Vec<Piece>>,
}

/// What the headers before an entry's own say of it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    modified: Option<(i64, u32)>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: PaxSparse,
}

#[derive(Default)]
struct PaxSparse {
    major: Option<u32>,
    map: Option<Vec<Piece>>,
    size: Option<u64>,
}

pub(super) struct Reader<R> {
    input: Counted<R>,
    /// Of the current entry's content, not read yet.
    left: u64,
    padding: u64,
}

/// The rest of the current entry's content.
pub(super) struct Content<'a, R> {
    input: &'a mut Counted<R>,
    left: &'a mut u64,
}

/// Ends a stream that does not end.
struct Counted<R> {
    input: R,
    read: u64,
    read_max: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R, read_max: u64) -> Self {
        Self { input: Counted { input, read: 0, read_max }, left: 0, padding: 0 }
    }

    /// The next entry. What was not read of the last one's content is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(block) = self.block()? else { return Ok(None) };
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header(&block);
            header.check()?;
            match header.type_flag() {
                b'L' => extension.path = Some(name(self.extension(&header)?)),
                b'K' => extension.target = Some(name(self.extension(&header)?)),
                b'x' | b'X' => {
                    let records = self.extension(&header)?;
                    extension.take(&records)?;
                }
                b'g' => self.expect(header.size()?),
                _ => return self.entry(&header, extension).map(Some),
            }
        }
    }

    /// Reads to the end of the stream, so that all of it was counted and hashed.
    pub(super) fn drain(&mut self) -> Result<(), UnpackError> {
        io::copy(&mut self.input, &mut io::sink()).map(drop).map_err(read_failed)
    }

    /// Writes an entry's content where it belongs in `file`.
    pub(super) fn copy_content(&mut self, entry: &Entry, file: &mut File) -> Result<(), UnpackError> {
        let fail = |source| written(&entry.path, source);
        let mut content = self.content();
        let Some(pieces) = &entry.pieces else {
            return content.copy(entry.size, file, &entry.path);
        };
        for piece in pieces {
            file.seek(SeekFrom::Start(piece.offset)).map_err(fail)?;
            content.copy(piece.length, file, &entry.path)?;
        }
        file.set_len(entry.size).map_err(fail)
    }

    pub(super) fn content(&mut self) -> Content<'_, R> {
        Content { input: &mut self.input, left: &mut self.left }
    }

    fn entry(&mut self, header: &Header<'_>, extension: Extension) -> Result<Entry, UnpackError> {
        let path = extension.path.unwrap_or_else(|| header.path());
        let target = extension.target.unwrap_or_else(|| header.target());
        let flag = header.type_flag();
        let kind = match flag {
            // Before ustar, a folder was a file with a slash at its end.
            0 if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                let kind = format!("an entry of type {:?}", char::from(other));
                return Err(UnpackError::Unsupported { path: readable(&path), kind });
            }
        };
        let (uid, gid) = header.owner()?;
        let mut entry = Entry {
            path: clean(&path)?,
            target,
            kind,
            mode: header.mode()?,
            owner: (extension.uid.unwrap_or(uid), extension.gid.unwrap_or(gid)),
            modified: match extension.modified {
                Some(modified) => modified,
                None => (header.modified()?, 0),
            },
            device: match kind {
                Kind::Character | Kind::Block => header.device()?,
                _ => (0, 0),
            },
            attributes: extension.attributes,
            size: 0,
            pieces: None,
        };
        if kind != Kind::File {
            // Only files have content, whatever the size says.
            return Ok(entry);
        }
        let stored = match extension.size {
            Some(size) => size,
            None => header.size()?,
        };
        if flag == b'S' {
            let (pieces, size) = sparse::old(header.0, || self.block()?.ok_or(UnpackError::CutShort))?;
            (entry.size, entry.pieces) = (size, Some(pieces));
        }
        self.expect(stored);
        entry.size = if flag == b'S' { entry.size } else { stored };
        if let Some(size) = extension.sparse.size {
            let pieces = match extension.sparse.map {
                Some(map) => map,
                None if extension.sparse.major == Some(1) => sparse::leading(&mut self.content())?,
                None => {
                    let kind = "a sparse file of pax version 0.0".to_owned();
                    return Err(UnpackError::Unsupported { path: readable(&path), kind });
                }
            };
            (entry.size, entry.pieces) = (size, Some(pieces));
        }
        if let Some(pieces) = &entry.pieces {
            sparse::check(pieces, entry.size, self.left)?;
        }
        Ok(entry)
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip(&mut self) -> Result<(), UnpackError> {
        let wanted = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.input).take(wanted), &mut io::sink()).map_err(read_failed)?;
        (self.left, self.padding) = (0, 0);
        if skipped == wanted { Ok(()) } else { Err(UnpackError::CutShort) }
    }

    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, UnpackError> {
        let size = header.size()?;
        if size > EXTENSION_BYTES_MAX {
            return Err(UnpackError::Damaged("a long name or pax header is too long"));
        }
        self.expect(size);
        let mut bytes = Vec::new();
        let read = self.content().read_to_end(&mut bytes).map_err(read_failed)?;
        if read as u64 == size { Ok(bytes) } else { Err(UnpackError::CutShort) }
    }

    /// `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]).map_err(read_failed)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(UnpackError::CutShort),
                read => filled += read,
            }
        }
        Ok(Some(block))
    }
}

impl Extension {
    fn take(&mut self, records: &[u8]) -> Result<(), UnpackError> {
        for (key, value) in header::pax(records)? {
            match key {
                b"path" | b"GNU.sparse.name" => self.path = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(header::decimal(value)?),
                b"uid" => self.uid = Some(header::id(header::decimal(value)?)?),
                b"gid" => self.gid = Some(header::id(header::decimal(value)?)?),
                b"mtime" => self.modified = Some(header::time(value)?),
                b"GNU.sparse.major" => self.sparse.major = Some(header::decimal(value)?),
                b"GNU.sparse.map" => self.sparse.map = Some(sparse::listed(value)?),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    self.sparse.size = Some(header::decimal(value)?);
                }
                key => {
                    if let Some(attribute) = key.strip_prefix(XATTR) {
                        self.attributes.push((attribute.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Content<'_, R> {
    fn copy(&mut self, length: u64, file: &mut File, path: &[u8]) -> Result<(), UnpackError> {
        let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(length).unwrap_or(COPY_BYTES))];
        let mut left = length;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.read(&mut buffer[..wanted]).map_err(read_failed)?;
            if read == 0 {
                return Err(UnpackError::CutShort);
            }
            file.write_all(&buffer[..read]).map_err(|source| written(path, source))?;
            left -= read as u64;
        }
        Ok(())
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(*self.left).unwrap_or(usize::MAX));
        let read = self.input.read(&mut buffer[..wanted])?;
        *self.left -= read as u64;
        Ok(read)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        if self.read > self.read_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, TooLong(self.read_max)));
        }
        Ok(read)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the stream is longer than {0} bytes")]
struct TooLong(u64);

fn read_failed(error: io::Error) -> UnpackError {
    let too_long = error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>());
    match too_long {
        Some(TooLong(max)) => UnpackError::Large(*max),
        None if error.kind() == io::ErrorKind::UnexpectedEof => UnpackError::CutShort,
        None => UnpackError::Read(error),
    }
}

/// A long name ends with a zero.
fn name(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// The path below the layer's root: `./a//b/` and `/a/b` are `a/b`. What climbs out of the root is refused.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or_else(|| UnpackError::Leaves { path: readable(path) })?;
            }
            part if part.contains(&0) => return Err(UnpackError::Damaged("a path holds a zero")),
            part => parts.push(part),
        }
    }
    if parts.len() > super::DEPTH_MAX {
        return Err(UnpackError::Deep { path: readable(path) });
    }
    Ok(parts.join(&b'/'))
}
