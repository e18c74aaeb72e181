//! Takes the compression off a layer: gzip, zstd or none, told apart by their first bytes.
//!
//! Media types are not asked: some registries name them wrongly, and a layer's digest is checked in any case.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BUFFER_BYTES: usize = 64 << 10;
/// What a frame may ask to be remembered, as zstd's own program refuses more without being told.
const WINDOW_BYTES_MAX: u64 = 128 << 20;

/// What comes out of a layer's bytes.
pub(super) enum Plain<R: Read> {
    Tar(Headed<R>),
    Gzip(Box<MultiGzDecoder<Headed<R>>>),
    Zstd(Box<Zstd<Headed<R>>>),
}

type Headed<R> = BufReader<io::Chain<Cursor<Vec<u8>>, R>>;

/// Frames of zstd, one after the other.
pub(super) struct Zstd<R> {
    input: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: Read> Plain<R> {
    pub(super) fn of(mut input: R) -> io::Result<Self> {
        let mut head = Vec::new();
        (&mut input).take(ZSTD.len() as u64).read_to_end(&mut head)?;
        let (is_gzip, is_zstd) = (head.starts_with(GZIP), head.starts_with(ZSTD));
        let input = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(input));
        Ok(if is_gzip {
            Self::Gzip(Box::new(MultiGzDecoder::new(input)))
        } else if is_zstd {
            Self::Zstd(Box::new(Zstd::new(input)))
        } else {
            Self::Tar(input)
        })
    }

    /// What it was made of, read to its end: a digest counts also what stands behind the compressed stream.
    pub(super) fn drain(self) -> io::Result<R> {
        let mut input = match self {
            Self::Tar(input) => input,
            Self::Gzip(gzip) => gzip.into_inner(),
            Self::Zstd(zstd) => zstd.input,
        };
        io::copy(&mut input, &mut io::sink())?;
        Ok(input.into_inner().into_inner().1)
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tar(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer),
            Self::Zstd(input) => input.read(buffer),
        }
    }
}

impl<R: io::BufRead> Zstd<R> {
    fn new(input: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self { input, decoder, in_frame: false }
    }

    /// Goes to the next frame that holds something; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut (&mut self.input).take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: io::BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.decoder.can_collect() > 0 || buffer.is_empty() {
                return self.decoder.read(buffer);
            }
            if self.in_frame && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.input, one).map_err(io::Error::other)?;
                continue;
            }
            self.in_frame = false;
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Plain::of(bytes)?;
        let mut out = Vec::new();
        plain.read_to_end(&mut out)?;
        assert_eq!(plain.drain()?.len(), 0);
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn each_compression_is_known_by_its_first_bytes() {
        let text = b"some text, some text, some text".repeat(1000);
        for packed in [text.clone(), gzip(&text), zstd(&text)] {
            assert_eq!(unpacked(&packed).unwrap(), text);
        }
        assert_eq!(unpacked(b"").unwrap(), b"");
        assert_eq!(unpacked(b"ab").unwrap(), b"ab");
    }

    #[test]
    fn members_and_frames_follow_each_other_and_notes_are_skipped() {
        assert_eq!(unpacked(&[gzip(b"one"), gzip(b"two")].concat()).unwrap(), b"onetwo");
        let note = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(unpacked(&[zstd(b"one"), note, zstd(b"two")].concat()).unwrap(), b"onetwo");
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let text = b"0123456789".repeat(500);
        for packed in [gzip(&text), zstd(&text)] {
            assert!(unpacked(&packed[..packed.len() - 9]).is_err());
        }
    }
}
