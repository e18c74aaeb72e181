//! A member's log, kept while the run goes on: what is compacted later is known nevertheless.
//!
//! It is a watch of everything, taken up again whenever it ends. What a member forgot before it was heard is a hole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Tasks;
use tokio_util::sync::CancellationToken;

use crate::client::{Recorder, Stream, Target};
use crate::history::{Change, Event, WatchAnswer, WatchOpen};

const OPEN_TIME_MAX: Duration = Duration::from_secs(2);
/// A stream that ended is opened again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A stream that says nothing for so long may be cut off without a word. The system's own writes are more frequent.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Keeps the log of one member.
pub(super) struct Collector {
    pub(super) member: String,
    log: Arc<Mutex<Log>>,
}

struct Log {
    /// The first revision that is not known yet.
    next: u64,
    revisions: BTreeMap<u64, Vec<Change>>,
}

impl Collector {
    /// From this revision on.
    pub(super) fn start(recorder: &Recorder, target: &Target, from: u64, tasks: &Tasks) -> Self {
        let log = Arc::new(Mutex::new(Log { next: from, revisions: BTreeMap::new() }));
        let (member, stop) = (target.member.clone(), tasks.stop().clone());
        let (recorder, target, kept) = (recorder.clone(), target.clone(), log.clone());
        tasks.spawn_infallible(format!("log of {member}"), async move {
            while !stop.is_cancelled() {
                follow(&recorder, &target, &kept, &stop).await;
                tokio::time::sleep(RETRY_PAUSE).await;
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

/// One stream, until it ends.
async fn follow(recorder: &Recorder, target: &Target, log: &Mutex<Log>, stop: &CancellationToken) {
    let everything = WatchOpen {
        watch: 0,
        member: target.member.clone(),
        key: "\0".to_owned(),
        end: Some("\0".to_owned()),
        start: lock(log).next,
        previous: false,
        progress: false,
        fragment: false,
        no_put: false,
        no_delete: false,
    };
    let Ok(mut stream) = Stream::open(target, &everything, OPEN_TIME_MAX).await else { return };
    loop {
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            answer = tokio::time::timeout(SILENCE_MAX, stream.next()) => answer,
        };
        let Ok(Ok(answer)) = answer else { return };
        let is_over = answer.canceled.is_some();
        recorder.has_logged(lock(log).add(answer));
        if is_over {
            return;
        }
    }
}

impl Log {
    /// The last revision that is known now.
    fn add(&mut self, answer: WatchAnswer) -> u64 {
        if answer.compacted > 0 {
            self.next = self.next.max(answer.compacted);
        }
        for event in answer.events {
            let revision = match &event.change {
                Change::Put { kv } => kv.modified,
                Change::Delete { modified, .. } => *modified,
            };
            self.revisions.entry(revision).or_default().push(event.change);
            self.next = self.next.max(revision + 1);
        }
        self.next - 1
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Header, WatchEvent};

    #[test]
    fn a_log_goes_on_where_it_was_cut_off_and_skips_what_is_forgotten() {
        let deletion = |modified| WatchEvent {
            change: Change::Delete { key: "k".to_owned(), modified },
            previous: None,
        };
        let answer = |compacted, events: &[u64]| WatchAnswer {
            watch: 0,
            header: Header { cluster: 1, member: 1, revision: 9, term: 1 },
            created: false,
            canceled: (compacted > 0).then(String::new),
            compacted,
            fragment: false,
            events: events.iter().copied().map(deletion).collect(),
        };
        let mut log = Log { next: 3, revisions: BTreeMap::new() };
        assert_eq!(log.add(answer(0, &[])), 2);
        assert_eq!(log.add(answer(0, &[3, 4, 4])), 4);
        assert_eq!(log.add(answer(7, &[])), 6);
        assert_eq!(log.add(answer(0, &[7])), 7);
        assert_eq!(log.revisions.keys().copied().collect::<Vec<_>>(), [3, 4, 7]);
        assert_eq!(log.revisions[&4].len(), 2);
    }
}
