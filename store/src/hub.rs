//! The watch hub: one ring of recent revisions, and the readers that pull from it.
//!
//! Applying appends to the ring and goes on; it never waits for a reader and looks at none. A task of its own finds out
//! whom the new revisions concern, and wakes only those. A reader is a cursor: when it falls behind the ring it reads
//! the past from the disk, in its own task. A slow reader costs its cursor and nothing else (`design/0008-watch.md`).

mod made;
mod reader;
mod spans;
mod watcher;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Revision;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) use made::{Made, Piece};
pub(crate) use reader::{Found, News, Reader};
pub use watcher::Watcher;

use crate::mvcc::request::Event;
use crate::mvcc::span::Span;
use spans::Spans;

/// How many revisions are distributed, or taken from the ring, at once.
const TAKE_MAX: usize = 1024;
/// How much a reader takes from the ring at once.
const TAKE_BYTES_MAX: usize = 1024 * 1024;
/// How many readers read the disk at a time, so that a thousand that come back do not starve everybody else.
const DISK_READERS_MAX: usize = 4;
/// About what it costs, all told, to send a response to a woken reader. After a round the distributor rests as long:
/// while hundreds watch the same keys, events are sent in batches; a few readers hear of each event at once.
const WOKEN_COST: Duration = Duration::from_micros(10);
const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(5);

/// A reader that waits, in `Line::woken`.
const PARKED: i64 = 0;
/// A reader that is at work and will look by itself.
const AWAKE: i64 = -1;

pub(crate) struct Hub {
    ring: Mutex<Ring>,
    interest: Mutex<Interest>,
    bell: Notify,
    /// Applied here, and readable.
    published: AtomicI64,
    /// What readers may take. Set before the round that wakes them, so that one that parks meanwhile sees it.
    visible: AtomicI64,
    /// Everyone concerned by a revision up to this one has been woken.
    matched: AtomicI64,
    closed: AtomicBool,
    next_line: AtomicU64,
    disk_readers: Semaphore,
}

/// The newest revisions, contiguous, bounded by bytes.
struct Ring {
    /// The revision of the first batch; of the next one while the ring is empty.
    first: Revision,
    batches: VecDeque<(Arc<Made>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

/// Who wants to hear of what.
#[derive(Default)]
struct Interest {
    lines: BTreeMap<u64, Arc<Line>>,
    spans: Spans<Party>,
    /// Readers that want to know when a revision is behind them.
    asked: Vec<(Revision, Arc<Line>)>,
    round: u64,
}

/// The readers of one span, each with how many of its watches it has there.
#[derive(Default)]
struct Party {
    lines: BTreeMap<u64, (Arc<Line>, usize)>,
    /// The last round in which they were woken: once is enough.
    woken_in: Cell<u64>,
}

/// Where a reader is woken.
pub(crate) struct Line {
    id: u64,
    /// [`PARKED`], [`AWAKE`], or the first revision since it parked that concerns it.
    woken: AtomicI64,
    /// Has to begin anew.
    ended: AtomicBool,
    notify: Notify,
}

impl Line {
    fn wake(&self, at: Revision) -> bool {
        let woken = self.woken.compare_exchange(PARKED, at.get(), Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if woken {
            self.notify.notify_one();
        }
        woken
    }
}

impl Hub {
    /// `newest` is what is applied already.
    pub(crate) fn new(newest: Revision, bytes_max: usize) -> Self {
        let at = || AtomicI64::new(newest.get());
        Self {
            ring: Mutex::new(Ring { first: newest.next(), batches: VecDeque::new(), bytes: 0, bytes_max }),
            interest: Mutex::new(Interest::default()),
            bell: Notify::new(),
            published: at(),
            visible: at(),
            matched: at(),
            closed: AtomicBool::new(false),
            next_line: AtomicU64::new(0),
            disk_readers: Semaphore::new(DISK_READERS_MAX),
        }
    }

    /// Adds the revision after the newest one. Nobody sees it before it is published.
    pub(crate) fn push(&self, revision: Revision, events: Vec<Arc<Event>>) {
        self.ring().push(Made::new(revision, events));
    }

    /// Everything up to `newest` is readable on this node.
    pub(crate) fn publish(&self, newest: Revision) {
        if self.published.swap(newest.get(), Ordering::SeqCst) != newest.get() {
            self.bell.notify_one();
        }
    }

    /// The state was replaced. What happened in between can only be read from the disk; and whoever has heard of more
    /// than the new state knows has been told of what never was, and must begin anew.
    pub(crate) fn restart(&self, newest: Revision) {
        self.ring().clear(newest.next());
        if newest < self.published() {
            let interest = self.interest();
            for at in [&self.published, &self.visible, &self.matched] {
                at.store(newest.get(), Ordering::SeqCst);
            }
            for line in interest.lines.values() {
                line.ended.store(true, Ordering::SeqCst);
                line.notify.notify_one();
            }
        }
        self.publish(newest);
    }

    pub(crate) fn published(&self) -> Revision {
        Revision::new(self.published.load(Ordering::SeqCst))
    }

    /// Wakes whom the new revisions concern, until `stop`.
    pub(crate) async fn distribute(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.close(),
                () = self.bell.notified() => {}
            }
            let mut woken = 0;
            while self.visible() < self.published() {
                woken += self.round();
            }
            let rest = (WOKEN_COST * u32::try_from(woken).unwrap_or(u32::MAX)).min(REST_MAX);
            if rest >= REST_MIN {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return self.close(),
                    () = tokio::time::sleep(rest) => {}
                }
            }
        }
    }

