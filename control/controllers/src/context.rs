//! What a reconcile may use: caches to read, a fenced client to write with, and the memory of its own writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::Clock;
use client::{Cache, Client, HasMetadata, Informers, Leadership, Object, ObjectKey, Recorder};
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::Shared;
use crate::driver::{Next, ReconcileError};

type Wait = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;
/// By key: what the caches must show before the key is looked at again.
type Awaited = Arc<Mutex<BTreeMap<ObjectKey, Vec<Wait>>>>;

/// One term of leadership.
pub(crate) struct Term {
    pub(crate) client: Client,
    pub(crate) informers: Informers,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    began: Instant,
    awaited: Awaited,
}

/// One reconcile.
pub(crate) struct Context {
    /// Every write proves this term.
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recorder: Recorder,
    /// When this term began: what happened before was not seen by it.
    pub(crate) term_began: Instant,
    informers: Informers,
    key: ObjectKey,
    awaited: Awaited,
}

/// A step that a plan asks for.
pub(crate) trait Action: Send {
    fn perform(self, cx: &Context) -> impl Future<Output = Result<Next, ReconcileError>> + Send;
}

impl Term {
    pub(crate) fn new(shared: &Shared, leadership: &Leadership, name: &str) -> Self {
        let client = shared.config.client.fenced(leadership.fence());
        Self {
            recorder: shared.recorder.through(&client, name),
            client,
            informers: shared.config.informers.clone(),
            clock: shared.config.clock.clone(),
            began: Instant::now(),
            awaited: Awaited::default(),
        }
    }

    pub(crate) fn context(&self, key: &ObjectKey) -> Context {
        Context {
            client: self.client.clone(),
            clock: self.clock.clone(),
            recorder: self.recorder.clone(),
            term_began: self.began,
            informers: self.informers.clone(),
            key: key.clone(),
            awaited: self.awaited.clone(),
        }
    }
}

impl Context {
    pub(crate) fn cache<K: Object>(&self) -> Cache<K> {
        self.informers.cache()
    }

    /// The objects of this name, in all namespaces.
    pub(crate) fn named<K: Object>(&self, name: &'static str) -> Cache<K> {
        self.informers.named(name)
    }

    /// Performs a plan in its order; the first failure ends it.
    pub(crate) async fn perform<A: Action>(&self, actions: Vec<A>) -> Result<Next, ReconcileError> {
        let mut next = Next::Done;
        for action in actions {
            next = next.sooner(action.perform(self).await?);
        }
        Ok(next)
    }

    /// The key is not looked at again before the cache shows this write.
    pub(crate) fn wrote<K: Object>(&self, object: &K) {
        self.wrote_into(self.cache(), object);
    }

    /// Like [`Self::wrote`], where the objects are read from this cache.
    pub(crate) fn wrote_into<K: Object>(&self, cache: Cache<K>, object: &K) {
        let revision = object.revision();
        self.expect(Arc::new(move || {
            let cache = cache.clone();
            Box::pin(async move { cache.wait_until(|cache| cache.has_seen(revision)).await })
        }));
    }

    /// The key is not looked at again before the cache shows that the object is gone, or going.
    pub(crate) fn deleted<K: Object>(&self, object: &K) {
        let (cache, key, uid) = (self.cache::<K>(), object.key(), object.uid().to_owned());
        self.expect(Arc::new(move || {
            let (cache, key, uid) = (cache.clone(), key.clone(), uid.clone());
            Box::pin(async move { cache.wait_until(|cache| cache.has_seen_deleted(&key, &uid)).await })
        }));
    }

    fn expect(&self, wait: Wait) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.entry(self.key.clone()).or_default().push(wait);
    }

    /// Until the caches show everything that was written for this key. Cancel safe.
    pub(crate) async fn caught_up(&self) {
        let waits = {
            let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            awaited.get(&self.key).cloned().unwrap_or_default()
        };
        for wait in waits {
            wait().await;
        }
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
