//! Whether this replica can be trusted, and who waits for the answer.
//!
//! A replica that differs from the others, or whose rows cannot be read, is quarantined: it applies nothing and serves
//! nothing until it has been rebuilt. Its log and its vote go on: they do not depend on the tables.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::WatchError;
use crate::status::Health;

pub(crate) struct HealthCell {
    health: watch::Sender<Health>,
    /// The same as the cell says, for the path of every read.
    sound: AtomicBool,
    closed: CancellationToken,
}

impl HealthCell {
    pub(crate) fn new(health: Health) -> Self {
        let sound = AtomicBool::new(health == Health::Sound);
        Self { health: watch::Sender::new(health), sound, closed: CancellationToken::new() }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.sound.load(Ordering::Acquire)
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        !self.is_sound() && matches!(*self.health.borrow(), Health::Quarantined { .. })
    }

    pub(crate) fn get(&self) -> Health {
        self.health.borrow().clone()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Whether it has changed. Only `released` ends a quarantine.
    pub(crate) fn set(&self, now: Health) -> bool {
        self.sound.store(now == Health::Sound, Ordering::Release);
        self.health.send_if_modified(|health| {
            let changed = *health != now;
            *health = now;
            changed
        })
    }

    /// Waits for the end of a quarantine.
    pub(crate) async fn released(&self) -> io::Result<()> {
        let mut changes = self.changes();
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(io::Error::other("the node is stopping")),
            released = changes.wait_for(|health| !matches!(health, Health::Quarantined { .. })) => {
                released.map(drop).map_err(io::Error::other)
            }
        }
    }

    /// Comes when the node stops.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Holds a watcher back while it is open whether events are right, and ends it when they are not.
    pub(crate) async fn admit_watcher(&self) -> Result<(), WatchError> {
        if self.is_sound() {
            return Ok(());
        }
        let mut changes = self.changes();
        match changes.wait_for(|health| !matches!(health, Health::Suspect { .. })).await.as_deref() {
            Ok(Health::Sound) => Ok(()),
            Ok(Health::Suspect { .. } | Health::Quarantined { .. }) => Err(WatchError::Corrupt),
            Err(_) => Err(WatchError::Stopping),
        }
    }

    /// Lets everybody go who waits for the end of a quarantine.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }
}
