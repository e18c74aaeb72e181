//! Keeps the graph of nodes as fresh as this server's copy of the store, from the first time that a node asks.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kinds::Kind;
use kinds::core::{persistent_volume, pod};
use store::{WatchBatch, WatchError, Watcher};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::graph::Graph;
use crate::object::Stored;
use crate::status::Status;
use crate::storage::{Freshness, Scope, Storage};

/// After the store could not be read, before the next attempt.
const RETRY_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug, Error)]
enum FeedError {
    #[error("cannot read the pods of nodes: {}", .0.message())]
    Read(Status),
    #[error("cannot watch the pods of nodes")]
    Watch(#[source] store::StoreError),
    #[error("the watch of the pods of nodes broke")]
    Broken(#[source] WatchError),
}

/// Which kind of the two.
#[derive(Clone, Copy)]
enum Fed {
    Pods,
    Volumes,
}

impl Fed {
    fn prefix(self) -> String {
        let kind: &'static Kind = match self {
            Self::Pods => &pod::POD,
            Self::Volumes => &persistent_volume::PERSISTENT_VOLUME,
        };
        Scope { kind, namespace: None }.prefix()
    }

    /// An object that cannot be read gives nobody anything.
    fn set(self, graph: &mut Graph, key: &[u8], stored: Option<&Stored>) {
        let key = String::from_utf8_lossy(key);
        let Some(key) = key.strip_prefix(&self.prefix()) else { return };
        let object = stored.and_then(|stored| stored.parse().ok());
        match self {
            Self::Pods => graph.set_pod(key, object.as_ref()),
            Self::Volumes => graph.set_volume(key, object.as_ref()),
        }
    }
}

/// Waits until `wanted`, then follows the store until `stop`.
pub(super) async fn feed(
    storage: Storage,
    graph: Arc<RwLock<Graph>>,
    mut wanted: watch::Receiver<bool>,
    is_read: watch::Sender<bool>,
    stop: CancellationToken,
) {
    tokio::select! {
        biased;
        () = stop.cancelled() => return,
        asked = wanted.wait_for(|wanted| *wanted) => if asked.is_err() { return },
    }
    loop {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ended = follow(&storage, &graph, &is_read) => ended,
        };
        tracing::debug!(error = &ended as &dyn std::error::Error, "reading the pods of nodes again");
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY_AFTER) => {}
        }
    }
}

async fn follow(storage: &Storage, graph: &RwLock<Graph>, is_read: &watch::Sender<bool>) -> FeedError {
    let mut fresh = Graph::default();
    let watchers = async {
        let pods = read(storage, &mut fresh, Fed::Pods).await?;
        Ok::<_, FeedError>((pods, read(storage, &mut fresh, Fed::Volumes).await?))
    };
    let (mut pods, mut volumes) = match watchers.await {
        Ok(watchers) => watchers,
        Err(error) => return error,
    };
    *graph.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    is_read.send_replace(true);
    loop {
        let (fed, news) = tokio::select! {
            biased;
            news = pods.next() => (Fed::Pods, news),
            news = volumes.next() => (Fed::Volumes, news),
        };
        match news {
            Ok(batch) => take(&mut graph.write().unwrap_or_else(PoisonError::into_inner), fed, &batch),
            Err(error) => return FeedError::Broken(error),
        }
    }
}

async fn read(storage: &Storage, graph: &mut Graph, fed: Fed) -> Result<Watcher, FeedError> {
    let prefix = fed.prefix();
    let page = storage.page(&prefix, "", 0, Freshness::Any).await.map_err(FeedError::Read)?;
    for (key, stored) in &page.items {
        fed.set(graph, key, Some(stored));
    }
    storage.watch(&prefix, Some(page.revision.next())).map_err(FeedError::Watch)
}

fn take(graph: &mut Graph, fed: Fed, batch: &WatchBatch) {
    for event in &batch.events {
        fed.set(graph, &event.kv.key, Stored::after(event).as_ref());
    }
}
