//! The log as openraft wants it: readable at once, durable a moment later, in one order with the vote.
//!
//! Entries go into a tail in memory and into the writer's queue. The writer turns whatever has queued up into one
//! synced write, off openraft's loop, and then reports it. A failed write is reported once and ends the process.

mod reader;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub(crate) use reader::LogReader;

use super::record;
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::disk::{LogDisk, LogWrite, aside};
use crate::metrics;

/// How many bytes of durable entries stay in memory for followers and for applying.
const TAIL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// About how many bytes of entries one replication message carries.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;
const PAGE_ENTRIES: u64 = 1024;
const QUEUE_MAX: usize = 8192;

/// The storage that openraft owns; cheap clones of it are the readers.
#[derive(Clone)]
pub(crate) struct LogStore {
    disk: Arc<dyn LogDisk>,
    state: Arc<Mutex<State>>,
    queue: mpsc::Sender<Queued>,
}

/// The other end of the queue. `run` it in a task of its own.
pub(crate) struct LogWriter {
    disk: Arc<dyn LogDisk>,
    state: Arc<Mutex<State>>,
    queue: mpsc::Receiver<Queued>,
    /// What the disk says is committed.
    noted: Option<LogId>,
}

struct State {
    vote: Option<Vote>,
    /// Written with whatever is written next: a start knows without it what to apply, once a leader is heard.
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    tail: Tail,
}

/// The newest entries, contiguous up to the last one. Everything that is not durable is in here.
#[derive(Default)]
struct Tail {
    entries: BTreeMap<u64, Entry>,
    sizes: VecDeque<(u64, usize)>,
    bytes: usize,
}

/// A job, and what was committed when it was queued: entries that were queued before.
struct Queued {
    job: Job,
    committed: Option<LogId>,
}

enum Job {
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    Append(Vec<Entry>, IOFlushed<TypeConfig>),
    TruncateFrom(u64),
    Purge(LogId),
}

/// Why the log's writer has ended. Whether the failed write reached the disk is unknown, so nothing may follow it.
#[derive(Debug, Error)]
#[error("cannot write the Raft log; make room or repair the disk, then start again")]
pub(crate) struct LogWriteError(#[source] io::Error);

/// Opens the log on `disk`.
pub(crate) fn open(disk: Arc<dyn LogDisk>) -> io::Result<(LogStore, LogWriter)> {
    let head = disk.load()?;
    let purged = head.purged.as_deref().map(record::decode_log_id).transpose()?;
    let last = head.last.as_deref().map(record::decode_entry).transpose()?.map(|entry| entry.log_id);
    let state = State {
        vote: head.vote.as_deref().map(record::decode_vote).transpose()?,
        committed: head.committed.as_deref().map(record::decode_log_id).transpose()?,
        last: last.max(purged),
        purged,
        tail: Tail::default(),
    };
    let noted = state.committed;
    let state = Arc::new(Mutex::new(state));
    let (queue, jobs) = mpsc::channel(QUEUE_MAX);
    let writer = LogWriter { disk: disk.clone(), state: state.clone(), queue: jobs, noted };
    Ok((LogStore { disk, state, queue }, writer))
}

impl LogStore {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_past_the_end(&self, index: u64) -> bool {
        self.lock().last.is_none_or(|last| index > last.index)
    }

    async fn enqueue(&self, job: Job) -> io::Result<()> {
        let committed = self.lock().committed;
        self.queue
            .send(Queued { job, committed })
            .await
            .map_err(|_| io::Error::other("the log's writer has stopped"))
    }

    /// Entries of `from..to`, at most about `bytes_max` bytes but at least one if there is one.
    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (from, to, tail_start, mut entries) = {
            let state = self.lock();
            let to = to.min(state.last.map_or(0, |last| last.index + 1));
            let from = from.max(state.purged.map_or(0, |purged| purged.index + 1));
            let tail_start = state.tail.entries.keys().next().copied().unwrap_or(u64::MAX);
            let entries: Vec<Entry> = if from.max(tail_start) < to {
                state.tail.entries.range(from.max(tail_start)..to).map(|(_, entry)| entry.clone()).collect()
            } else {
                Vec::new()
            };
            (from, to, tail_start, entries)
        };
        let disk_to = to.min(tail_start);
        if from < disk_to {
            let limited_to = if bytes_max == usize::MAX { disk_to } else { disk_to.min(from + PAGE_ENTRIES) };
            let mut older = self.read_disk(from, limited_to).await?;
            if limited_to == disk_to {
                older.append(&mut entries);
            }
            entries = older;
        }
        let mut bytes = 0;
        let keep = entries.iter().take_while(|entry| {
            let fits = bytes == 0 || bytes + size_of_entry(entry) <= bytes_max;
            bytes += size_of_entry(entry);
            fits
        });
        let keep = keep.count();
        entries.truncate(keep);
        Ok(entries)
    }

    async fn read_disk(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let disk = self.disk.clone();
        let read = move || -> io::Result<Vec<Entry>> {
            disk.entries(from, to)?.iter().map(|(_, entry)| record::decode_entry(entry)).collect()
        };
        aside(self.disk.waits(), read).await?
    }
}

