//! What an informer knows: the objects of one resource at one revision, indexed, readable without waiting.
//!
//! Written by one informer only. A reader sees some state that the server had, never a mix of two; it can ask whether
//! a given revision, such as that of its own last write, is part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use base::Revision;

use crate::object::{HasMetadata, ObjectKey};

/// Maps an object to the values under which it is found.
#[derive(Debug)]
pub struct Index<K> {
    pub name: &'static str,
    pub values: fn(&K) -> Vec<String>,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Index<K> {}

/// One object's step from one state to the next.
#[derive(Debug)]
pub struct Change<K> {
    pub old: Option<Arc<K>>,
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The newest state there is.
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

type Handler<K> = Arc<dyn Fn(&Change<K>) + Send + Sync>;

/// A cheap handle; clones read the same objects.
pub struct Cache<K> {
    state: Arc<RwLock<State<K>>>,
    progress: watch::Receiver<Progress>,
    /// The newest revision that any reader waits for.
    wanted: Arc<watch::Sender<Revision>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        let (progress, wanted) = (self.progress.clone(), self.wanted.clone());
        Self { state: self.state.clone(), progress, wanted }
    }
}

/// How far the cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) synced: bool,
    pub(crate) revision: Revision,
}

/// Keys by indexed value.
type Entries = BTreeMap<String, BTreeSet<ObjectKey>>;

struct State<K> {
    objects: BTreeMap<ObjectKey, Known<K>>,
    indexes: Vec<(Index<K>, Entries)>,
    handlers: Vec<Handler<K>>,
}

struct Known<K> {
    object: Arc<K>,
    since: Instant,
}

