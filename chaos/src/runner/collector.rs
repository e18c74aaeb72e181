//! A member's log, kept while the run goes on: what is compacted later is known nevertheless.
//!
//! It is a watch of everything, or of a namespace's objects where that is all there is to see, taken up again whenever it
//! ends. All revisions of everything are there to be heard: what a stream leaves out is asked for again on another, and
//! the history tells that it was left out. What never comes is a hole, and so is what a member forgot before it was heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Tasks;
use tokio_util::sync::CancellationToken;

use crate::check::course;
use crate::client::{ApiTarget, Feed, ObjectStream, Recorder, Stream, StreamEnd, Target};
use crate::history::{Change, Event, WatchAnswer, WatchOpen};
use crate::model::revision_of;
use crate::workloads::after;

const OPEN_TIME_MAX: Duration = Duration::from_secs(2);
/// A stream that ended is opened again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A stream that says nothing for so long may be cut off without a word. The system's own writes are more frequent.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many streams may leave out the same revision until it counts as not there.
const STREAMS_MAX: u32 = 5;
/// Longer than an API server lets a watch go on, unless it is asked to.
const LASTS: Duration = Duration::from_secs(600);

/// Who tells, and what.
#[derive(Clone)]
pub(super) enum Teller {
    /// Everything.
    Member(Target),
    /// The ConfigMaps of a namespace.
    Api(ApiTarget, Arc<str>),
}

/// Keeps the log of one member.
pub(super) struct Collector {
    pub(super) member: String,
    log: Arc<Mutex<Log>>,
}

struct Log {
    /// The first revision that is not known yet.
    next: u64,
    revisions: BTreeMap<u64, Vec<Change>>,
    /// Every revision is there to be heard. Who hears of some keys only cannot know.
    is_dense: bool,
    /// How many streams have left out the next one.
    left_out: u32,
}

/// What a stream has left out, from … to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hole(u64, u64);

