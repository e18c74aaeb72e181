//! Moves a Deployment's pods from one template to the next by sizing ReplicaSets, one per template.

mod plan;
mod rollout;
mod status;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Delete, EventKind, HasMetadata, Index, ObjectKey, controller_of, selects};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;
use tracing::info;

use self::plan::{Action, Seen, plan, size};
use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};
use crate::{pods, replica_set};

/// Sets by the uid of their controller; by namespace those that have none.
const BY_CONTROLLER: Index<ReplicaSet> = Index { name: "controller", values: controller_values };
const ORPHAN: &str = "orphan in ";

pub(crate) struct DeploymentController;

impl Controller for DeploymentController {
    type Kind = Deployment;
    const NAME: &'static str = "deployment-controller";

    fn new(shared: &Shared) -> Self {
        shared.config.informers.cache::<ReplicaSet>().add_index(BY_CONTROLLER);
        shared.config.informers.cache::<Pod>().add_index(replica_set::BY_CONTROLLER);
        Self
    }

    fn watches() -> Watches {
        Watches::of::<Deployment>()
            .owns::<ReplicaSet>()
            .maps::<ReplicaSet>(|informers, change| {
                let Some(set) = change.new.as_ref().filter(|set| controller_of(&***set).is_none()) else {
                    return Vec::new();
                };
                let deployments = informers.cache::<Deployment>().in_namespace(set.namespace());
                let selecting = deployments.iter().filter(|deployment| {
                    let spec = deployment.spec.as_ref();
                    spec.is_some_and(|spec| selects(&spec.selector, set.metadata.labels.as_ref()))
                });
                selecting.map(|deployment| deployment.key()).collect()
            })
            // Recreate waits for old pods to end.
            .maps::<Pod>(|informers, change| {
                let ended = match (&change.old, &change.new) {
                    (Some(old), None) => Some(old),
                    (_, Some(new)) if pods::is_finished(new) => Some(new),
                    _ => None,
                };
                let owner = ended.and_then(|pod| Some((pod, controller_of(&**pod)?)));
                let Some((pod, owner)) = owner else { return Vec::new() };
                let key = ObjectKey::namespaced(pod.namespace(), &owner.name);
                let set = informers.cache::<ReplicaSet>().get(&key);
                let deployment = set.and_then(|set| controller_of(&*set).map(|owner| owner.name.clone()));
                deployment.map(|name| ObjectKey::namespaced(pod.namespace(), name)).into_iter().collect()
            })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(seen) = Seen::read(cx, key) else { return Ok(Next::Done) };
        let steps = plan(&seen, cx.clock.now()).into_iter();
        cx.perform(steps.map(|step| (seen.deployment.clone(), step)).collect()).await
    }
}

impl Seen {
    fn read(cx: &Context, key: &ObjectKey) -> Option<Self> {
        let deployment = cx.cache::<Deployment>().get(key)?;
        let known = cx.cache::<ReplicaSet>();
        let mut sets = known.by_index(BY_CONTROLLER.name, deployment.uid());
        sets.extend(known.by_index(BY_CONTROLLER.name, &format!("{ORPHAN}{}", key.namespace)));
        let template = deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let pods = cx.cache::<Pod>();
        let old_pods = sets
            .iter()
            .filter(|set| !template::is_of_template(set, &template))
            .flat_map(|set| pods.by_index(replica_set::BY_CONTROLLER.name, set.uid()))
            .filter(|pod| !pods::is_finished(pod))
            .count();
        Some(Self { deployment, sets, old_pods })
    }
}

fn controller_values(set: &ReplicaSet) -> Vec<String> {
    vec![match controller_of(set) {
        Some(owner) => owner.uid.clone(),
        None => format!("{ORPHAN}{}", set.namespace()),
    }]
}