    /// Readers end with an error.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.rouse();
    }

    /// Has every reader look again whether it may deliver at all.
    pub(crate) fn rouse(&self) {
        for line in self.interest().lines.values() {
            line.notify.notify_one();
        }
    }

    fn has_ended(&self, line: &Line) -> bool {
        self.closed.load(Ordering::SeqCst) || line.ended.load(Ordering::SeqCst)
    }

    /// Makes some revisions visible and wakes those concerned; returns how many.
    fn round(&self) -> usize {
        let mut interest = self.interest();
        let from = self.visible().next();
        let made = self.take(from, self.published(), TAKE_BYTES_MAX);
        let to = match &made {
            Some(made) => made.last().map_or(self.published(), |last| last.revision),
            None => self.published(),
        };
        self.visible.store(to.get(), Ordering::SeqCst);
        let woken = match &made {
            Some(made) => interest.wake_concerned(made),
            // The ring does not hold them any more: everybody has to look.
            None => interest.lines.values().filter(|line| line.wake(from)).count(),
        };
        self.matched.store(to.get(), Ordering::SeqCst);
        interest.asked.retain(|(revision, line)| {
            let waits = *revision > to;
            if !waits {
                line.notify.notify_one();
            }
            waits
        });
        woken
    }

    fn visible(&self) -> Revision {
        Revision::new(self.visible.load(Ordering::SeqCst))
    }

    fn matched(&self) -> Revision {
        Revision::new(self.matched.load(Ordering::SeqCst))
    }

    /// The revisions `from..=to`, as many as are taken at once; `None`: the ring does not reach back so far.
    fn take(&self, from: Revision, to: Revision, bytes_max: usize) -> Option<Vec<Arc<Made>>> {
        self.ring().take(from, to, bytes_max)
    }

    fn new_line(&self) -> Arc<Line> {
        let id = self.next_line.fetch_add(1, Ordering::Relaxed);
        let (woken, ended) = (AtomicI64::new(AWAKE), AtomicBool::new(false));
        let line = Arc::new(Line { id, woken, ended, notify: Notify::new() });
        self.interest().lines.insert(id, line.clone());
        line
    }

    fn drop_line<'a>(&self, line: &Line, spans: impl Iterator<Item = &'a Span>) {
        let mut interest = self.interest();
        interest.lines.remove(&line.id);
        interest.asked.retain(|(_, asking)| asking.id != line.id);
        for span in spans {
            interest.forget(line, span);
        }
    }

    /// From the next round on, the line is woken by changes of `span`.
    fn register(&self, line: &Arc<Line>, span: &Span) {
        self.interest().spans.entry(span).lines.entry(line.id).or_insert_with(|| (line.clone(), 0)).1 += 1;
    }

    fn unregister(&self, line: &Line, span: &Span) {
        self.interest().forget(line, span);
    }

    /// Wakes the line once `revision` has been distributed.
    fn ask(&self, line: &Arc<Line>, revision: Revision) {
        let mut interest = self.interest();
        if self.matched() >= revision {
            line.notify.notify_one();
        } else {
            interest.asked.push((revision, line.clone()));
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interest(&self) -> MutexGuard<'_, Interest> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interest {
    fn wake_concerned(&mut self, made: &[Arc<Made>]) -> usize {
        self.round += 1;
        let mut woken = 0;
        for made in made {
            for event in &made.events {
                for party in self.spans.at(&event.kv.key) {
                    if party.woken_in.replace(self.round) == self.round {
                        continue;
                    }
                    woken += party.lines.values().filter(|(line, _)| line.wake(made.revision)).count();
                }
            }
        }
        woken
    }

    fn forget(&mut self, line: &Line, span: &Span) {
        self.spans.prune(span, |party| {
            if let Some((_, watches)) = party.lines.get_mut(&line.id) {
                *watches -= 1;
                if *watches == 0 {
                    party.lines.remove(&line.id);
                }
            }
            party.lines.is_empty()
        });
    }
}

impl Ring {
    fn push(&mut self, made: Arc<Made>) {
        let weight = made.weight();
        self.batches.push_back((made, weight));
        self.bytes += weight;
        while self.bytes > self.bytes_max && self.batches.len() > 1 {
            if let Some((oldest, weight)) = self.batches.pop_front() {
                self.bytes -= weight;
                self.first = oldest.revision.next();
            }
        }
    }

    fn clear(&mut self, first: Revision) {
        self.first = first;
        self.batches.clear();
        self.bytes = 0;
    }

    fn take(&self, from: Revision, to: Revision, bytes_max: usize) -> Option<Vec<Arc<Made>>> {
        let skip = usize::try_from(from.get() - self.first.get()).ok()?;
        let mut room = bytes_max;
        let mut taken = Vec::new();
        for (made, weight) in self.batches.iter().skip(skip).take(TAKE_MAX) {
            if made.revision > to || (room == 0 && !taken.is_empty()) {
                break;
            }
            room = room.saturating_sub(*weight);
            taken.push(made.clone());
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests;
