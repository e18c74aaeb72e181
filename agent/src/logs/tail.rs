//! Finds where the last lines of a file begin, by reading backwards.

use std::io::{self, Read, Seek, SeekFrom};

const BLOCK: usize = 64 * 1024;

/// The offset at which the last `lines` lines begin; 0 when there are fewer. A last line without a newline
/// counts.
pub(super) fn start_of_last_lines(file: &mut (impl Read + Seek), lines: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let mut block = vec![0; BLOCK];
    let mut block_end = end;
    let mut newlines = 0;
    while block_end > 0 {
        let length = usize::try_from(block_end).unwrap_or(usize::MAX).min(BLOCK);
        let block_start = block_end - length as u64;
        file.seek(SeekFrom::Start(block_start))?;
        file.read_exact(&mut block[..length])?;
        for index in (0..length).rev().filter(|index| block[*index] == b'\n') {
            let after = block_start + index as u64 + 1;
            // The newline at the very end closes the last line, it does not begin one.
            if after == end {
                continue;
            }
            newlines += 1;
            if newlines == lines {
                return Ok(after);
            }
        }
        block_end = block_start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn tail(text: &str, lines: u64) -> String {
        let mut file = Cursor::new(text.as_bytes());
        let start = start_of_last_lines(&mut file, lines).expect("read");
        text[usize::try_from(start).expect("small")..].to_owned()
    }

    #[test]
    fn finds_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a\nb\n", 0), "");
        assert_eq!(tail("a\nb\n", 9), "a\nb\n");
        assert_eq!(tail("", 3), "");
        assert_eq!(tail("\n\n\n", 2), "\n\n");
    }

    #[test]
    fn lines_may_span_blocks() {
        let long = "x".repeat(BLOCK + 7);
        let text = format!("{long}\n{long}\n{long}\n");
        assert_eq!(tail(&text, 2).len(), 2 * (BLOCK + 8));
        assert_eq!(tail(&text, 3).len(), text.len());
    }
}