impl crate::context::Action for (Arc<Deployment>, Action) {
    async fn perform(self, cx: &Context) -> Result<Next, ReconcileError> {
        let (deployment, action) = self;
        match action {
            Action::Adopt(set) => adopt(cx, &deployment, &set).await?,
            Action::Release(set) => release(cx, &deployment, &set).await?,
            Action::Create(set) => create(cx, &deployment, &set).await?,
            Action::Scale { set, to, annotations } => scale(cx, &deployment, &set, (to, annotations)).await?,
            Action::Annotate { set, annotations } => {
                let patch = json!({ "metadata": {
                    "resourceVersion": set.metadata.resource_version, "annotations": annotations,
                } });
                cx.wrote(&cx.client.merge_patch::<ReplicaSet>(&set.key(), &patch).await?);
            }
            Action::Forget(set) => {
                match cx.client.delete::<ReplicaSet>(&set.key(), &Delete::exactly(&*set)).await {
                    Ok(()) => cx.deleted(&*set),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Action::Status { status, revision } => {
                let mut object = Deployment::clone(&deployment);
                if let Some(revision) = revision {
                    // With the status, as in Kubernetes: on its own it would be a new generation.
                    let annotations = object.metadata.annotations.get_or_insert_default();
                    annotations.insert(template::REVISION.to_owned(), revision.to_string());
                }
                object.status = Some(*status);
                cx.wrote(&cx.client.replace_status(&object).await?);
            }
            Action::Again(delay) => return Ok(Next::After(delay)),
        }
        Ok(Next::Done)
    }
}

async fn adopt(cx: &Context, deployment: &Deployment, set: &ReplicaSet) -> Result<(), ReconcileError> {
    // The cache may be of an older Deployment of the same name: only the server knows.
    let now = cx.client.get::<Deployment>(&deployment.key()).await?;
    if now.uid() != deployment.uid() || now.is_terminating() {
        return Ok(());
    }
    let mut owners = set.owners().to_vec();
    owners.push(template::owner_reference(deployment));
    set_owners(cx, set, &owners).await
}

async fn release(cx: &Context, deployment: &Deployment, set: &ReplicaSet) -> Result<(), ReconcileError> {
    let owners: Vec<_> = set.owners().iter().filter(|owner| owner.uid != deployment.uid()).cloned().collect();
    set_owners(cx, set, &owners).await
}

async fn set_owners(cx: &Context, set: &ReplicaSet, owners: &[OwnerReference]) -> Result<(), ReconcileError> {
    let patch = json!({ "metadata": {
        "uid": set.uid(), "resourceVersion": set.metadata.resource_version, "ownerReferences": owners,
    } });
    cx.wrote(&cx.client.merge_patch::<ReplicaSet>(&set.key(), &patch).await?);
    Ok(())
}

async fn create(cx: &Context, deployment: &Deployment, set: &ReplicaSet) -> Result<(), ReconcileError> {
    match cx.client.create(set).await {
        Ok(created) => {
            cx.wrote(&created);
            info!(deployment = %deployment.key(), set = created.name(), "created a replica set");
            announce(cx, deployment, &created, (0, size(&created)));
            Ok(())
        }
        Err(error) if error.is_already_exists() => resolve_collision(cx, deployment, set).await,
        Err(error) if error.is_namespace_terminating() => Ok(()),
        Err(error) => {
            let message = format!("Failed to create new replica set \"{}\": {error}", set.name());
            if !error.is_fenced() {
                cx.recorder.record(deployment, EventKind::Warning, "ReplicaSetCreateError", message);
            }
            Err(error.into())
        }
    }
}

/// Either the set is ours and the cache is behind, or another template has the same hash: count that.
async fn resolve_collision(
    cx: &Context,
    deployment: &Deployment,
    set: &ReplicaSet,
) -> Result<(), ReconcileError> {
    let existing = cx.client.get::<ReplicaSet>(&set.key()).await?;
    let is_ours = controller_of(&existing).is_some_and(|owner| owner.uid == deployment.uid());
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    if is_ours && template.is_some_and(|template| template::is_of_template(&existing, template)) {
        cx.wrote(&existing);
        return Ok(());
    }
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let mut object = deployment.clone();
    object.status.get_or_insert_default().collision_count = Some(collisions + 1);
    cx.wrote(&cx.client.replace_status(&object).await?);
    Ok(())
}

async fn scale(
    cx: &Context,
    deployment: &Deployment,
    set: &ReplicaSet,
    change: (i32, BTreeMap<String, String>),
) -> Result<(), ReconcileError> {
    let (to, annotations) = change;
    let patch = json!({
        "metadata": { "resourceVersion": set.metadata.resource_version, "annotations": annotations },
        "spec": { "replicas": to },
    });
    cx.wrote(&cx.client.merge_patch::<ReplicaSet>(&set.key(), &patch).await?);
    announce(cx, deployment, set, (size(set), to));
    Ok(())
}

fn announce(cx: &Context, deployment: &Deployment, set: &ReplicaSet, change: (i32, i32)) {
    let (from, to) = change;
    let direction = if to < from { "down" } else { "up" };
    if to != from {
        let message = format!("Scaled {direction} replica set {} from {from} to {to}", set.name());
        cx.recorder.record(deployment, EventKind::Normal, "ScalingReplicaSet", message);
    }
}
