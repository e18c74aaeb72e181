//! One watch of a stream: waits for its events, and says on request how far it has come.

use std::time::Duration;

use base::Revision;
use tokio::sync::watch;

use super::frames::Filters;
use crate::{WatchBatch, WatchError, Watcher};

/// How soon a watch that is still catching up looks again whether it has come far enough.
const CATCH_UP_LOOK: Duration = Duration::from_millis(20);

/// What a running watch waited for.
pub(super) enum Happened {
    Batch(WatchBatch),
    /// Every event up to this revision was handed out before.
    Reached(Revision),
    Failed(WatchError),
    /// The session dropped its end.
    Canceled,
}

/// The half that waits.
pub(super) struct Running {
    pub(super) id: i64,
    /// Tells a watch from an earlier one of the same id.
    pub(super) serial: u64,
    watcher: Watcher,
    /// The revision about which the session wants to hear.
    asked: watch::Receiver<Revision>,
    told: Revision,
}

/// The half that the session keeps; dropping it cancels the watch.
pub(super) struct Handle {
    pub(super) serial: u64,
    ask: watch::Sender<Revision>,
    pub(super) filters: Filters,
    pub(super) fragment: bool,
    /// The client wants a sign of life now and then.
    pub(super) notify: bool,
    /// Something was sent since the last round of such signs.
    pub(super) active: bool,
    /// Such a sign is due as soon as the watch has caught up.
    pub(super) notify_due: bool,
    /// The first revision that it may deliver.
    pub(super) start: Revision,
    pub(super) reached: Revision,
}

impl Handle {
    pub(super) fn ask(&self, revision: Revision) {
        self.ask.send_if_modified(|asked| {
            let newer = revision > *asked;
            *asked = revision.max(*asked);
            newer
        });
    }
}

/// Joins the two halves of one watch.
pub(super) fn start(id: i64, serial: u64, watcher: Watcher) -> (Running, Handle) {
    let (ask, asked) = watch::channel(Revision::new(0));
    let running = Running { id, serial, watcher, asked, told: Revision::new(0) };
    let handle = Handle {
        serial,
        ask,
        filters: Filters::default(),
        fragment: false,
        notify: false,
        active: false,
        notify_due: false,
        start: Revision::new(0),
        reached: Revision::new(0),
    };
    (running, handle)
}

impl Running {
    /// Events come before the news that they were reached.
    pub(super) async fn step(mut self) -> (Self, Happened) {
        let happened = self.wait().await;
        (self, happened)
    }

    async fn wait(&mut self) -> Happened {
        loop {
            let asked = *self.asked.borrow_and_update();
            if asked > self.told {
                // One look at what is there already brings the position up to date.
                let ready = tokio::select! {
                    biased;
                    batch = self.watcher.next() => Some(batch),
                    () = std::future::ready(()) => None,
                };
                if let Some(batch) = ready {
                    return Happened::of(batch);
                }
                if self.watcher.position() >= asked {
                    self.told = asked;
                    return Happened::Reached(asked);
                }
            }
            tokio::select! {
                biased;
                batch = self.watcher.next() => return Happened::of(batch),
                changed = self.asked.changed() => if changed.is_err() {
                    return Happened::Canceled;
                },
                () = tokio::time::sleep(CATCH_UP_LOOK), if asked > self.told => {}
            }
        }
    }
}

impl Happened {
    fn of(batch: Result<WatchBatch, WatchError>) -> Self {
        match batch {
            Ok(batch) => Self::Batch(batch),
            Err(error) => Self::Failed(error),
        }
    }
}