impl Collector {
    /// From this revision on.
    pub(super) fn start(recorder: &Recorder, teller: Teller, from: u64, tasks: &Tasks) -> Self {
        let log = Arc::new(Mutex::new(Log::new(from, teller.tells_everything())));
        let (member, stop) = (teller.member().to_owned(), tasks.stop().clone());
        let (recorder, kept) = (recorder.clone(), log.clone());
        tasks.spawn_infallible(format!("log of {member}"), async move {
            while !stop.is_cancelled() {
                if follow(&recorder, &teller, &kept, &stop).await.is_none() {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        });
        Self { member, log }
    }

    /// Whether everything up to this revision is known within the time.
    pub(super) async fn reaches(&self, revision: u64, within: Duration) -> bool {
        let reached = async {
            while lock(&self.log).next <= revision {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(within, reached).await.is_ok()
    }

    /// Looks at all changes that are known so far, in order.
    pub(super) fn look<T>(&self, at: impl FnOnce(&mut dyn Iterator<Item = &Change>) -> T) -> T {
        at(&mut lock(&self.log).revisions.values().flatten())
    }

    /// Tells the history what is known.
    pub(super) fn tell(&self, recorder: &Recorder) {
        let revisions = std::mem::take(&mut lock(&self.log).revisions);
        for (revision, changes) in revisions {
            let event = Event::Revision { member: self.member.clone(), revision, changes };
            recorder.history.record(0, event);
        }
        recorder.history.record(0, course::heard(&self.member));
    }

    /// As [`Self::tell`], of one who hears of some keys only: what was not heard of changed none of them.
    pub(super) fn tell_all(&self, recorder: &Recorder, revisions: std::ops::RangeInclusive<u64>) {
        let mut heard = std::mem::take(&mut lock(&self.log).revisions);
        for revision in revisions {
            let (member, changes) = (self.member.clone(), heard.remove(&revision).unwrap_or_default());
            recorder.history.record(0, Event::Revision { member, revision, changes });
        }
    }
}

/// One stream, until it ends or leaves something out.
async fn follow(
    recorder: &Recorder,
    teller: &Teller,
    log: &Mutex<Log>,
    stop: &CancellationToken,
) -> Option<Hole> {
    let from = lock(log).next;
    let mut feed = teller.open(from).await.ok()?;
    loop {
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            answer = tokio::time::timeout(SILENCE_MAX, feed.next()) => answer.ok()?.ok()?,
        };
        let is_over = answer.canceled.is_some();
        let hole = lock(log).add(answer);
        recorder.has_logged(lock(log).next - 1);
        if let Some(Hole(from, to)) = hole {
            recorder.history.record(0, course::left_out(teller.member(), from, to));
            return hole;
        }
        if is_over {
            return None;
        }
    }
}

impl Teller {
    fn member(&self) -> &str {
        match self {
            Self::Member(target) => &target.member,
            Self::Api(target, _) => &target.member,
        }
    }

    fn tells_everything(&self) -> bool {
        match self {
            Self::Member(target) => target.sees_everything(),
            Self::Api(..) => false,
        }
    }

    async fn open(&self, start: u64) -> Result<Feed, StreamEnd> {
        let (key, end) = match self {
            Self::Member(_) => ("\0".to_owned(), "\0".to_owned()),
            Self::Api(_, namespace) => {
                let folder = format!("/registry/configmaps/{namespace}/");
                let end = after(&folder);
                (folder, end)
            }
        };
        let open = WatchOpen {
            watch: 0,
            member: self.member().to_owned(),
            key,
            end: Some(end),
            start,
            previous: false,
            progress: false,
            fragment: false,
            no_put: false,
            no_delete: false,
        };
        match self {
            Self::Member(target) => {
                let opened = Stream::open(target, &open, OPEN_TIME_MAX).await;
                opened.map(|stream| Feed::Keys(Box::new(stream)))
            }
            Self::Api(target, _) => {
                let opened = ObjectStream::open(target, &open, LASTS, OPEN_TIME_MAX).await;
                opened.map(|stream| Feed::Objects(Box::new(stream)))
            }
        }
    }
}

impl Log {
    const fn new(from: u64, is_dense: bool) -> Self {
        Self { next: from, revisions: BTreeMap::new(), is_dense, left_out: 0 }
    }

    /// What comes behind a hole is not kept, as long as there is hope to hear it all.
    fn add(&mut self, answer: WatchAnswer) -> Option<Hole> {
        if answer.compacted > 0 {
            self.next = self.next.max(answer.compacted);
        }
        for event in answer.events {
            let revision = revision_of(&event.change);
            if self.is_dense && revision > self.next && self.left_out < STREAMS_MAX {
                self.left_out += 1;
                return Some(Hole(self.next, revision - 1));
            }
            self.revisions.entry(revision).or_default().push(event.change);
            if revision >= self.next {
                (self.next, self.left_out) = (revision + 1, 0);
            }
        }
        None
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Header, WatchEvent};

    fn answer(compacted: u64, events: &[u64]) -> WatchAnswer {
        let deletion = |modified| WatchEvent {
            change: Change::Delete { key: "k".to_owned(), modified },
            previous: None,
        };
        WatchAnswer {
            watch: 0,
            header: Header { cluster: 1, member: 1, revision: 9, term: 1 },
            created: false,
            canceled: (compacted > 0).then(String::new),
            compacted,
            fragment: false,
            events: events.iter().copied().map(deletion).collect(),
        }
    }

    fn known(log: &Log) -> Vec<u64> {
        log.revisions.keys().copied().collect()
    }

    #[test]
    fn a_log_goes_on_where_it_was_cut_off_and_skips_what_is_forgotten() {
        let mut log = Log::new(3, true);
        assert_eq!((log.add(answer(0, &[])), log.next), (None, 3));
        assert_eq!((log.add(answer(0, &[3, 4, 4])), log.next), (None, 5));
        assert_eq!((log.add(answer(7, &[])), log.next), (None, 7));
        assert_eq!((log.add(answer(0, &[7])), log.next), (None, 8));
        assert_eq!(known(&log), [3, 4, 7]);
        assert_eq!(log.revisions[&4].len(), 2);
    }

    #[test]
    fn what_was_left_out_is_asked_for_again_until_nobody_has_it() {
        let mut log = Log::new(3, true);
        assert_eq!(log.add(answer(0, &[3, 6, 7])), Some(Hole(4, 5)));
        assert_eq!((known(&log), log.next), (vec![3], 4));
        assert_eq!(log.add(answer(0, &[4, 5, 6, 7])), None);
        assert_eq!(known(&log), [3, 4, 5, 6, 7]);
        for _ in 0..STREAMS_MAX {
            assert_eq!(log.add(answer(0, &[9])), Some(Hole(8, 8)));
        }
        assert_eq!(log.add(answer(0, &[9])), None, "it is not there");
        assert_eq!((known(&log), log.next), (vec![3, 4, 5, 6, 7, 9], 10));
        assert_eq!(log.add(answer(0, &[11])), Some(Hole(10, 10)), "each hole has its own tries");
    }

    #[test]
    fn who_hears_of_some_keys_only_misses_nothing() {
        let mut log = Log::new(3, false);
        assert_eq!(log.add(answer(0, &[5, 9])), None);
        assert_eq!((known(&log), log.next), (vec![5, 9], 10));
    }
}
