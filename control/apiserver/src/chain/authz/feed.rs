//! Keeps the rules as fresh as this node's copy of the store: one list of each kind, then its watch.
//!
//! Nothing but the local copy is read, so a follower knows the rules too, and a leaderless one still does.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use store::{WatchBatch, WatchError, Watcher};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::book::{Book, KINDS, Roles};
use crate::object::Stored;
use crate::status::Status;
use crate::storage::{Freshness, Scope, Storage};

/// After the store could not be read, before the next attempt.
const RETRY_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug, Error)]
enum FeedError {
    #[error("cannot read the roles: {}", .0.message())]
    Read(Status),
    #[error("cannot watch the roles")]
    Watch(#[source] store::StoreError),
    #[error("the watch of the roles broke")]
    Broken(#[source] WatchError),
}

/// Publishes the rules, and again after every change, until `stop`.
pub(super) async fn feed(
    storage: Storage,
    roles: watch::Sender<Option<Arc<Roles>>>,
    stop: CancellationToken,
) {
    loop {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = roles.closed() => return,
            ended = follow(&storage, &roles) => ended,
        };
        tracing::debug!(error = &ended as &dyn std::error::Error, "reading the roles again");
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY_AFTER) => {}
        }
    }
}

async fn follow(storage: &Storage, roles: &watch::Sender<Option<Arc<Roles>>>) -> FeedError {
    let is_furnished = roles.borrow().as_ref().is_some_and(|roles| roles.is_furnished);
    let mut book = Book::default();
    book.is_furnished = is_furnished;
    let mut watchers = match read(storage, &mut book).await {
        Ok(watchers) => watchers,
        Err(error) => return error,
    };
    loop {
        roles.send_replace(Some(Arc::new(book.roles())));
        let mut news = next(&mut watchers).await;
        // All that is there already becomes one index.
        loop {
            match news {
                Ok((kind, batch)) => take(&mut book, kind, &batch),
                Err(error) => return FeedError::Broken(error),
            }
            match next(&mut watchers).now_or_never() {
                Some(more) => news = more,
                None => break,
            }
        }
    }
}

/// The watchers of all kinds, from where they were read.
async fn read(storage: &Storage, book: &mut Book) -> Result<[Watcher; 4], FeedError> {
    Ok([
        read_kind(storage, book, 0).await?,
        read_kind(storage, book, 1).await?,
        read_kind(storage, book, 2).await?,
        read_kind(storage, book, 3).await?,
    ])
}

async fn read_kind(storage: &Storage, book: &mut Book, kind: usize) -> Result<Watcher, FeedError> {
    let prefix = Scope { kind: KINDS[kind], namespace: None }.prefix();
    let page = storage.page(&prefix, "", 0, Freshness::Any).await.map_err(FeedError::Read)?;
    for (key, stored) in &page.items {
        set(book, kind, key, Some(stored));
    }
    storage.watch(&prefix, Some(page.revision.next())).map_err(FeedError::Watch)
}

/// The next change of any kind. Dropping the future loses nothing.
async fn next([a, b, c, d]: &mut [Watcher; 4]) -> Result<(usize, WatchBatch), WatchError> {
    tokio::select! {
        biased;
        batch = a.next() => batch.map(|batch| (0, batch)),
        batch = b.next() => batch.map(|batch| (1, batch)),
        batch = c.next() => batch.map(|batch| (2, batch)),
        batch = d.next() => batch.map(|batch| (3, batch)),
    }
}

fn take(book: &mut Book, kind: usize, batch: &WatchBatch) {
    for event in &batch.events {
        set(book, kind, &event.kv.key, Stored::after(event).as_ref());
    }
}

/// An object that cannot be read allows nothing.
fn set(book: &mut Book, kind: usize, key: &[u8], stored: Option<&Stored>) {
    let prefix = Scope { kind: KINDS[kind], namespace: None }.prefix();
    let key = String::from_utf8_lossy(key);
    let Some(key) = key.strip_prefix(&prefix) else { return };
    let object = stored.and_then(|stored| stored.parse().ok());
    book.set(kind, key, object.as_ref());
}
