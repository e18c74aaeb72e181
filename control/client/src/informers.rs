//! One informer per kind, or per name of a kind, or per resource's metadata, for a whole process, however many read it.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::{Entropy, Tasks};
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::client::{Client, ListOptions};
use crate::informer::Informer;
use crate::object::{HasMetadata, Object, Partial};
use crate::resource::ApiResource;

/// By type, and by the path and the query under which the objects are found.
type Caches = BTreeMap<(TypeId, String), Box<dyn Any + Send + Sync>>;

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
        self.find(ApiResource::of::<K>(), ListOptions::default())
    }

    /// The cache of those objects of a kind that have this name, in all namespaces.
    pub fn named<K: Object>(&self, name: &'static str) -> Cache<K> {
        let field_selector = format!("metadata.name={name}");
        self.find(ApiResource::of::<K>(), ListOptions { field_selector, ..ListOptions::default() })
    }

    /// The cache of the metadata of all objects of a resource.
    pub fn metadata(&self, resource: &ApiResource) -> Cache<Partial> {
        self.find(resource.clone(), ListOptions { partial: true, ..ListOptions::default() })
    }

    fn find<K: HasMetadata + DeserializeOwned + Send + Sync + 'static>(
        &self,
        resource: ApiResource,
        options: ListOptions,
    ) -> Cache<K> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (TypeId::of::<K>(), format!("{}?{}", resource.collection_path(""), options.field_selector));
        let known = caches.get(&at).and_then(|cache| cache.downcast_ref::<Cache<K>>());
        if let Some(cache) = known {
            return cache.clone();
        }
        let cache = Informer::start_with(&self.client, resource, options, &self.entropy, &self.tasks);
        caches.insert(at, Box::new(cache.clone()));
        cache
    }
}