fn size_of_entry(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => 64 + proposal.commands.bytes(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let pages = futures::stream::try_unfold((self.clone(), from), move |(store, next)| async move {
            if next >= to {
                return Ok(None);
            }
            let page = store.read(next, to.min(next.saturating_add(PAGE_ENTRIES)), READ_BYTES_MAX).await?;
            let after = match page.last() {
                Some(last) => last.log_id.index + 1,
                None if store.is_past_the_end(next) => return Ok(None),
                None => return Err(io::Error::new(io::ErrorKind::NotFound, "a log entry is missing")),
            };
            Ok::<_, io::Error>(Some((futures::stream::iter(page.into_iter().map(Ok)), (store, after))))
        });
        Box::pin(futures::TryStreamExt::try_flatten(pages))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, saved) = oneshot::channel();
        self.enqueue(Job::Vote(*vote, done)).await?;
        saved.await.map_err(|_| io::Error::other("the log's writer has stopped"))??;
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut state = self.lock();
            for entry in &entries {
                state.last = Some(entry.log_id);
                state.tail.push(entry.clone());
            }
        }
        self.enqueue(Job::Append(entries, callback)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |last| last.index + 1);
        {
            let mut state = self.lock();
            // Truncating above the end changes nothing.
            state.last = state.last.min(last_log_id).max(state.purged);
            state.tail.truncate_from(from);
        }
        self.enqueue(Job::TruncateFrom(from)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        {
            let mut state = self.lock();
            state.purged = state.purged.max(Some(log_id));
            state.last = state.last.max(Some(log_id));
            state.tail.drop_to(log_id.index);
        }
        self.enqueue(Job::Purge(log_id)).await
    }
}

impl Tail {
    fn push(&mut self, entry: Entry) {
        let (index, size) = (entry.log_id.index, size_of_entry(&entry));
        self.entries.insert(index, entry);
        self.sizes.push_back((index, size));
        self.bytes += size;
    }

    fn truncate_from(&mut self, from: u64) {
        self.entries.split_off(&from);
        while let Some((_, size)) = self.sizes.pop_back_if(|(index, _)| *index >= from) {
            self.bytes -= size;
        }
    }

    fn drop_to(&mut self, index: u64) {
        while let Some((dropped, size)) = self.sizes.pop_front_if(|(at, _)| *at <= index) {
            self.entries.remove(&dropped);
            self.bytes -= size;
        }
    }

    /// Forgets the oldest durable entries while the tail is too large.
    fn shrink(&mut self, durable: u64) {
        while self.bytes > TAIL_BYTES_MAX {
            let Some((index, size)) = self.sizes.pop_front_if(|(index, _)| *index <= durable) else { return };
            self.entries.remove(&index);
            self.bytes -= size;
        }
    }
}

