//! Deletes what its owners left behind, and makes owners wait for, or let go of, what they own.
//!
//! Sees metadata only, of every kind that can be owned or own. An owner is gone only when the server says so: the
//! caches of two kinds are never at one revision. Each write names uid and resourceVersion of what it was decided on.

mod graph;
mod plan;
#[cfg(test)]
mod tests;

use client::{
    ApiResource, Backoff, ClientError, Delete, Election, HasMetadata, Leadership, Partial, Preconditions,
    WorkQueue,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;
use tracing::{debug, info, warn};

use self::graph::{Graph, Item};
use self::plan::{Action, FOREGROUND, OwnerState, Seen, plan};
use crate::Shared;
use crate::context::Term;

const WORKERS: usize = 4;

pub(crate) struct GarbageCollector {
    graph: Graph,
    queue: WorkQueue<Item>,
}

impl GarbageCollector {
    pub(crate) const NAME: &'static str = "garbage-collector-controller";

    pub(crate) fn start(shared: &Shared) {
        let config = &shared.config;
        let queue = WorkQueue::new(Self::NAME, Backoff::default());
        let graph = Graph::start(shared, crate::resources(), &queue);
        let collector = Self { graph, queue };
        let candidate = (Self::NAME, config.identity.as_str());
        let (clock, entropy) = (config.clock.clone(), config.entropy.clone());
        let election = Election::new(&config.client, clock, entropy, candidate, config.election);
        let (stop, shared_by_terms) = (shared.tasks.stop().clone(), shared.clone());
        shared.tasks.spawn_infallible(Self::NAME, async move {
            election
                .run(stop, |leadership| {
                    let term = Term::new(&shared_by_terms, &leadership, Self::NAME);
                    let collector = &collector;
                    async move { collector.lead(&term, &leadership).await }
                })
                .await;
        });
    }

    async fn lead(&self, term: &Term, leadership: &Leadership) {
        let work = async {
            self.graph.reach(leadership.since()).await;
            self.queue.clear();
            for item in self.graph.all() {
                self.queue.add(item);
            }
            futures::future::join_all((0..WORKERS).map(|_| self.work(term))).await;
        };
        tokio::select! {
            biased;
            () = leadership.lost().cancelled() => {}
            () = work => {}
        }
    }

    async fn work(&self, term: &Term) {
        loop {
            let item = self.queue.next().await;
            let outcome = self.collect(term, &item).await;
            self.queue.finish(&item);
            match outcome {
                Ok(()) => self.queue.forget(&item),
                Err(error) => {
                    if error.is_conflict() || error.is_fenced() {
                        debug!(object = %item.key, %error, "will be tried again");
                    } else {
                        warn!(object = %item.key, %error, source = ?std::error::Error::source(&error),
                            "will be tried again");
                    }
                    self.queue.add_failed(item);
                }
            }
        }
    }

    async fn collect(&self, term: &Term, item: &Item) -> Result<(), ClientError> {
        let Some(seen) = self.see(term, item).await? else { return Ok(()) };
        for action in plan(&seen) {
            match self.perform(term, item, &seen, action).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn see(&self, term: &Term, item: &Item) -> Result<Option<Seen>, ClientError> {
        let Some(object) = self.graph.get(item) else { return Ok(None) };
        let mut owners = Vec::new();
        for owner in object.owners() {
            owners.push((owner.clone(), self.state_of(term, item, owner).await?));
        }
        let dependents = self.graph.dependents(object.uid());
        Ok(Some(Seen { object, owners, dependents }))
    }

    async fn state_of(
        &self,
        term: &Term,
        item: &Item,
        owner: &OwnerReference,
    ) -> Result<OwnerState, ClientError> {
        // What we cannot look up, we do not call gone.
        let Some(at) = self.graph.locate(owner, &item.key.namespace) else { return Ok(OwnerState::Solid) };
        let state = |found: &Partial| match (found.is_terminating(), found.has_finalizer(FOREGROUND)) {
            (true, true) => OwnerState::Waiting,
            _ => OwnerState::Solid,
        };
        if let Some(found) = self.graph.get(&at).filter(|found| found.uid() == owner.uid) {
            return Ok(state(&found));
        }
        match term.client.get_of::<Partial>(&self.graph.resource(&at), &at.key).await {
            Ok(found) if found.uid() == owner.uid => Ok(state(&found)),
            Ok(_) => Ok(OwnerState::Absent),
            Err(error) if error.is_not_found() => Ok(OwnerState::Absent),
            Err(error) => Err(error),
        }
    }

    async fn perform(
        &self,
        term: &Term,
        item: &Item,
        seen: &Seen,
        action: Action,
    ) -> Result<(), ClientError> {
        let (resource, object) = (self.graph.resource(item), &*seen.object);
        match action {
            Action::Delete(policy) => {
                info!(kind = %resource.kind, object = %item.key, "its owners are gone");
                let preconditions = Some(Preconditions {
                    uid: Some(object.uid().to_owned()),
                    resource_version: object.metadata.resource_version.clone(),
                });
                let delete = Delete { preconditions, ..Delete::default() }.propagate(policy);
                term.client.delete_of(&resource, &item.key, &delete).await
            }
            Action::DropOwners(uids) => drop_owners(term, &resource, object, &uids).await,
            Action::RemoveFinalizer(finalizer) => {
                let finalizers: Vec<_> =
                    object.metadata.finalizers.iter().flatten().filter(|known| *known != finalizer).collect();
                let patch = json!({ "metadata": {
                    "uid": object.uid(),
                    "resourceVersion": object.metadata.resource_version,
                    "finalizers": finalizers,
                } });
                term.client.merge_patch_of(&resource, &item.key, &patch).await.map(|_| ())
            }
            Action::Orphan(dependent) => {
                let Some(known) = self.graph.get(&dependent) else { return Ok(()) };
                let uids = [object.uid().to_owned()];
                drop_owners(term, &self.graph.resource(&dependent), &known, &uids).await
            }
            Action::Look(dependent) => {
                self.queue.add(dependent);
                Ok(())
            }
        }
    }
}

async fn drop_owners(
    term: &Term,
    resource: &ApiResource,
    object: &Partial,
    uids: &[String],
) -> Result<(), ClientError> {
    let owners: Vec<_> = object.owners().iter().filter(|owner| !uids.contains(&owner.uid)).collect();
    let patch = json!({ "metadata": {
        "uid": object.uid(),
        "resourceVersion": object.metadata.resource_version,
        "ownerReferences": owners,
    } });
    term.client.merge_patch_of(resource, &object.key(), &patch).await.map(|_| ())
}
