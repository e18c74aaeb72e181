//! Header blocks: names and values, compressed against a dictionary that both sides know, with one zlib
//! stream for all blocks of a direction.

use std::collections::BTreeMap;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::SpdyError;

/// Of the SPDY/3 draft, section 2.6.10.1.
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// A block that becomes larger than this is an attack.
const BLOCK_BYTES_MAX: usize = 64 * 1024;
const STEP_BYTES: usize = 4 * 1024;

/// Names in small letters. Several values of one name are joined by commas.
pub(crate) type Headers = BTreeMap<String, String>;

/// Reads the blocks of one direction, in order.
pub(super) struct HeaderReader(Decompress);

impl HeaderReader {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// After an error no further block can be read.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let plain = self.inflate(block)?;
        parse(&plain).ok_or(SpdyError::Malformed("a header block ends early"))
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let broken = SpdyError::Malformed("a header block is not compressed as it must be");
        let mut plain = Vec::with_capacity(STEP_BYTES);
        loop {
            let (read, written) = (self.0.total_in(), plain.len());
            let step = self.0.decompress_vec(input, &mut plain, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - read).unwrap_or(usize::MAX);
            input = input.get(taken..).unwrap_or_default();
            match step {
                Ok(Status::StreamEnd) => return Err(broken),
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    if self.0.set_dictionary(DICTIONARY).is_err() {
                        return Err(broken);
                    }
                    continue;
                }
                Err(_) => return Err(broken),
            }
            let full = plain.len() == plain.capacity();
            if input.is_empty() && !full {
                return Ok(plain);
            }
            if plain.len() > BLOCK_BYTES_MAX || (taken == 0 && plain.len() == written && !full) {
                return Err(broken);
            }
            plain.reserve(STEP_BYTES);
        }
    }
}

/// Writes the blocks of one direction, in order.
pub(super) struct HeaderWriter(Compress);

impl HeaderWriter {
    pub(super) fn new() -> Result<Self, SpdyError> {
        let mut compress = Compress::new(Compression::fast(), true);
        match compress.set_dictionary(DICTIONARY) {
            Ok(_) => Ok(Self(compress)),
            Err(_) => Err(SpdyError::Malformed("the dictionary does not fit")),
        }
    }

    /// Appends the compressed block to `out`.
    pub(super) fn write(&mut self, headers: &Headers, out: &mut Vec<u8>) -> Result<(), SpdyError> {
        let plain = plain(headers);
        let mut input = plain.as_slice();
        loop {
            out.reserve(STEP_BYTES);
            let read = self.0.total_in();
            if self.0.compress_vec(input, out, FlushCompress::Sync).is_err() {
                return Err(SpdyError::Malformed("headers cannot be compressed"));
            }
            let taken = usize::try_from(self.0.total_in() - read).unwrap_or(usize::MAX);
            input = input.get(taken..).unwrap_or_default();
            if input.is_empty() && out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

fn plain(headers: &Headers) -> Vec<u8> {
    let mut plain = Vec::new();
    let number = |plain: &mut Vec<u8>, length: usize| {
        plain.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    };
    number(&mut plain, headers.len());
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        number(&mut plain, text.len());
        plain.extend_from_slice(text.as_bytes());
    }
    plain
}

fn parse(mut plain: &[u8]) -> Option<Headers> {
    let mut headers = Headers::new();
    for _ in 0..number(&mut plain)? {
        let name = text(&mut plain)?.to_lowercase();
        // Several values are separated by NUL.
        let value = text(&mut plain)?.replace('\0', ",");
        headers.insert(name, value);
    }
    Some(headers)
}

fn number(plain: &mut &[u8]) -> Option<u32> {
    let (number, rest) = plain.split_first_chunk::<4>()?;
    *plain = rest;
    Some(u32::from_be_bytes(*number))
}

fn text(plain: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(number(plain)?).ok()?;
    let (text, rest) = plain.split_at_checked(length)?;
    *plain = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}
