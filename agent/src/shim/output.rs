//! What a container writes: into its log, and to those who are attached to it.
//!
//! The log has the format of the container runtime interface: time, stream, `F` for a whole line or `P` for a part
//! of one, text. The agent renames a file that is full, and has another begun.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::{Clock, Timestamp};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::protocol::Message;
use super::stdio::Source;
use crate::runtime::PIECES_WAITING_MAX;

/// Longer lines are logged in parts.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Which of its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    pub(super) fn message(self, data: Bytes) -> Message {
        match self {
            Self::Stdout => Message::Stdout(data),
            Self::Stderr => Message::Stderr(data),
        }
    }
}

/// Everything that one container writes.
pub(super) struct Outlet {
    path: PathBuf,
    log: Mutex<File>,
    listeners: Mutex<Vec<mpsc::Sender<Message>>>,
    clock: Arc<dyn Clock>,
}

impl Outlet {
    pub(super) fn open(path: PathBuf, clock: Arc<dyn Clock>) -> io::Result<Arc<Self>> {
        let log = Mutex::new(open_log(&path)?);
        Ok(Arc::new(Self { path, log, listeners: Mutex::default(), clock }))
    }

    /// Goes on in the file at the log's path, made if there is none.
    pub(super) fn reopen(&self) -> io::Result<()> {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = open_log(&self.path)?;
        Ok(())
    }

    /// What it writes from now on. The slowest listener sets the pace.
    pub(super) fn listen(&self) -> mpsc::Receiver<Message> {
        let (listener, heard) = mpsc::channel(PIECES_WAITING_MAX);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
        heard
    }

    /// Nobody hears anything any more.
    pub(super) fn close(&self) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes in all that `source` has, to its end.
    pub(super) async fn drain(&self, mut source: Source, stream: Stream) {
        let mut lines = Lines::new(stream);
        while let Some(data) = source.next().await {
            self.log(&lines.add(&data, self.clock.now()));
            self.tell(stream.message(data)).await;
        }
        self.log(&lines.finish(self.clock.now()));
    }

    fn log(&self, text: &[u8]) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.write_all(text) {
            tracing::warn!(%error, path = %self.path.display(), "cannot write a container's log");
        }
    }

    async fn tell(&self, what: Message) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in &listeners {
            let _left = listener.send(what.clone()).await;
        }
        if !listeners.is_empty() {
            self.listeners.lock().unwrap_or_else(PoisonError::into_inner).retain(|l| !l.is_closed());
        }
    }
}

/// Cuts what is written into lines, as the log has them. Pure.
struct Lines {
    stream: Stream,
    /// The beginning of a line.
    held: Vec<u8>,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        Self { stream, held: Vec::new() }
    }

    /// The log's lines that `data` ends.
    fn add(&mut self, data: &[u8], now: Timestamp) -> Vec<u8> {
        let mut text = Vec::with_capacity(data.len() + 64);
        let mut rest = data;
        while !rest.is_empty() {
            let room = LINE_BYTES_MAX - self.held.len();
            match rest.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.held.extend_from_slice(&rest[..end]);
                    rest = &rest[end + 1..];
                    self.put(&mut text, 'F', now);
                }
                None if rest.len() > room => {
                    self.held.extend_from_slice(&rest[..room]);
                    rest = &rest[room..];
                    self.put(&mut text, 'P', now);
                }
                None => {
                    self.held.extend_from_slice(rest);
                    break;
                }
            }
        }
        text
    }

    /// What was written after the last newline.
    fn finish(&mut self, now: Timestamp) -> Vec<u8> {
        let mut text = Vec::new();
        if !self.held.is_empty() {
            self.put(&mut text, 'P', now);
        }
        text
    }

    fn put(&mut self, text: &mut Vec<u8>, tag: char, now: Timestamp) {
        text.extend_from_slice(format!("{now} {} {tag} ", self.stream.name()).as_bytes());
        text.append(&mut self.held);
        text.push(b'\n');
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn check(pieces: &[&str], expected: &Expect) {
        let mut lines = Lines::new(Stream::Stdout);
        let mut text = Vec::new();
        for piece in pieces {
            text.extend(lines.add(piece.as_bytes(), NOW));
        }
        text.extend(lines.finish(NOW));
        expected.assert_eq(&String::from_utf8(text).unwrap());
    }

    #[test]
    fn a_line_is_logged_when_it_ends() {
        check(
            &["one\ntw", "o\n\nthree"],
            &expect![[r#"
                1970-01-01T00:00:00Z stdout F one
                1970-01-01T00:00:00Z stdout F two
                1970-01-01T00:00:00Z stdout F 
                1970-01-01T00:00:00Z stdout P three
            "#]],
        );
    }

    #[test]
    fn long_lines_come_in_parts_and_lose_nothing() {
        for length in [LINE_BYTES_MAX - 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 3 * LINE_BYTES_MAX] {
            let line = "x".repeat(length);
            let mut lines = Lines::new(Stream::Stderr);
            let mut text = lines.add(format!("{line}\nafter\n").as_bytes(), NOW);
            text.extend(lines.finish(NOW));
            let text = String::from_utf8(text).unwrap();
            let logged: Vec<&str> = text.lines().map(|l| l.splitn(4, ' ').nth(3).unwrap()).collect();
            let (last, parts) = logged.split_last().unwrap();
            assert_eq!((parts.concat(), *last), (line, "after"));
            assert!(text.lines().all(|l| l.len() <= LINE_BYTES_MAX + 64));
        }
    }
}
