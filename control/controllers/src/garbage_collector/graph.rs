//! Who owns whom, over all kinds: one metadata cache per kind, and whose turn it is when one changes.

use std::sync::{Arc, PoisonError, RwLock};

use base::Revision;
use client::{
    ApiResource, Cache, Change, HasMetadata, Index, Informer, ListOptions, ObjectKey, Partial, WorkQueue,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use tokio_util::sync::CancellationToken;

use super::plan::{FOREGROUND, ORPHAN};
use crate::Shared;
use crate::custom_resources::resource_of;

const BY_OWNER: Index<Partial> = Index { name: "owner", values: owner_values };

/// One object, by its kind's place in the graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) resource: usize,
    pub(super) key: ObjectKey,
}

/// A cheap handle.
#[derive(Clone)]
pub(super) struct Graph {
    /// A kind keeps its place, also when it is gone.
    kinds: Arc<RwLock<Vec<Arc<Known>>>>,
}

/// One kind, and what there is of it.
struct Known {
    resource: ApiResource,
    cache: Cache<Partial>,
    /// Cancelled when the kind is gone.
    gone: CancellationToken,
}

impl Graph {
    /// Watches all `resources` and every custom kind from now on, and queues what each change concerns.
    pub(super) fn start(shared: &Shared, resources: Vec<ApiResource>, queue: &WorkQueue<Item>) -> Self {
        let graph = Self { kinds: Arc::default() };
        // Events are many and own nothing.
        for resource in resources.into_iter().filter(|resource| resource.kind != "Event") {
            let cache = shared.config.informers.metadata(&resource);
            graph.add(resource, cache, shared.tasks.stop().child_token(), queue);
        }
        let (within, shared_by_changes, queue) = (graph.clone(), shared.clone(), queue.clone());
        shared.config.informers.cache::<CustomResourceDefinition>().on_change(move |change| {
            let resource =
                |side: &Option<Arc<CustomResourceDefinition>>| resource_of(side.as_ref()?.as_ref());
            let (old, new) = (resource(&change.old), resource(&change.new));
            if old == new {
                return;
            }
            if let Some(gone) = old {
                within.remove(&gone);
            }
            if let Some(new) = new {
                let gone = shared_by_changes.tasks.stop().child_token();
                let cache = watch(&shared_by_changes, &new, &gone);
                within.add(new, cache, gone, &queue);
            }
        });
        graph
    }

    fn add(
        &self,
        resource: ApiResource,
        cache: Cache<Partial>,
        gone: CancellationToken,
        queue: &WorkQueue<Item>,
    ) {
        cache.add_index(BY_OWNER);
        let known = Arc::new(Known { resource, cache: cache.clone(), gone });
        let place = {
            let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
            // A kind that comes back takes its old place, so the list does not grow with coming and going.
            match kinds.iter().position(|old| old.gone.is_cancelled() && old.resource == known.resource) {
                Some(place) => {
                    kinds[place] = known;
                    place
                }
                None => {
                    kinds.push(known);
                    kinds.len() - 1
                }
            }
        };
        let (within, queue) = (self.clone(), queue.clone());
        cache.on_change(move |change| {
            for item in within.concerned(place, change) {
                queue.add(item);
            }
        });
    }

    fn remove(&self, resource: &ApiResource) {
        for known in self.now().iter().filter(|known| known.resource == *resource) {
            known.gone.cancel();
        }
    }

    /// All kinds by their place, those that are gone too.
    fn now(&self) -> Vec<Arc<Known>> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The kinds that are there, each with its place.
    fn present(&self) -> impl Iterator<Item = (usize, Arc<Known>)> + use<> {
        self.now().into_iter().enumerate().filter(|(_, known)| !known.gone.is_cancelled())
    }

    /// Until every kind shows the state at `revision`, or a later one, or is gone.
    pub(super) async fn reach(&self, revision: Revision) {
        let reached = self.present().map(|(_, known)| async move {
            tokio::select! {
                biased;
                () = known.gone.cancelled() => {}
                () = known.cache.reach(revision) => {}
            }
        });
        futures::future::join_all(reached).await;
    }

    /// Everything that may need a decision.
    pub(super) fn all(&self) -> Vec<Item> {
        let items = self.present().flat_map(|(resource, known)| {
            let objects = known.cache.list().into_iter().filter(|object| is_of_interest(object));
            objects.map(move |object| Item { resource, key: object.key() })
        });
        items.collect()
    }

    /// None when the object is gone, or its kind.
    pub(super) fn get(&self, item: &Item) -> Option<Arc<Partial>> {
        let known = self.present().find(|(place, _)| *place == item.resource)?.1;
        known.cache.get(&item.key)
    }

    pub(super) fn resource(&self, item: &Item) -> ApiResource {
        self.now()[item.resource].resource.clone()
    }

    /// What carries a reference to this uid.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Item, Arc<Partial>)> {
        let found = self.present().flat_map(|(resource, known)| {
            let objects = known.cache.by_index(BY_OWNER.name, uid).into_iter();
            objects.map(move |object| (Item { resource, key: object.key() }, object))
        });
        found.collect()
    }

    /// Where an owner would be; nothing when its kind is not known.
    pub(super) fn locate(&self, owner: &OwnerReference, namespace: &str) -> Option<Item> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let is_it = |known: &Known| known.resource.group == group && known.resource.kind == owner.kind;
        let (resource, known) = self.present().find(|(_, known)| is_it(known))?;
        let namespace = if known.resource.namespaced { namespace } else { "" };
        Some(Item { resource, key: ObjectKey::namespaced(namespace, &owner.name) })
    }

    /// The object itself; what it owned, when it is gone; its owners, when they may wait for it.
    fn concerned(&self, resource: usize, change: &Change<Partial>) -> Vec<Item> {
        let mut items = Vec::new();
        if let Some(object) = change.new.as_ref().filter(|object| is_of_interest(object)) {
            items.push(Item { resource, key: object.key() });
        }
        if let Some(gone) = gone(change) {
            items.extend(self.dependents(gone.uid()).into_iter().map(|(item, _)| item));
        }
        if let Some(object) = &change.old {
            let owners = object.owners().iter().filter_map(|owner| self.locate(owner, object.namespace()));
            items.extend(owners.filter(|at| self.get(at).is_some_and(|owner| owner.is_terminating())));
        }
        items
    }
}

/// The metadata of a kind that may go.
fn watch(shared: &Shared, resource: &ApiResource, gone: &CancellationToken) -> Cache<Partial> {
    let config = &shared.config;
    let wanted = (resource.clone(), ListOptions { partial: true, ..ListOptions::default() });
    Informer::start_until(&config.client, wanted, &config.entropy, &shared.tasks, gone.clone())
}

fn owner_values(object: &Partial) -> Vec<String> {
    object.owners().iter().map(|owner| owner.uid.clone()).collect()
}

/// What is no more: deleted, or followed by another of its name while the cache listed anew.
pub(super) fn gone(change: &Change<Partial>) -> Option<&Partial> {
    let old = change.old.as_deref()?;
    let goes_on = change.new.as_ref().is_some_and(|new| new.uid() == old.uid());
    (!goes_on).then_some(old)
}

fn is_of_interest(object: &Partial) -> bool {
    let is_held = object.has_finalizer(FOREGROUND) || object.has_finalizer(ORPHAN);
    !object.owners().is_empty() || (object.is_terminating() && is_held)
}
