//! A watch that the history is told of: its opening, every answer, its end.

use std::time::Duration;

use super::{Recorder, Stream, Target};
use crate::history::{Change, Event, Failure, WatchAnswer, WatchOpen};

/// How long the stream may take to open.
const OPEN_TIME_MAX: Duration = Duration::from_secs(2);

/// One watch, from its opening to its end. To go on after its end, open another at [`Watching::next_revision`].
pub struct Watching {
    recorder: Recorder,
    process: u32,
    watch: u64,
    stream: Stream,
    /// The first revision of which nothing was said yet.
    next_revision: u64,
    is_over: bool,
}

impl Watching {
    /// Opens a watch; its number is given here. None: it could not be opened, which the history says.
    pub async fn open(recorder: &Recorder, target: &Target, wanted: WatchOpen) -> Option<Self> {
        let (recorder, process) = (recorder.clone(), recorder.process());
        let watch = recorder.watch();
        let open = WatchOpen { watch, member: target.member.clone(), ..wanted };
        recorder.history.record(process, Event::WatchOpen(open.clone()));
        match Stream::open(target, &open, OPEN_TIME_MAX).await {
            Ok(stream) => {
                Some(Self { recorder, process, watch, stream, next_revision: open.start, is_over: false })
            }
            Err(end) => {
                recorder.history.record(process, Event::WatchEnd { watch, error: Some(end.failure()) });
                None
            }
        }
    }

    /// Where a watch must start that goes on from here; zero when nothing was heard yet of a watch from now on.
    pub fn next_revision(&self) -> u64 {
        self.next_revision
    }

    /// The next answer, once it is in the history. None: the watch is over, which is there, too.
    pub async fn next(&mut self) -> Option<WatchAnswer> {
        if self.is_over {
            return None;
        }
        match self.stream.next().await {
            Ok(answer) => {
                self.recorder.history.record(self.process, Event::WatchAnswer(answer.clone()));
                self.next_revision = next_revision(self.next_revision, &answer);
                if answer.canceled.is_some() {
                    self.end(None);
                }
                Some(answer)
            }
            Err(end) => {
                self.end(Some(end.failure()));
                None
            }
        }
    }

    pub fn ask_for_progress(&self) {
        self.stream.ask_for_progress();
    }

    /// Ends it by the client's will.
    pub fn close(mut self) {
        self.end(None);
    }

    fn end(&mut self, error: Option<Failure>) {
        if !self.is_over {
            self.is_over = true;
            self.recorder.history.record(self.process, Event::WatchEnd { watch: self.watch, error });
        }
    }
}

/// Whoever drops a watch wants no more of it.
impl Drop for Watching {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Where one goes on after an answer. A part of a revision does not count: it will come again whole.
fn next_revision(before: u64, answer: &WatchAnswer) -> u64 {
    let modified = |change: &Change| match change {
        Change::Put { kv } => kv.modified,
        Change::Delete { modified, .. } => *modified,
    };
    let last = answer.events.last().map(|event| modified(&event.change));
    let heard = match last {
        Some(last) if answer.fragment => last,
        Some(last) => last + 1,
        // A watch from now on begins after the revision at which it was made; progress is up to one.
        None if answer.canceled.is_none() && (before == 0 || !answer.created) => answer.header.revision + 1,
        None => before,
    };
    before.max(heard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Header, WatchEvent};

    fn answer(revision: u64, events: &[u64]) -> WatchAnswer {
        let deletion = |modified: &u64| WatchEvent {
            change: Change::Delete { key: "k".to_owned(), modified: *modified },
            previous: None,
        };
        WatchAnswer {
            watch: 1,
            header: Header { cluster: 1, member: 1, revision, term: 1 },
            created: false,
            canceled: None,
            compacted: 0,
            fragment: false,
            events: events.iter().map(deletion).collect(),
        }
    }

    #[test]
    fn a_watch_goes_on_behind_what_was_heard_whole() {
        assert_eq!(next_revision(0, &WatchAnswer { created: true, ..answer(7, &[]) }), 8, "from now on");
        assert_eq!(next_revision(3, &WatchAnswer { created: true, ..answer(7, &[]) }), 3, "from the past");
        assert_eq!(next_revision(3, &answer(9, &[4, 5])), 6);
        assert_eq!(next_revision(3, &WatchAnswer { fragment: true, ..answer(9, &[4, 5]) }), 5);
        assert_eq!(next_revision(6, &answer(9, &[])), 10, "progress");
        assert_eq!(next_revision(6, &WatchAnswer { canceled: Some(String::new()), ..answer(9, &[]) }), 6);
    }
}
