//! One task's place in the history, for any number of watches.
//!
//! The watches that are up to date share one cursor into the ring, and all of them together cost nothing while their
//! keys do not change. Those that start in the past have cursors of their own until they have caught up; two that meet
//! go on as one, so each past revision is read once for all who need it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::Revision;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::spans::Spans;
use super::{AWAKE, Line, Made, PARKED, Piece, TAKE_BYTES_MAX};
use crate::error::WatchError;
use crate::mvcc::catch_up::{self, Budget, Past, Wanted};
use crate::mvcc::span::Span;
use crate::mvcc::tables::TableError;
use crate::raft::replica::Replica;

/// What is read from the disk at once.
const CATCH_UP: Budget = Budget { rows: 1000, bytes: TAKE_BYTES_MAX };

/// Pulls events for the watches of one task. Dropping it ends them.
pub(crate) struct Reader {
    replica: Arc<Replica>,
    line: Arc<Line>,
    watches: BTreeMap<u64, Watched>,
    /// Those in step with the ring. Its cursor means nothing while the reader is parked and was not woken.
    level: Group,
    parked: bool,
    /// Those that catch up, each group at its own place.
    behind: Vec<Group>,
    next_group: u64,
    reading: Option<Reading>,
    asked: Option<Revision>,
    /// Whose turn it is, if both have something to do.
    behind_first: bool,
}

struct Watched {
    span: Span,
    /// Nothing before this is delivered.
    start: Revision,
    prev: bool,
}

/// Watches that share a cursor.
struct Group {
    id: u64,
    /// The first revision that was not looked at.
    next: Revision,
    /// The watches of each span.
    spans: Arc<Spans<Vec<u64>>>,
}

/// A read of the disk for one group.
struct Reading {
    group: u64,
    rows: BoxFuture<'static, Result<Result<Past, Revision>, TableError>>,
}

/// What a reader came upon.
#[derive(Debug)]
pub(crate) enum News {
    Found(Vec<Found>),
    /// These watches have ended: what they are to deliver next is compacted.
    Compacted {
        watches: Vec<u64>,
        asked: Revision,
        compacted: Revision,
    },
    /// All that happened up to this revision has been handed out; it is not before the one that was asked about, and
    /// may be after it.
    Reached(Revision),
}

/// Whole revisions for one watch, in order.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) watch: u64,
    pub(crate) pieces: Vec<Piece>,
}

impl Reader {
    pub(crate) fn new(replica: Arc<Replica>) -> Self {
        let line = replica.hub.new_line();
        let level = Group { id: 0, next: replica.hub.visible().next(), spans: Arc::default() };
        Self {
            replica,
            line,
            watches: BTreeMap::new(),
            level,
            parked: false,
            behind: Vec::new(),
            next_group: 1,
            reading: None,
            asked: None,
            behind_first: false,
        }
    }

    /// Adds a watch under a number that is not in use, and returns the first revision that it delivers.
    pub(crate) fn add(&mut self, watch: u64, span: Span, start: Option<Revision>, prev: bool) -> Revision {
        // In this order: what is published after the registration wakes the reader.
        self.replica.hub.register(&self.line, &span);
        let start = start.unwrap_or_else(|| {
            // Being applied is told before the hub hears of it; a client may have read it already.
            self.replica.progress().horizon.newest.max(self.replica.hub.published()).next()
        });
        self.place(watch, &span, start);
        self.watches.insert(watch, Watched { span, start, prev });
        start
    }

    /// Has a watch hear of `next` before anything else.
    fn place(&mut self, watch: u64, span: &Span, next: Revision) {
        if next >= self.level_next() {
            self.level.add(watch, span);
            return;
        }
        // What is being read was asked for without this watch.
        let reading = self.reading.as_ref().map(|reading| reading.group);
        let same = self.behind.iter_mut().find(|group| group.next == next && Some(group.id) != reading);
        if let Some(same) = same {
            same.add(watch, span);
            return;
        }
        let mut group = Group { id: self.next_group, next, spans: Arc::default() };
        group.add(watch, span);
        self.next_group += 1;
        self.behind.push(group);
    }

    pub(crate) fn remove(&mut self, watch: u64) {
        let Some(Watched { span, .. }) = self.watches.remove(&watch) else { return };
        self.replica.hub.unregister(&self.line, &span);
        self.level.remove(watch, &span);
        for group in &mut self.behind {
            group.remove(watch, &span);
        }
        self.behind.retain(|group| !group.spans.is_empty());
    }

