//! Log lines on their way out: nobody who logs waits for whoever reads. What does not fit is counted, and the count is told.
//!
//! A terminal, a pipe or a journal that stands still would otherwise stop every thread that has something to say, reads
//! of the store included (etcd issue 22214).

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait.
const WAITING_MAX: usize = 4096;
/// How long the end of the process waits for what was said last.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Gives each event a buffer that becomes a line.
#[derive(Clone)]
pub(super) struct Lines {
    waiting: Arc<Mutex<Option<SyncSender<Vec<u8>>>>>,
    lost: Arc<AtomicU64>,
}

/// While this is there lines are written; dropping it waits for those that wait, but not for ever.
pub(crate) struct LastWords {
    waiting: Arc<Mutex<Option<SyncSender<Vec<u8>>>>>,
    written: Receiver<()>,
}

impl Lines {
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<(Self, LastWords)> {
        let (waiting, lines) = sync_channel(WAITING_MAX);
        let (done, written) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            write_all(&lines, &counted, out);
            // Nobody waits any more when the process has been told to end twice.
            let _unheard = done.send(());
        })?;
        let waiting = Arc::new(Mutex::new(Some(waiting)));
        Ok((Self { waiting: waiting.clone(), lost }, LastWords { waiting, written }))
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, lost: &AtomicU64, mut out: impl Write) {
    while let Ok(line) = lines.recv() {
        // A log that cannot be written has nowhere to say so.
        let _unwritten = out.write_all(&line);
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _unwritten =
                writeln!(out, "{count} lines of the log are missing here: nobody took them in time");
        }
    }
    let _unflushed = out.flush();
}

impl Drop for LastWords {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        match self.written.recv_timeout(LAST_WORDS_MAX) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// One event. It goes on its way when it is dropped.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, text: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        let waiting = self.lines.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = waiting.as_ref().map(|waiting| waiting.try_send(text));
        match sent {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                self.lines.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Takes lines only when it is let.
    struct Sink {
        gate: Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Whoever has gone holds up nothing.
            let _gone = self.gate.recv();
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(lines: &Lines, text: &str) {
        lines.make_writer().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_sink_that_stands_still_stops_nobody_and_what_is_missing_is_counted() {
        let (go_on, gate) = sync_channel(0);
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (lines, last_words) = Lines::to(Sink { gate, taken: taken.clone() }).unwrap();
        let began = Instant::now();
        for number in 0..WAITING_MAX + 500 {
            say(&lines, &format!("line {number}\n"));
        }
        assert!(began.elapsed() < Duration::from_secs(5), "nobody waits");
        drop(go_on);
        drop(last_words);
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("line 0\n"), "{}", &text[..50]);
        let missing = text.lines().find_map(|line| {
            line.strip_suffix(" lines of the log are missing here: nobody took them in time")
        });
        let missing: usize = missing.expect("it says so").parse().unwrap();
        let lines = text.lines().filter(|line| line.starts_with("line ")).count();
        assert_eq!(lines + missing, WAITING_MAX + 500);
    }

    #[test]
    fn a_process_that_ends_waits_for_its_last_words_but_not_for_ever() {
        let (_hold, gate) = sync_channel(0);
        let (lines, last_words) = Lines::to(Sink { gate, taken: Arc::default() }).unwrap();
        say(&lines, "nobody takes this");
        let began = Instant::now();
        drop(last_words);
        assert!(began.elapsed() < 3 * LAST_WORDS_MAX);
        say(&lines, "too late");
    }
}
