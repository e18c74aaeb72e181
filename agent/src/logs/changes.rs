//! Wakes a follower when something in a directory changed.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tracing::debug;

/// A safety net beside inotify.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When the kernel gives no more inotify instances, looking often has to do.
const LOOK_WITHOUT_INOTIFY: Duration = Duration::from_millis(200);

pub(crate) struct Changes {
    inotify: Option<AsyncFd<Watched>>,
}

struct Watched(Inotify);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Changes {
    /// Watches the directory: a rotation renames files in it.
    pub(crate) fn watch(directory: &Path) -> Self {
        let watched = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).and_then(|inotify| {
            let mask = AddWatchFlags::IN_MODIFY
                | AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_MOVE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_DELETE_SELF;
            inotify.add_watch(directory, mask).map(|_watch| Watched(inotify))
        });
        let inotify = watched.map_err(std::io::Error::from).and_then(register);
        if let Err(error) = &inotify {
            debug!(%error, "no inotify, looking periodically");
        }
        Self { inotify: inotify.ok() }
    }

    /// Ready after a change, or after a while. Cancel safe.
    pub(crate) async fn next(&mut self) {
        let Some(inotify) = &self.inotify else {
            return tokio::time::sleep(LOOK_WITHOUT_INOTIFY).await;
        };
        tokio::select! {
            biased;
            readable = inotify.readable() => if let Ok(mut ready) = readable {
                // What changed does not matter; reading empties the queue.
                while inotify.get_ref().0.read_events().is_ok() {}
                ready.clear_ready();
            },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

#[expect(deprecated, reason = "its successor is unsafe; the descriptor of an Inotify never changes")]
fn register(watched: Watched) -> std::io::Result<AsyncFd<Watched>> {
    AsyncFd::new(watched)
}
