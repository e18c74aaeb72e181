//! Writes a history while it happens: numbered, stamped, and in one order for all who record.
//!
//! A line is in memory when `record` returns and in the file at most [`FLUSH_MS`] later; whoever holds the last handle
//! writes the rest. A process that is killed leaves whole lines and perhaps a torn last one.

use std::fs::File;
use std::io::{self, Write as _};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Tasks;
use tokio::time::Instant;

use super::{Event, Line};

/// A line waits no longer than this for the disk.
const FLUSH_MS: u64 = 100;

/// With so much unwritten, whoever records writes it himself: memory is bounded when the disk is slow.
const PAGE_BYTES_MAX: usize = 32 << 20;

/// A handle to one history; clones write the same one, from any task.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// Begins a file, which must not exist. A task of `tasks` writes what was recorded until that set stops.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, tasks: &Tasks) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).open(path)?;
        let writer = Self::to(Sink::File(Mutex::new(file)), since_now());
        let (shared, stop) = (Arc::downgrade(&writer.shared), tasks.stop().clone());
        tasks.spawn("history", async move {
            while let Some(shared) = shared.upgrade() {
                if tokio::task::spawn_blocking(move || shared.write_out()).await.is_err() {
                    return Err(io::Error::other("the history's writer panicked"));
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(Duration::from_millis(FLUSH_MS)) => {}
                }
            }
            shared.upgrade().map_or(Ok(()), |shared| shared.failure().map_or(Ok(()), Err))
        });
        Ok(writer)
    }

    /// Keeps everything in memory, for tests and simulation; see [`Writer::lines`].
    pub fn in_memory() -> Self {
        Self::to(Sink::Memory, since_now())
    }

    /// In memory, with the time since the run began, in nanoseconds, told by `now`.
    pub fn in_memory_timed(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self::to(Sink::Memory, Box::new(now))
    }

    fn to(sink: Sink, now: Box<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self { shared: Arc::new(Shared { now, page: Mutex::default(), sink }) }
    }

    /// Adds a line, stamped now, and returns its number. The first must be `Event::Begin`.
    pub fn record(&self, process: u32, event: Event) -> u64 {
        let mut page = lock(&self.shared.page);
        // Hosts of a simulation may differ by a step; the file's order is what counts.
        page.last_at = page.last_at.max((self.shared.now)());
        let line = Line { at: page.last_at, process, event };
        let number = page.count;
        page.count += 1;
        match self.shared.sink {
            Sink::Memory => page.lines.push(line),
            Sink::File(_) => {
                if let Err(failure) = serde_json::to_writer(&mut page.bytes, &line) {
                    page.failure.get_or_insert_with(|| failure.into());
                }
                page.bytes.push(b'\n');
            }
        }
        let full = page.bytes.len() > PAGE_BYTES_MAX;
        drop(page);
        if full {
            self.shared.write_out();
        }
        number
    }

    /// Nanoseconds since the run began, as the next line would be stamped.
    pub fn now(&self) -> u64 {
        (self.shared.now)()
    }

    /// What was recorded so far, of a history in memory; nothing of one in a file.
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.shared.page).lines.clone()
    }

    /// Writes everything recorded so far to the disk, and syncs it. Call it at the end.
    ///
    /// # Errors
    /// The first write that failed since the beginning: the file is not the whole history.
    pub async fn sync(&self) -> io::Result<()> {
        let shared = self.shared.clone();
        let synced = tokio::task::spawn_blocking(move || shared.sync()).await;
        synced.unwrap_or_else(|_| Err(io::Error::other("the history's writer panicked")))
    }
}

struct Shared {
    now: Box<dyn Fn() -> u64 + Send + Sync>,
    page: Mutex<Page>,
    sink: Sink,
}

enum Sink {
    Memory,
    /// Locked before the page, so that pages land in order.
    File(Mutex<File>),
}

/// What is recorded and not written yet.
#[derive(Default)]
struct Page {
    count: u64,
    last_at: u64,
    bytes: Vec<u8>,
    lines: Vec<Line>,
    failure: Option<io::Error>,
}

impl Shared {
    fn write_out(&self) {
        let Sink::File(file) = &self.sink else { return };
        let mut file = lock(file);
        let bytes = mem::take(&mut lock(&self.page).bytes);
        if let Err(failure) = file.write_all(&bytes) {
            lock(&self.page).failure.get_or_insert(failure);
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.write_out();
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        match &self.sink {
            Sink::Memory => Ok(()),
            Sink::File(file) => lock(file).sync_all(),
        }
    }

    fn failure(&self) -> Option<io::Error> {
        let page = lock(&self.page);
        page.failure.as_ref().map(|failure| io::Error::new(failure.kind(), failure.to_string()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.write_out();
    }
}

fn since_now() -> Box<dyn Fn() -> u64 + Send + Sync> {
    let began = Instant::now();
    Box::new(move || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::history::{History, script};

    fn note(text: &str) -> Event {
        Event::Note { text: text.to_owned() }
    }

    #[tokio::test]
    async fn many_tasks_write_one_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let tasks = Tasks::new(CancellationToken::new());
        let writer = Writer::create(&path, &tasks).unwrap();
        assert_eq!(writer.record(0, script::begin()), 0);
        for process in 1..=8 {
            let writer = writer.clone();
            tasks.spawn_infallible("records", async move {
                for _ in 0..100 {
                    writer.record(process, note("here"));
                    tokio::task::yield_now().await;
                }
            });
        }
        let stop = tasks.stop().clone();
        let all = writer.clone();
        tasks.spawn_infallible("ends", async move {
            while all.shared.page.lock().unwrap().count < 801 {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        });
        tasks.join(Duration::from_secs(5)).await.unwrap();
        assert_eq!(writer.record(9, note("after the set stopped")), 801);
        writer.sync().await.unwrap();
        let history = History::read(&path).unwrap();
        assert_eq!(history.lines().len(), 802);
        assert!(history.lines().is_sorted_by_key(|line| line.at));
    }

    #[tokio::test]
    async fn a_line_reaches_the_file_by_itself_soon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let tasks = Tasks::new(CancellationToken::new());
        let writer = Writer::create(&path, &tasks).unwrap();
        writer.record(0, script::begin());
        tokio::time::timeout(Duration::from_secs(10), async {
            while std::fs::metadata(&path).unwrap().len() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn the_last_handle_writes_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let tasks = Tasks::new(CancellationToken::new());
        let writer = Writer::create(&path, &tasks).unwrap();
        tasks.stop().cancel();
        tasks.join(Duration::from_secs(5)).await.unwrap();
        writer.record(0, script::begin());
        drop(writer);
        assert_eq!(History::read(&path).unwrap().lines().len(), 1);
    }

    #[tokio::test]
    async fn memory_keeps_its_lines_and_the_time_it_is_told() {
        let writer = Writer::in_memory_timed(|| 7);
        writer.record(0, script::begin());
        assert_eq!(writer.lines()[0].at, 7);
        writer.sync().await.unwrap();
    }
}
