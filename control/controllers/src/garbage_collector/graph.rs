//! Who owns whom, over all kinds: one metadata cache per kind, and whose turn it is when one changes.

use std::sync::Arc;

use client::{
    ApiResource, Cache, Change, HasMetadata, Index, Informer, ListOptions, ObjectKey, Partial, WorkQueue,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::plan::{FOREGROUND, ORPHAN};
use crate::Shared;

const BY_OWNER: Index<Partial> = Index { name: "owner", values: owner_values };
const BY_UID: Index<Partial> = Index { name: "uid", values: |object| vec![object.uid().to_owned()] };

/// One object, by its kind's place in the graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) resource: usize,
    pub(super) key: ObjectKey,
}

/// A cheap handle.
#[derive(Clone)]
pub(super) struct Graph {
    kinds: Arc<Vec<(ApiResource, Cache<Partial>)>>,
}

impl Graph {
    /// Watches all `resources` from now on, and queues what each change concerns.
    pub(super) fn start(shared: &Shared, resources: Vec<ApiResource>, queue: &WorkQueue<Item>) -> Self {
        let config = &shared.config;
        // Events are many and own nothing.
        let resources = resources.into_iter().filter(|resource| resource.kind != "Event");
        let kinds = resources.map(|resource| {
            let options = ListOptions { partial: true, ..ListOptions::default() };
            let (client, entropy) = (&config.client, &config.entropy);
            let cache = Informer::start_with(client, resource.clone(), options, entropy, &shared.tasks);
            cache.add_index(BY_OWNER);
            cache.add_index(BY_UID);
            (resource, cache)
        });
        let graph = Self { kinds: Arc::new(kinds.collect()) };
        for (resource, (_, cache)) in graph.kinds.iter().enumerate() {
            let (within, queue) = (graph.clone(), queue.clone());
            cache.on_change(move |change| {
                for item in within.concerned(resource, change) {
                    queue.add(item);
                }
            });
        }
        graph
    }

    pub(super) async fn synced(&self) {
        for (_, cache) in &*self.kinds {
            cache.synced().await;
        }
    }

    /// Everything that may need a decision.
    pub(super) fn all(&self) -> Vec<Item> {
        let kinds = self.kinds.iter().enumerate();
        let items = kinds.flat_map(|(resource, (_, cache))| {
            let objects = cache.list().into_iter().filter(|object| is_of_interest(object));
            objects.map(move |object| Item { resource, key: object.key() })
        });
        items.collect()
    }

    pub(super) fn get(&self, item: &Item) -> Option<Arc<Partial>> {
        self.kinds.get(item.resource)?.1.get(&item.key)
    }

    pub(super) fn resource(&self, item: &Item) -> &ApiResource {
        &self.kinds[item.resource].0
    }

    /// What carries a reference to this uid.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Item, Arc<Partial>)> {
        self.find(BY_OWNER.name, uid)
    }

    /// Where an owner would be; nothing when its kind is not known.
    pub(super) fn locate(&self, owner: &OwnerReference, namespace: &str) -> Option<Item> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let is_it = |(resource, _): &(ApiResource, _)| resource.group == group && resource.kind == owner.kind;
        let resource = self.kinds.iter().position(is_it)?;
        let namespace = if self.kinds[resource].0.namespaced { namespace } else { "" };
        Some(Item { resource, key: ObjectKey::namespaced(namespace, &owner.name) })
    }

    fn find(&self, index: &str, value: &str) -> Vec<(Item, Arc<Partial>)> {
        let kinds = self.kinds.iter().enumerate();
        let found = kinds.flat_map(|(resource, (_, cache))| {
            let objects = cache.by_index(index, value).into_iter();
            objects.map(move |object| (Item { resource, key: object.key() }, object))
        });
        found.collect()
    }

    /// The object itself; what it owned, when it is gone; its owners, when they may wait for it.
    fn concerned(&self, resource: usize, change: &Change<Partial>) -> Vec<Item> {
        let mut items = Vec::new();
        if let Some(object) = change.new.as_ref().filter(|object| is_of_interest(object)) {
            items.push(Item { resource, key: object.key() });
        }
        if let (Some(gone), None) = (&change.old, &change.new) {
            items.extend(self.dependents(gone.uid()).into_iter().map(|(item, _)| item));
        }
        for owner in change.old.iter().flat_map(|object| object.owners()) {
            let owners = self.find(BY_UID.name, &owner.uid).into_iter();
            items.extend(owners.filter(|(_, owner)| owner.is_terminating()).map(|(item, _)| item));
        }
        items
    }
}

fn owner_values(object: &Partial) -> Vec<String> {
    object.owners().iter().map(|owner| owner.uid.clone()).collect()
}

fn is_of_interest(object: &Partial) -> bool {
    let is_held = object.has_finalizer(FOREGROUND) || object.has_finalizer(ORPHAN);
    !object.owners().is_empty() || (object.is_terminating() && is_held)
}