    /// What comes next. Waits for it; dropping the future loses nothing.
    ///
    /// # Errors
    /// When the store is stopping, or what it holds cannot be trusted.
    pub(crate) async fn next(&mut self) -> Result<News, WatchError> {
        loop {
            if self.replica.hub.has_ended(&self.line) {
                return Err(WatchError::Stopping);
            }
            self.replica.health.admit_watcher().await?;
            if let Some(news) = self.step() {
                return Ok(news);
            }
            let reached = self.reached();
            if self.asked.take_if(|asked| *asked <= reached).is_some() {
                return Ok(News::Reached(reached));
            }
            if !self.behind.is_empty() && self.reading.is_none() || !self.park() {
                continue;
            }
            let notified = self.line.notify.notified();
            let Some(Reading { group, rows }) = &mut self.reading else {
                notified.await;
                continue;
            };
            let group = *group;
            let read = tokio::select! {
                biased;
                read = rows => read,
                () = notified => continue,
            };
            self.reading = None;
            if let Some(news) = self.take_past(group, read)? {
                return Ok(news);
            }
        }
    }

    /// Everything up to this revision has been handed out.
    pub(crate) fn reached(&self) -> Revision {
        let behind = self.behind.iter().map(|group| group.next);
        let next = behind.fold(self.level_next(), Revision::min);
        Revision::new(next.get() - 1)
    }

    /// Has [`News::Reached`] come once everything up to `revision` was handed out.
    pub(crate) fn ask(&mut self, revision: Revision) {
        self.asked = self.asked.max(Some(revision));
        self.replica.hub.ask(&self.line, revision);
    }

    /// One look at each kind of work, in turn.
    fn step(&mut self) -> Option<News> {
        self.behind_first = !self.behind_first;
        if self.behind_first
            && let Some(news) = self.step_behind()
        {
            return Some(news);
        }
        if let Some(news) = self.step_level() {
            return Some(news);
        }
        if self.behind_first { None } else { self.step_behind() }
    }

    fn step_level(&mut self) -> Option<News> {
        if self.parked {
            let woken = self.line.woken.load(Ordering::SeqCst);
            if woken == PARKED {
                return None;
            }
            // Nothing between its last look and this revision concerns the reader.
            self.parked = false;
            self.level.next = self.level.next.max(Revision::new(woken));
        }
        let visible = self.replica.hub.visible();
        if self.level.next > visible {
            return None;
        }
        let Some(made) = self.replica.hub.take(self.level.next, visible, TAKE_BYTES_MAX) else {
            self.fall_behind(visible.next());
            return None;
        };
        self.level.next = made.last().map_or(visible, |last| last.revision).next();
        found(&self.level.spans, &self.watches, &made)
    }

    /// The ring has left the reader behind: its watches read the disk up to `next`, each from where it begins, because
    /// what is before that may be compacted.
    fn fall_behind(&mut self, next: Revision) {
        let level = Group { id: self.next_group, next, spans: Arc::default() };
        self.next_group += 1;
        let left = std::mem::replace(&mut self.level, level);
        for watch in left.spans.all().flatten() {
            if let Some(Watched { span, start, .. }) = self.watches.get(watch) {
                let (span, from) = (span.clone(), left.next.max(*start));
                self.place(*watch, &span, from);
            }
        }
    }

    /// Takes from the ring for whoever is furthest behind, or starts to read the disk for it.
    fn step_behind(&mut self) -> Option<News> {
        if self.reading.is_some() {
            return None;
        }
        self.merge();
        self.behind.sort_by_key(|group| group.next);
        let level = self.level_next();
        let first = self.behind.first()?;
        let end = self.behind.get(1).map_or(level, |second| second.next.min(level));
        let to = Revision::new(end.get() - 1);
        match self.replica.hub.take(first.next, to, TAKE_BYTES_MAX) {
            Some(made) => {
                let first = &mut self.behind[0];
                first.next = made.last().map_or(to, |last| last.revision).next();
                let spans = first.spans.clone();
                self.merge();
                found(&spans, &self.watches, &made)
            }
            None => {
                self.reading = Some(self.read(first, to));
                None
            }
        }
    }

    /// Groups that stand at the same place become one.
    fn merge(&mut self) {
        let level = self.level_next();
        let mut apart: Vec<Group> = Vec::new();
        for group in std::mem::take(&mut self.behind) {
            let same = if group.next >= level {
                Some(&mut self.level)
            } else {
                apart.iter_mut().find(|other| other.next == group.next)
            };
            match same {
                Some(same) => same.join(&group, &self.watches),
                None => apart.push(group),
            }
        }
        self.behind = apart;
    }

