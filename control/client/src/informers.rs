//! One informer per kind for a whole process, however many read it.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::{Entropy, Tasks};

use crate::cache::Cache;
use crate::client::Client;
use crate::informer::Informer;
use crate::object::Object;

type Caches = BTreeMap<TypeId, Box<dyn Any + Send + Sync>>;

/// A cheap handle; clones share the informers.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    entropy: Arc<dyn Entropy>,
    tasks: Tasks,
    caches: Arc<Mutex<Caches>>,
}

impl Informers {
    pub fn new(client: &Client, entropy: Arc<dyn Entropy>, tasks: &Tasks) -> Self {
        Self { client: client.clone(), entropy, tasks: tasks.clone(), caches: Arc::default() }
    }

    /// The cache of all objects of a kind; its informer starts with the first call.
    pub fn cache<K: Object>(&self) -> Cache<K> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let known = caches.get(&TypeId::of::<K>()).and_then(|cache| cache.downcast_ref::<Cache<K>>());
        if let Some(cache) = known {
            return cache.clone();
        }
        let cache = Informer::<K>::start(&self.client, &self.entropy, &self.tasks);
        caches.insert(TypeId::of::<K>(), Box::new(cache.clone()));
        cache
    }
}