impl<K: HasMetadata + Send + Sync + 'static> Cache<K> {
    pub(crate) fn new() -> (Self, CacheWriter<K>) {
        let (progress, seen) = watch::channel(Progress::default());
        let state = Arc::new(RwLock::new(State {
            objects: BTreeMap::new(),
            indexes: Vec::new(),
            handlers: Vec::new(),
        }));
        let (wanted, asked) = watch::channel(Revision::default());
        let cache = Self { state: state.clone(), progress: seen, wanted: Arc::new(wanted) };
        (cache, CacheWriter { state, progress, wanted: asked })
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().objects.get(key).map(|known| known.object.clone())
    }

    /// When the object was seen to change last.
    pub fn changed_at(&self, key: &ObjectKey) -> Option<Instant> {
        self.read().objects.get(key).map(|known| known.since)
    }

    /// All objects, by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read().objects.values().map(|known| known.object.clone()).collect()
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = ObjectKey::namespaced(namespace, "");
        let state = self.read();
        let objects = state.objects.range(first..).take_while(|(key, _)| key.namespace == namespace);
        objects.map(|(_, known)| known.object.clone()).collect()
    }

    /// The objects that the named index maps to `value`; none when there is no such index.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.read();
        let Some((_, entries)) = state.indexes.iter().find(|(known, _)| known.name == index) else {
            return Vec::new();
        };
        let keys = entries.get(value).into_iter().flatten();
        keys.filter_map(|key| state.objects.get(key).map(|known| known.object.clone())).collect()
    }

    /// Adds an index, over what is known already too; a second one of the same name changes nothing.
    pub fn add_index(&self, index: Index<K>) {
        let mut state = self.write();
        if state.indexes.iter().any(|(known, _)| known.name == index.name) {
            return;
        }
        let mut entries = Entries::new();
        for (key, known) in &state.objects {
            for value in (index.values)(&known.object) {
                entries.entry(value).or_default().insert(key.clone());
            }
        }
        state.indexes.push((index, entries));
    }

    /// Calls `handler` with each change from now on, and with each object known already.
    ///
    /// It runs in the informer's task, after the change: it must return at once (put a key into a queue).
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let handler: Handler<K> = Arc::new(handler);
        let known = {
            let mut state = self.write();
            state.handlers.push(handler.clone());
            state.objects.values().map(|known| known.object.clone()).collect::<Vec<_>>()
        };
        for object in known {
            handler(&Change { old: None, new: Some(object) });
        }
    }

    /// Everything up to this revision is part of what is read here.
    pub fn revision(&self) -> Revision {
        self.progress.borrow().revision
    }

    pub fn is_synced(&self) -> bool {
        self.progress.borrow().synced
    }

    /// Until the first list is complete.
    pub async fn synced(&self) {
        self.wait_until(|cache| cache.is_synced()).await;
    }

    pub fn has_seen(&self, revision: Revision) -> bool {
        self.is_synced() && self.revision() >= revision
    }

    /// Whether the object of this uid is gone, or going.
    pub fn has_seen_deleted(&self, key: &ObjectKey, uid: &str) -> bool {
        self.is_synced() && self.get(key).is_none_or(|object| object.uid() != uid || object.is_terminating())
    }

    /// Until the cache shows the state at `revision` or a later one, also when none of its own objects have changed
    /// since: the informer asks for it.
    pub async fn reach(&self, revision: Revision) {
        self.wanted.send_if_modified(|wanted| {
            let is_more = *wanted < revision;
            *wanted = revision.max(*wanted);
            is_more
        });
        self.wait_until(|cache| cache.has_seen(revision)).await;
    }

    /// Until the cache moves, or `timeout` is over.
    pub async fn moved(&self, timeout: Duration) {
        let mut progress = self.progress.clone();
        progress.mark_unchanged();
        let _ = tokio::time::timeout(timeout, progress.changed()).await;
    }

    /// Until `condition` holds, tried again at each step of the cache. Never returns once the informer is gone
    /// with the condition false: give it a deadline or a token to race with.
    pub async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut progress = self.progress.clone();
        loop {
            progress.mark_unchanged();
            if condition(self) {
                return;
            }
            if progress.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State<K>> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The informer's end.
pub(crate) struct CacheWriter<K> {
    state: Arc<RwLock<State<K>>>,
    progress: watch::Sender<Progress>,
    wanted: watch::Receiver<Revision>,
}

impl<K: HasMetadata + Send + Sync + 'static> CacheWriter<K> {
    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// What a reader waits for, once that is beyond both what is known and `asked`.
    pub(crate) async fn wanted_beyond(&self, asked: Revision) -> Revision {
        let mut wanted = self.wanted.clone();
        let beyond = wanted.wait_for(|wanted| *wanted > asked && *wanted > self.progress().revision);
        let wish = beyond.await.map(|wanted| *wanted).ok();
        match wish {
            Some(wanted) => wanted,
            // No reader is left.
            None => std::future::pending().await,
        }
    }

    /// What a list says replaces everything.
    pub(crate) fn replace(&self, objects: Vec<K>, revision: Revision) {
        let mut listed: BTreeMap<_, _> = objects.into_iter().map(|o| (o.key(), Arc::new(o))).collect();
        let mut changes = Vec::new();
        let handlers = {
            let mut state = self.lock();
            let known: Vec<_> = state.objects.keys().cloned().collect();
            for key in known.into_iter().filter(|key| !listed.contains_key(key)) {
                changes.push(Change { old: state.set(key, None), new: None });
            }
            while let Some((key, object)) = listed.pop_first() {
                let known = state.objects.get(&key).map(|known| &known.object.meta().resource_version);
                if known.is_none_or(|version| *version != object.meta().resource_version) {
                    let old = state.set(key, Some(object.clone()));
                    changes.push(Change { old, new: Some(object) });
                }
            }
            state.handlers.clone()
        };
        self.publish(&handlers, &changes, Progress { synced: true, revision });
    }

    pub(crate) fn apply(&self, object: K) {
        let revision = object.revision();
        let object = Arc::new(object);
        let (old, handlers) = {
            let mut state = self.lock();
            (state.set(object.key(), Some(object.clone())), state.handlers.clone())
        };
        self.publish(&handlers, &[Change { old, new: Some(object) }], self.at(revision));
    }

    /// `last` is the state before the deletion, at the deletion's revision.
    pub(crate) fn delete(&self, last: K) {
        let revision = last.revision();
        let handlers = {
            let mut state = self.lock();
            state.set(last.key(), None);
            state.handlers.clone()
        };
        self.publish(&handlers, &[Change { old: Some(Arc::new(last)), new: None }], self.at(revision));
    }

    pub(crate) fn advance(&self, revision: Revision) {
        self.publish(&[], &[], self.at(revision));
    }

    fn at(&self, revision: Revision) -> Progress {
        let now = self.progress();
        Progress { synced: now.synced, revision: revision.max(now.revision) }
    }

    /// Handlers first: whoever waits for the revision finds its key in the queue already.
    fn publish(&self, handlers: &[Handler<K>], changes: &[Change<K>], progress: Progress) {
        for change in changes {
            for handler in handlers {
                handler(change);
            }
        }
        self.progress.send_replace(progress);
    }

    fn lock(&self) -> RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<K> State<K> {
    fn set(&mut self, key: ObjectKey, object: Option<Arc<K>>) -> Option<Arc<K>> {
        let old = match &object {
            Some(object) => {
                let known = Known { object: object.clone(), since: Instant::now() };
                self.objects.insert(key.clone(), known)
            }
            None => self.objects.remove(&key),
        }
        .map(|known| known.object);
        for (index, entries) in &mut self.indexes {
            let values = |object: &Option<Arc<K>>| {
                object.as_ref().map(|object| (index.values)(object)).unwrap_or_default()
            };
            let (before, after) = (values(&old), values(&object));
            if before == after {
                continue;
            }
            for value in before {
                if let Some(keys) = entries.get_mut(&value) {
                    keys.remove(&key);
                    if keys.is_empty() {
                        entries.remove(&value);
                    }
                }
            }
            for value in after {
                entries.entry(value).or_default().insert(key.clone());
            }
        }
        old
    }
}
