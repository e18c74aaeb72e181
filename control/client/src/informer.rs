//! Keeps a [`Cache`] equal to the server: list once, then watch, resume where a watch ended, list again when the
//! revision is gone.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use base::{Entropy, Revision, Tasks};

use crate::cache::{Cache, CacheWriter};
use crate::client::{Client, ListOptions};
use crate::error::ClientError;
use crate::metrics::NAVARCH_CLIENT_RELISTS_TOTAL;
use crate::object::{HasMetadata, Object};
use crate::resource::ApiResource;
use crate::watch::WatchEvent;
use crate::workqueue::Backoff;

const PAGE_LIMIT: u32 = 500;
/// Each watch is renewed after this long, so that a silently dead one is noticed.
const WATCH_SPAN: Duration = Duration::from_secs(300);
/// A watch that lived this long was a good one.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };

/// Starts informers.
pub struct Informer<K> {
    client: Client,
    resource: ApiResource,
    options: ListOptions,
    entropy: Arc<dyn Entropy>,
    writer: CacheWriter<K>,
}

impl<K: HasMetadata + DeserializeOwned + Send + Sync + 'static> Informer<K> {
    /// Watches every object of a typed kind.
    pub fn start(client: &Client, entropy: &Arc<dyn Entropy>, tasks: &Tasks) -> Cache<K>
    where
        K: Object,
    {
        Self::start_with(client, ApiResource::of::<K>(), ListOptions::default(), entropy, tasks)
    }

    /// Watches what `options` select of a resource. Ends with the tasks' stop token.
    pub fn start_with(
        client: &Client,
        resource: ApiResource,
        options: ListOptions,
        entropy: &Arc<dyn Entropy>,
        tasks: &Tasks,
    ) -> Cache<K> {
        Self::start_until(client, (resource, options), entropy, tasks, tasks.stop().clone())
    }

    /// The same, and ends with `stop`: for a resource that may vanish.
    pub fn start_until(
        client: &Client,
        (resource, options): (ApiResource, ListOptions),
        entropy: &Arc<dyn Entropy>,
        tasks: &Tasks,
        stop: CancellationToken,
    ) -> Cache<K> {
        let (cache, writer) = Cache::new();
        let informer = Self { client: client.clone(), resource, options, entropy: entropy.clone(), writer };
        let name = format!("informer {}", informer.resource.plural);
        tasks.spawn_infallible(name, informer.run(stop));
        cache
    }

    async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut failures = 0;
        // A watch that begins anew tells soon how far it is; once for each wish is enough.
        let mut asked = Revision::default();
        loop {
            let began = Instant::now();
            let failed = match self.writer.progress() {
                now if now.synced => tokio::select! {
                    biased;
                    wanted = self.writer.wanted_beyond(asked) => {
                        asked = wanted;
                        continue;
                    }
                    ended = self.watch(now.revision) => ended.err(),
                },
                _ => match self.list().await {
                    Ok(()) => continue,
                    Err(error) => Some(error),
                },
            };
            match failed {
                None => failures = 0,
                Some(error) if error.is_expired() => {
                    debug!(resource = %self.resource.plural, "the watch's revision is gone, listing again");
                    if let Err(error) = self.list().await {
                        self.report(&error);
                        failures += 1;
                    }
                }
                Some(error) => {
                    if began.elapsed() > HEALTHY_AFTER {
                        failures = 0;
                    }
                    self.report(&error);
                    failures += 1;
                }
            }
            if failures > 0 {
                tokio::time::sleep(self.entropy.jittered(BACKOFF.after(failures))).await;
            } else if began.elapsed() < BACKOFF.first {
                // A server that ends each watch at once must not make us spin.
                tokio::time::sleep(BACKOFF.first).await;
            }
        }
    }

    async fn list(&self) -> Result<(), ClientError> {
        metrics::counter!(NAVARCH_CLIENT_RELISTS_TOTAL, "resource" => self.resource.plural.to_string())
            .increment(1);
        let mut objects = Vec::new();
        let mut options = ListOptions { limit: PAGE_LIMIT, ..self.options.clone() };
        loop {
            let page = self.client.list_of::<K>(&self.resource, &options).await?;
            objects.extend(page.items.into_iter().map(without_managed_fields));
            if page.continuation.is_empty() {
                self.writer.replace(objects, page.revision);
                return Ok(());
            }
            options.continuation = page.continuation;
        }
    }

    async fn watch(&self, from: Revision) -> Result<(), ClientError> {
        let span = self.entropy.jittered(WATCH_SPAN);
        let mut watch = self.client.watch_of::<K>(&self.resource, &self.options, from, span).await?;
        while let Some(event) = watch.next().await? {
            match event {
                WatchEvent::Applied(object) => self.writer.apply(without_managed_fields(object)),
                WatchEvent::Deleted(last) => self.writer.delete(without_managed_fields(last)),
                WatchEvent::Bookmark(revision) => self.writer.advance(revision),
            }
        }
        Ok(())
    }

    fn report(&self, error: &ClientError) {
        warn!(resource = %self.resource.plural, %error, source = ?std::error::Error::source(error),
            "the informer is behind");
    }
}

/// They are a large part of most objects, nobody who reads a cache asks for them, and an update without them keeps them.
fn without_managed_fields<K: HasMetadata>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

#[cfg(test)]
mod tests;
