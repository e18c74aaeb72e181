//! Removes pods that nobody is left to finish: bound to a node that was deleted, or going away without ever being bound.
//!
//! A node that is merely unreachable keeps its pods: they may still run there.

use client::{Delete, HasMetadata, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Pod};
use tracing::info;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};
use crate::node_lifecycle::BY_NODE;
use crate::pods;

pub(crate) struct PodGarbageController;

impl Controller for PodGarbageController {
    type Kind = Pod;
    const NAME: &'static str = "pod-garbage-collector-controller";

    fn new(shared: &Shared) -> Self {
        shared.config.informers.cache::<Pod>().add_index(BY_NODE);
        Self
    }

    fn watches() -> Watches {
        Watches::of::<Pod>().maps::<Node>(|informers, change| {
            let gone = change.old.as_ref().filter(|_| change.new.is_none());
            let Some(node) = gone else { return Vec::new() };
            let pods = informers.cache::<Pod>().by_index(BY_NODE.name, node.name());
            pods.iter().map(|pod| pod.key()).collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(pod) = cx.cache::<Pod>().get(key) else { return Ok(Next::Done) };
        let node = pods::node_name(&pod);
        let is_lost = if node.is_empty() { pod.is_terminating() } else { is_gone(cx, node).await? };
        if is_lost {
            info!(pod = %key, node, "nobody is left to end the pod");
            let delete = Delete { grace_period_seconds: Some(0), ..Delete::exactly(&*pod) };
            match cx.client.delete::<Pod>(key, &delete).await {
                Ok(()) => cx.deleted(&*pod),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Next::Done)
    }
}

/// The cache may be behind: only the server knows that there is no such node.
async fn is_gone(cx: &Context, node: &str) -> Result<bool, ReconcileError> {
    let key = ObjectKey::cluster(node);
    if cx.cache::<Node>().get(&key).is_some() {
        return Ok(false);
    }
    match cx.client.get::<Node>(&key).await {
        Ok(_) => Ok(false),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(error.into()),
    }
}
