//! Keeps as many pods of a ReplicaSet as it asks for.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{
    Cache, ClientError, Delete, EventKind, HasMetadata, Index, Informers, ObjectKey, controller_of, selects,
};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde_json::json;
use tracing::debug;

use self::plan::{Action, Seen, plan};
use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};

/// Pods by the uid of their controller; [`ORPHAN`] and the namespace for those that have none.
pub(crate) const BY_CONTROLLER: Index<Pod> = Index { name: "controller", values: controller_values };
const ORPHAN: &str = "orphan in ";

pub(crate) struct ReplicaSetController;

impl Controller for ReplicaSetController {
    type Kind = ReplicaSet;
    const NAME: &'static str = "replicaset-controller";

    fn new(shared: &Shared) -> Self {
        shared.config.informers.cache::<Pod>().add_index(BY_CONTROLLER);
        Self
    }

    fn watches() -> Watches {
        Watches::of::<ReplicaSet>().owns::<Pod>().maps::<Pod>(|informers, change| {
            let orphan = change.new.as_ref().filter(|pod| controller_of(&***pod).is_none());
            orphan.map(|pod| who_selects(informers, pod)).unwrap_or_default()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(seen) = Seen::read(cx, key) else { return Ok(Next::Done) };
        cx.perform(plan(&seen, cx.clock.now())).await
    }
}

impl Seen {
    fn read(cx: &Context, key: &ObjectKey) -> Option<Self> {
        let set = cx.cache::<ReplicaSet>().get(key)?;
        let pods = cx.cache::<Pod>();
        let mine = pods.by_index(BY_CONTROLLER.name, set.uid());
        let orphans = pods.by_index(BY_CONTROLLER.name, &format!("{ORPHAN}{}", key.namespace));
        let related = related(&cx.cache(), &pods, &set);
        Some(Self { set, pods: mine, orphans, related })
    }
}

/// Pods of all the sets that share this one's controller.
fn related(sets: &Cache<ReplicaSet>, pods: &Cache<Pod>, set: &ReplicaSet) -> Vec<Arc<Pod>> {
    let Some(owner) = controller_of(set) else { return Vec::new() };
    let siblings = sets
        .in_namespace(set.namespace())
        .into_iter()
        .filter(|other| controller_of(&**other).is_some_and(|other| other.uid == owner.uid));
    siblings.flat_map(|sibling| pods.by_index(BY_CONTROLLER.name, sibling.uid())).collect()
}

fn controller_values(pod: &Pod) -> Vec<String> {
    vec![match controller_of(pod) {
        Some(owner) => owner.uid.clone(),
        None => format!("{ORPHAN}{}", pod.namespace()),
    }]
}

fn who_selects(informers: &Informers, pod: &Pod) -> Vec<ObjectKey> {
    let sets = informers.cache::<ReplicaSet>().in_namespace(pod.namespace());
    let selecting = sets.iter().filter(|set| {
        set.spec.as_ref().is_some_and(|spec| selects(&spec.selector, pod.metadata.labels.as_ref()))
    });
    selecting.map(|set| set.key()).collect()
}

impl crate::context::Action for Action {
    async fn perform(self, cx: &Context) -> Result<Next, ReconcileError> {
        match self {
            Self::Adopt { set, pod } => adopt(cx, &set, &pod).await?,
            Self::Release { set, pod } => release(cx, &set, &pod).await?,
            Self::Create { set, count } => create(cx, &set, count).await?,
            Self::Delete { set, pod } => delete(cx, &set, &pod).await?,
            Self::Status { set, status } => write_status(cx, &set, *status).await?,
            Self::Again(delay) => return Ok(Next::After(delay)),
        }
        Ok(Next::Done)
    }
}

/// The reference that makes `set` the controller of what carries it.
fn owner_reference(set: &ReplicaSet) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: set.name().to_owned(),
        uid: set.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

async fn adopt(cx: &Context, set: &ReplicaSet, pod: &Pod) -> Result<(), ReconcileError> {
    // The cache may be of an older set of the same name: only the server knows.
    let now = cx.client.get::<ReplicaSet>(&set.key()).await?;
    if now.uid() != set.uid() || now.is_terminating() {
        return Ok(());
    }
    let mut owners = pod.owners().to_vec();
    owners.push(owner_reference(set));
    set_owners(cx, pod, &owners).await
}

async fn release(cx: &Context, set: &ReplicaSet, pod: &Pod) -> Result<(), ReconcileError> {
    let owners: Vec<_> = pod.owners().iter().filter(|owner| owner.uid != set.uid()).cloned().collect();
    set_owners(cx, pod, &owners).await
}

async fn set_owners(cx: &Context, pod: &Pod, owners: &[OwnerReference]) -> Result<(), ReconcileError> {
    let patch = json!({ "metadata": {
        "uid": pod.uid(), "resourceVersion": pod.metadata.resource_version, "ownerReferences": owners,
    } });
    let written = cx.client.merge_patch::<Pod>(&pod.key(), &patch).await?;
    cx.wrote(&written);
    Ok(())
}

/// In batches of 1, 2, 4 …, so that what fails for all is tried once, not `count` times.
async fn create(cx: &Context, set: &ReplicaSet, count: usize) -> Result<(), ReconcileError> {
    let pod = pod_of(set);
    let (mut left, mut batch) = (count, 1);
    while left > 0 {
        let creations = (0..batch.min(left)).map(|_| cx.client.create(&pod));
        let mut failure = None;
        for created in futures::future::join_all(creations).await {
            match created {
                Ok(pod) => {
                    cx.wrote(&pod);
                    let message = format!("Created pod: {}", pod.name());
                    cx.recorder.record(set, EventKind::Normal, "SuccessfulCreate", message);
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            return creation_failed(cx, set, error).await;
        }
        left -= batch.min(left);
        batch *= 2;
    }
    Ok(())
}

async fn creation_failed(cx: &Context, set: &ReplicaSet, error: ClientError) -> Result<(), ReconcileError> {
    if error.is_namespace_terminating() {
        return Ok(());
    }
    if !error.is_fenced() {
        let message = format!("Error creating: {error}");
        cx.recorder.record(set, EventKind::Warning, "FailedCreate", message);
        let mut status = set.status.clone().unwrap_or_default();
        let known = status.conditions.get_or_insert_default();
        if !known.iter().any(|condition| condition.type_ == plan::REPLICA_FAILURE) {
            known.push(ReplicaSetCondition {
                type_: plan::REPLICA_FAILURE.to_owned(),
                status: "True".to_owned(),
                reason: Some("FailedCreate".to_owned()),
                message: Some(error.to_string()),
                last_transition_time: Some(Time(cx.clock.now())),
            });
            if let Err(error) = write_status(cx, set, status).await {
                debug!(%error, "cannot tell in the status that pods cannot be created");
            }
        }
    }
    Err(error.into())
}

fn pod_of(set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.name())),
            namespace: set.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

async fn delete(cx: &Context, set: &ReplicaSet, pod: &Pod) -> Result<(), ReconcileError> {
    match cx.client.delete::<Pod>(&pod.key(), &Delete::exactly(pod)).await {
        Ok(()) => {}
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => {
            let message = format!("Error deleting: {error}");
            cx.recorder.record(set, EventKind::Warning, "FailedDelete", message);
            return Err(error.into());
        }
    }
    cx.deleted(pod);
    cx.recorder.record(set, EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {}", pod.name()));
    Ok(())
}

async fn write_status(
    cx: &Context,
    set: &ReplicaSet,
    status: ReplicaSetStatus,
) -> Result<(), ReconcileError> {
    let mut object = set.clone();
    object.status = Some(status);
    let written = cx.client.replace_status(&object).await?;
    cx.wrote(&written);
    Ok(())
}
