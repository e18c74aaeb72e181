//! Appends without entries say only that earlier ones are committed. They wait a moment for the next append, which says
//! it too: for a client that writes one by one they are every second message between members.
//!
//! Nobody is answered later for it but who looks at a follower: a watch there, or a serializable read. A follower that
//! asks what a linearizable read must see is told at once, and so is everybody for a moment after.

use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use openraft::raft::AppendEntriesRequest;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::types::TypeConfig;

/// The longest that an announcement waits; longer than a write takes, so that who writes one by one has the gain.
pub(crate) const HELD_MAX: Duration = Duration::from_millis(2);

type Request = AppendEntriesRequest<TypeConfig>;

/// Until when announcements do not wait.
#[derive(Clone, Debug)]
pub(crate) struct Haste {
    until: watch::Sender<Option<Instant>>,
}

impl Haste {
    pub(crate) fn new() -> Self {
        Self { until: watch::Sender::new(None) }
    }

    /// Sends what waits, and lets nothing wait for a moment: somebody needs to hear what is committed.
    pub(crate) fn hurry(&self) {
        self.until.send_replace(Some(Instant::now() + HELD_MAX));
    }
}

/// What is left of `requests` when announcements go with the append after them.
pub(crate) fn hold<S>(requests: S, haste: &Haste) -> impl Stream<Item = Request> + Send + 'static + use<S>
where
    S: Stream<Item = Request> + Send + Unpin + 'static,
{
    let lane = (requests.fuse(), haste.until.subscribe());
    stream::unfold(lane, |(mut requests, mut haste)| async move {
        let mut request = requests.next().await?;
        let until = Instant::now() + HELD_MAX;
        while request.entries.is_empty()
            && haste.borrow_and_update().is_none_or(|until| until < Instant::now())
        {
            tokio::select! {
                biased;
                next = requests.next() => match next {
                    Some(next) => request = next,
                    None => break,
                },
                // Without a sender nobody hurries any more.
                Ok(()) = haste.changed() => break,
                () = sleep_until(until) => break,
            }
        }
        Some((request, (requests, haste)))
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use openraft::EntryPayload;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::raft::types::{Entry, LeaderId, LogId, Vote};

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    /// An append of `entries` after entry 5, from a leader that knows entry `commit` to be committed.
    fn request(commit: u64, entries: u64) -> Request {
        let entry = |index| Entry { log_id: id(index), payload: EntryPayload::Blank };
        Request {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(5)),
            entries: (6..6 + entries).map(entry).collect(),
            leader_commit: Some(id(commit)),
        }
    }

    struct Lane {
        raft: Option<mpsc::UnboundedSender<Request>>,
        haste: Haste,
        sent: std::pin::Pin<Box<dyn Stream<Item = Request> + Send>>,
    }

    impl Lane {
        fn new() -> Self {
            let (raft, requests) = mpsc::unbounded_channel();
            let haste = Haste::new();
            let sent = hold(UnboundedReceiverStream::new(requests), &haste).boxed();
            Self { raft: Some(raft), haste, sent }
        }

        fn give(&self, commit: u64, entries: u64) {
            self.raft.as_ref().expect("it is open").send(request(commit, entries)).expect("it is read");
        }

        /// The commit and the number of entries of what is sent next, and after how many milliseconds.
        async fn sent(&mut self) -> Option<(u64, usize, u128)> {
            let began = Instant::now();
            let request = self.sent.next().await?;
            let commit = request.leader_commit.expect("a commit").index;
            Some((commit, request.entries.len(), began.elapsed().as_millis()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_goes_with_the_append_after_it() {
        let mut lane = Lane::new();
        lane.give(4, 1);
        assert_eq!(lane.sent().await, Some((4, 1, 0)));
        lane.give(5, 0);
        lane.give(6, 0);
        lane.give(6, 1);
        assert_eq!(lane.sent().await, Some((6, 1, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_that_is_alone_waits_no_longer_than_it_may() {
        let mut lane = Lane::new();
        lane.give(5, 0);
        assert_eq!(lane.sent().await, Some((5, 0, HELD_MAX.as_millis())));
        lane.give(6, 0);
        let mut first = pin!(lane.sent.next());
        assert!(futures::poll!(&mut first).is_pending());
        tokio::time::advance(HELD_MAX / 2).await;
        lane.raft.as_ref().unwrap().send(request(7, 0)).unwrap();
        let began = Instant::now();
        assert_eq!(first.await.unwrap().leader_commit, Some(id(7)));
        assert!(began.elapsed() <= HELD_MAX / 2 + Duration::from_millis(1), "a second one waits no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn who_hurries_is_not_kept_waiting() {
        let mut lane = Lane::new();
        lane.give(5, 0);
        let mut first = pin!(lane.sent.next());
        assert!(futures::poll!(&mut first).is_pending());
        lane.haste.hurry();
        assert!(futures::poll!(&mut first).is_ready());
        lane.give(6, 0);
        assert_eq!(lane.sent().await, Some((6, 0, 0)), "it was committed just before somebody asked");
        tokio::time::advance(HELD_MAX * 2).await;
        lane.give(7, 0);
        assert_eq!(lane.sent().await, Some((7, 0, HELD_MAX.as_millis())));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_sent_when_raft_has_no_more() {
        let mut lane = Lane::new();
        lane.give(5, 0);
        lane.raft = None;
        assert_eq!(lane.sent().await, Some((5, 0, 0)));
        assert_eq!(lane.sent().await, None);
    }
}
