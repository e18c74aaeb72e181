//! The past: reads at a wall time, and the leader's automatic compaction by age and size.
//!
//! Only the leader proposes, in small steps, and the next step only once its own cleaning has caught up; a cluster that
//! is made to forget much (a long outage, a smaller setting) forgets it over minutes, beside the writes.

use std::time::Duration;

use base::{Revision, Timestamp};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Store;
use crate::error::StoreError;
use crate::mvcc::history::{self, Keep};
use crate::mvcc::machine::Action;
use crate::mvcc::tables::TableError;
use crate::status::Role;
use crate::upkeep;

/// How often the leader looks for something to forget.
const PERIOD: Duration = Duration::from_secs(10);
/// How soon it goes on when one step was not enough.
const PERIOD_BEHIND: Duration = Duration::from_millis(500);
/// How many bytes of changes one step forgets.
const STEP_BYTES: u64 = 8 * 1024 * 1024;

/// How much of the past is kept. What is older, or more, is forgotten; the newest state never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Every state of the last so many seconds can be read and watched from; `None`: age is no reason to forget.
    pub age: Option<Duration>,
    /// Changes of this many bytes at most, as they are written before compression; `None`: any amount.
    pub bytes: Option<u64>,
}

impl Default for History {
    fn default() -> Self {
        Self { age: Some(Duration::from_secs(24 * 3600)), bytes: Some(2 * 1024 * 1024 * 1024) }
    }
}

impl History {
    /// Nothing is forgotten unless a client asks for it.
    pub const ALL: Self = Self { age: None, bytes: None };
}

impl Store {
    /// The newest revision at a wall time, as the leaders' clocks had it.
    ///
    /// # Errors
    /// [`StoreError::BeforeHistory`] when that state is not kept any more.
    pub async fn revision_at(&self, time: Timestamp) -> Result<Revision, StoreError> {
        self.read_barrier().await?;
        let found = self.inner.replica.read(false, move |view, horizon| {
            match history::at_time(view, horizon, time.as_millisecond())? {
                Some(revision) => Ok(Ok(revision)),
                None => Ok(Err(history::oldest_ms(view, horizon)?)),
            }
        });
        let found = found.await.map_err(|error| self.unreadable(&error))?;
        found.map_err(|oldest_ms| {
            let oldest = oldest_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            let oldest = oldest.map_or_else(|| "now".to_owned(), |oldest| oldest.to_string());
            StoreError::BeforeHistory { asked: time.to_string(), oldest }
        })
    }
}

/// Compacts for as long as this node leads.
pub(crate) async fn keep(store: Store, settings: History, stop: CancellationToken) -> Result<(), TableError> {
    let mut status = store.status_changes();
    loop {
        let leads = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            leads = status.wait_for(|status| status.role == Role::Leader) => leads.is_ok(),
        };
        if !leads {
            return Ok(());
        }
        let behind = match step(&store, settings, STEP_BYTES).await {
            Ok(behind) => behind,
            Err(error) => {
                store.inner.replica.outlive(error).await?;
                true
            }
        };
        let pause = if behind { PERIOD_BEHIND } else { PERIOD };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = sleep(pause) => {}
        }
    }
}

/// Forgets a little; whether there may be more.
pub(crate) async fn step(store: &Store, settings: History, step_bytes: u64) -> Result<bool, TableError> {
    let now_ms = store.inner.clock.now().as_millisecond();
    let since_ms =
        settings.age.map(|age| now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
    let keep = Keep { since_ms, bytes: settings.bytes, step_bytes };
    let next = store.inner.replica.read(true, move |view, horizon| {
        let behind = upkeep::cleaned(view)? < horizon.compacted;
        Ok(if behind { (None, true) } else { (history::next_compaction(view, horizon, keep)?, false) })
    });
    match next.await? {
        (None, behind) => Ok(behind),
        (Some(at), _) => {
            match store.propose(Action::Compact(at)).await {
                Ok(_) | Err(StoreError::Compacted { .. }) => {}
                Err(error) => debug!(%at, %error, "cannot compact now"),
            }
            Ok(true)
        }
    }
}