    fn read(&self, group: &Group, to: Revision) -> Reading {
        let (replica, spans, from) = (self.replica.clone(), group.spans.clone(), group.next);
        let prev = self.watches.values().any(|watch| watch.prev);
        let rows = async move {
            let turn = replica.hub.disk_readers.acquire().await;
            let past = replica.read(true, move |view, horizon| {
                if from < horizon.compacted {
                    return Ok(Err(horizon.compacted));
                }
                let wanted = |key: &[u8]| spans.at(key).next().is_some();
                let wanted = Wanted { key: &wanted, prev, from, to };
                catch_up::read(view, &wanted, CATCH_UP).map(Ok)
            });
            let past = past.await;
            drop(turn);
            past
        };
        Reading { group: group.id, rows: rows.boxed() }
    }

    fn take_past(
        &mut self,
        group: u64,
        read: Result<Result<Past, Revision>, TableError>,
    ) -> Result<Option<News>, WatchError> {
        let read = read.map_err(|error| {
            self.replica.failed(&error);
            if error.is_damage() { WatchError::Corrupt } else { WatchError::Stopping }
        })?;
        // All watches of the group may have been removed meanwhile.
        let Some(place) = self.behind.iter().position(|one| one.id == group) else { return Ok(None) };
        match read {
            Ok(Past { revisions, next }) => {
                self.behind[place].next = next;
                let made: Vec<Arc<Made>> =
                    revisions.into_iter().map(|(revision, events)| Made::new(revision, events)).collect();
                let spans = self.behind[place].spans.clone();
                Ok(found(&spans, &self.watches, &made))
            }
            Err(compacted) => {
                let asked = self.behind[place].next;
                let mut watches: Vec<u64> = self.behind[place].spans.all().flatten().copied().collect();
                watches.sort_unstable();
                watches.iter().for_each(|watch| self.remove(*watch));
                Ok(Some(News::Compacted { watches, asked, compacted }))
            }
        }
    }

    /// Where the level watches are: a parked reader keeps up without doing anything.
    fn level_next(&self) -> Revision {
        if !self.parked {
            return self.level.next;
        }
        // In this order: what was matched before the look at `woken` did not concern the reader.
        let matched = self.replica.hub.matched();
        match self.line.woken.load(Ordering::SeqCst) {
            PARKED => self.level.next.max(matched.next()),
            woken => self.level.next.max(Revision::new(woken)),
        }
    }

    #[cfg(test)]
    pub(super) fn is_parked(&self) -> bool {
        self.parked && self.line.woken.load(Ordering::SeqCst) == PARKED
    }

    /// Lets itself be woken; `false` when there is something to do first.
    fn park(&mut self) -> bool {
        if self.parked {
            return self.line.woken.load(Ordering::SeqCst) == PARKED;
        }
        self.line.woken.store(PARKED, Ordering::SeqCst);
        self.parked = self.replica.hub.visible() < self.level.next;
        if !self.parked {
            self.line.woken.store(AWAKE, Ordering::SeqCst);
        }
        self.parked
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.replica.hub.drop_line(&self.line, self.watches.values().map(|watch| &watch.span));
    }
}

impl Group {
    fn add(&mut self, watch: u64, span: &Span) {
        Arc::make_mut(&mut self.spans).entry(span).push(watch);
    }

    fn remove(&mut self, watch: u64, span: &Span) {
        Arc::make_mut(&mut self.spans).prune(span, |watches| {
            watches.retain(|one| *one != watch);
            watches.is_empty()
        });
    }

    fn join(&mut self, other: &Self, watches: &BTreeMap<u64, Watched>) {
        for watch in other.spans.all().flatten() {
            if let Some(Watched { span, .. }) = watches.get(watch) {
                self.add(*watch, span);
            }
        }
    }
}

/// Sorts out which watch hears of what; `None` if nobody does.
fn found(spans: &Spans<Vec<u64>>, watches: &BTreeMap<u64, Watched>, made: &[Arc<Made>]) -> Option<News> {
    let mut found: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
    for made in made {
        for (place, event) in made.events.iter().enumerate() {
            for watch in spans.at(&event.kv.key).flatten() {
                if watches.get(watch).is_none_or(|watch| made.revision < watch.start) {
                    continue;
                }
                let pieces = found.entry(*watch).or_default();
                match pieces.last_mut() {
                    Some(last) if last.revision() == made.revision => last.add(place),
                    Some(_) | None => pieces.push(Piece::starting(made, place)),
                }
            }
        }
    }
    if found.is_empty() {
        return None;
    }
    let found = found.into_iter().map(|(watch, pieces)| Found { watch, pieces });
    Some(News::Found(found.collect()))
}