impl LogWriter {
    /// Writes until every [`LogStore`] is gone. A disk that waits gets a thread of its own, so that no batch waits for
    /// one.
    ///
    /// # Errors
    /// The first write that failed.
    pub(crate) async fn run(mut self) -> Result<(), LogWriteError> {
        if !self.disk.waits() {
            let mut jobs = Vec::new();
            while self.queue.recv_many(&mut jobs, QUEUE_MAX).await > 0 {
                let batch = self.batch(&mut jobs);
                let mut written = self.disk.write(&batch.writes);
                if written.is_ok() {
                    written = self.disk.settled().await;
                }
                self.report(batch, written)?;
            }
            return self.finish();
        }
        let writing = tokio::task::spawn_blocking(move || {
            let mut jobs = Vec::new();
            while self.queue.blocking_recv_many(&mut jobs, QUEUE_MAX) > 0 {
                self.write(&mut jobs)?;
            }
            self.finish()
        });
        writing.await.map_err(|error| LogWriteError(io::Error::other(error)))?
    }

    fn write(&mut self, jobs: &mut Vec<Queued>) -> Result<(), LogWriteError> {
        let batch = self.batch(jobs);
        let started = tokio::time::Instant::now();
        let result = self.disk.write(&batch.writes);
        metrics::observe_log_sync(started.elapsed());
        self.report(batch, result)
    }

    fn batch(&mut self, jobs: &mut Vec<Queued>) -> Batch {
        let committed = jobs.last().map(|last| last.committed);
        let mut batch = Batch::of(jobs);
        batch.writes.extend(committed.and_then(|committed| self.note(committed)));
        batch
    }

    /// Tells everybody what became of a batch.
    fn report(&self, batch: Batch, result: io::Result<()>) -> Result<(), LogWriteError> {
        for done in batch.votes {
            let _ = done.send(copy(&result));
        }
        for callback in batch.appends {
            callback.io_completed(copy(&result));
        }
        result.map_err(LogWriteError)?;
        if let Some(durable) = batch.last_appended {
            self.lock().tail.shrink(durable);
        }
        Ok(())
    }

    /// Everything that was queued is written.
    fn finish(&mut self) -> Result<(), LogWriteError> {
        let committed = self.lock().committed;
        let Some(note) = self.note(committed) else { return Ok(()) };
        self.disk.write(&[note]).map_err(LogWriteError)
    }

    /// `None`: the disk says so already.
    fn note(&mut self, committed: Option<LogId>) -> Option<LogWrite> {
        let known = std::mem::replace(&mut self.noted, committed);
        (known != committed).then(|| LogWrite::Committed(committed.as_ref().map(record::encode_log_id)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Jobs that become one write, and whom to tell about it.
struct Batch {
    writes: Vec<LogWrite>,
    votes: Vec<oneshot::Sender<io::Result<()>>>,
    appends: Vec<IOFlushed<TypeConfig>>,
    last_appended: Option<u64>,
}

impl Batch {
    fn of(jobs: &mut Vec<Queued>) -> Self {
        let mut batch =
            Self { writes: Vec::new(), votes: Vec::new(), appends: Vec::new(), last_appended: None };
        for queued in jobs.drain(..) {
            match queued.job {
                Job::Vote(vote, done) => {
                    batch.writes.push(LogWrite::Vote(record::encode_vote(&vote)));
                    batch.votes.push(done);
                }
                Job::Append(entries, callback) => {
                    batch.writes.extend(entries.iter().map(|entry| LogWrite::Entry {
                        index: entry.log_id.index,
                        entry: record::encode_entry(entry),
                    }));
                    batch.last_appended =
                        entries.last().map(|entry| entry.log_id.index).or(batch.last_appended);
                    batch.appends.push(callback);
                }
                Job::TruncateFrom(from) => batch.writes.push(LogWrite::TruncateFrom(from)),
                Job::Purge(id) => {
                    batch.writes.push(LogWrite::PurgeTo { index: id.index, id: record::encode_log_id(&id) })
                }
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests;
