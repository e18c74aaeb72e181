//! A watch that the history is told of: its opening, every answer, its end.

use std::time::Duration;

use super::{ApiTarget, ObjectStream, Recorder, Stream, StreamEnd, Target};
use crate::history::{Event, Failure, WatchAnswer, WatchOpen};
use crate::model::revision_of;

/// How long the stream may take to open.
const OPEN_TIME_MAX: Duration = Duration::from_secs(2);

/// Where the answers come from.
pub enum Feed {
    Keys(Box<Stream>),
    Objects(Box<ObjectStream>),
}

impl Feed {
    /// The next answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When there is none.
    pub async fn next(&mut self) -> Result<WatchAnswer, StreamEnd> {
        match self {
            Self::Keys(stream) => stream.next().await,
            Self::Objects(stream) => stream.next().await,
        }
    }
}

/// One watch, from its opening to its end. To go on after its end, open another at [`Watching::next_revision`].
pub struct Watching {
    recorder: Recorder,
    process: u32,
    watch: u64,
    feed: Feed,
    /// The first revision of which nothing was said yet.
    next_revision: u64,
    is_over: bool,
}

impl Watching {
    /// Opens a watch; its number is given here. None: it could not be opened, which the history says.
    pub async fn open(recorder: &Recorder, target: &Target, wanted: WatchOpen) -> Option<Self> {
        let (process, open) = begin(recorder, &target.member, wanted);
        let opened = Stream::open(target, &open, OPEN_TIME_MAX).await;
        Self::opened(recorder, process, &open, opened.map(|stream| Feed::Keys(Box::new(stream))))
    }

    /// As [`Self::open`], of objects; the server ends it after a time.
    pub async fn open_objects(
        recorder: &Recorder,
        target: &ApiTarget,
        wanted: WatchOpen,
        lasts: Duration,
    ) -> Option<Self> {
        let (process, open) = begin(recorder, &target.member, wanted);
        let opened = ObjectStream::open(target, &open, lasts, OPEN_TIME_MAX).await;
        Self::opened(recorder, process, &open, opened.map(|stream| Feed::Objects(Box::new(stream))))
    }

    fn opened(
        recorder: &Recorder,
        process: u32,
        open: &WatchOpen,
        opened: Result<Feed, StreamEnd>,
    ) -> Option<Self> {
        let (recorder, watch) = (recorder.clone(), open.watch);
        match opened {
            Ok(feed) => {
                Some(Self { recorder, process, watch, feed, next_revision: open.start, is_over: false })
            }
            Err(end) => {
                recorder.history.record(process, Event::WatchEnd { watch, error: end.failure() });
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
        match self.feed.next().await {
            Ok(answer) => {
                self.recorder.history.record(self.process, Event::WatchAnswer(answer.clone()));
                self.next_revision = next_revision(self.next_revision, &answer);
                if answer.canceled.is_some() {
                    self.end(None);
                }
                Some(answer)
            }
            Err(end) => {
                self.end(end.failure());
                None
            }
        }
    }

    /// Asks how far it has come; who watches objects cannot ask that.
    pub fn ask_for_progress(&self) {
        if let Feed::Keys(stream) = &self.feed {
            stream.ask_for_progress();
        }
    }

    /// Ends it once it has told everything up to `newest`; or after `within`.
    pub async fn catch_up(mut self, newest: u64, within: Duration) {
        let _late = tokio::time::timeout(within, async {
            while self.next_revision <= newest {
                self.ask_for_progress();
                if self.next().await.is_none() {
                    return;
                }
            }
        })
        .await;
        self.close();
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

/// Gives a watch its number and a process, and tells that it is opened.
fn begin(recorder: &Recorder, member: &str, wanted: WatchOpen) -> (u32, WatchOpen) {
    let (process, watch) = (recorder.process(), recorder.watch());
    let open = WatchOpen { watch, member: member.to_owned(), ..wanted };
    recorder.history.record(process, Event::WatchOpen(open.clone()));
    (process, open)
}

/// Where one goes on after an answer. A part of a revision does not count: it will come again whole.
fn next_revision(before: u64, answer: &WatchAnswer) -> u64 {
    let last = answer.events.last().map(|event| revision_of(&event.change));
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
    use crate::history::{Change, Header, WatchEvent};

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
