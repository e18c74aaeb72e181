//! A fingerprint of everything that a simulation did: each packet, each step of a fault, each line of the history.
//!
//! Two runs of one seed must have the same; where they part is found by writing both out and comparing.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// What was done so far.
pub(super) struct Trace {
    hash: u64,
    text: String,
    out: Option<BufWriter<File>>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { hash: FNV_OFFSET, text: String::new(), out: None }
    }

    /// Also writes every record as a line of text.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn write_to(&mut self, path: &Path) -> io::Result<()> {
        self.out = Some(BufWriter::new(File::create(path)?));
        Ok(())
    }

    pub(super) fn record(&mut self, at: Duration, what: fmt::Arguments<'_>, bytes: &[u8]) {
        self.text.clear();
        // Writing to a string cannot fail.
        let _infallible = fmt::write(&mut self.text, format_args!("{at:?} {what}"));
        let text = std::mem::take(&mut self.text);
        self.mix(text.as_bytes());
        self.mix(bytes);
        if let Some(out) = &mut self.out {
            let _shortened = writeln!(out, "{text} {} bytes, {:016x}", bytes.len(), self.hash);
        }
        self.text = text;
    }

    /// FNV-1a over words of eight bytes.
    fn mix(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            self.hash = (self.hash ^ word).wrapping_mul(FNV_PRIME).rotate_left(23);
        }
        for byte in words.remainder() {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
        self.hash = (self.hash ^ bytes.len() as u64).wrapping_mul(FNV_PRIME);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(records: &[(u64, &str, &[u8])]) -> u64 {
        let mut trace = Trace::new();
        for (at, what, bytes) in records {
            trace.record(Duration::from_millis(*at), format_args!("{what}"), bytes);
        }
        trace.hash()
    }

    #[test]
    fn whatever_differs_shows() {
        let usual: &[(u64, &str, &[u8])] = &[(1, "n1 hears n2", b"0123456789"), (2, "n2 hears n1", b"")];
        assert_eq!(hash_of(usual), hash_of(usual));
        let others: [&[(u64, &str, &[u8])]; 4] = [
            &[(1, "n1 hears n2", b"0123456789"), (3, "n2 hears n1", b"")],
            &[(1, "n1 hears n2", b"0123456780"), (2, "n2 hears n1", b"")],
            &[(1, "n1 hears n2", b"1023456789"), (2, "n2 hears n1", b"")],
            &[(2, "n2 hears n1", b""), (1, "n1 hears n2", b"0123456789")],
        ];
        for other in others {
            assert_ne!(hash_of(usual), hash_of(other));
        }
    }
}
