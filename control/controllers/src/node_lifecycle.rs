//! Tells which nodes are alive, and writes it where others look: the Ready condition, taints, the pods' readiness.
//!
//! Heartbeats are not in the nodes: each gateway renews one Lease that names the nodes it hears from. A node is alive
//! as long as this process sees such a Lease change; no two clocks are compared. What happened before the present
//! term was not seen by it, so a new leader gives every node the full grace.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use client::{EventKind, HasMetadata, Index, ObjectKey};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use tracing::{info, warn};

use self::plan::{Action, Seen, plan};
use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};
use crate::pods;

/// A node unheard of for this long is not ready. With the 3 s for which a gateway still names it: well below 10 s.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_PREFIX: &str = "gateway-";
/// Comma-separated names of the nodes that a gateway hears from.
const NODES_ANNOTATION: &str = "navarch.io/nodes";

/// Pods by the node that they are bound to.
pub(crate) const BY_NODE: Index<Pod> = Index {
    name: "node",
    values: |pod| match pods::node_name(pod) {
        "" => Vec::new(),
        node => vec![node.to_owned()],
    },
};

pub(crate) struct NodeLifecycleController;

impl Controller for NodeLifecycleController {
    type Kind = Node;
    const NAME: &'static str = "node-lifecycle-controller";

    fn new(shared: &Shared) -> Self {
        shared.config.informers.cache::<Pod>().add_index(BY_NODE);
        Self
    }

    fn watches() -> Watches {
        // A renewal of what is known to be alive is no news: each node's own timer looks again.
        Watches::of::<Node>().reads::<Pod>().maps::<Lease>(|informers, change| {
            let named = change.new.as_ref().map(|lease| nodes_of(lease)).unwrap_or_default();
            let before = change.old.as_ref().map(|lease| nodes_of(lease)).unwrap_or_default();
            let nodes = informers.cache::<Node>();
            let is_news = |name: &&String| {
                !before.contains(*name)
                    || nodes
                        .get(&ObjectKey::cluster(name.as_str()))
                        .is_some_and(|node| !plan::is_ready(&node))
            };
            named.iter().filter(is_news).map(ObjectKey::cluster).collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(seen) = Seen::read(cx, key) else { return Ok(Next::Done) };
        let node = seen.node.clone();
        let steps = plan(&seen, cx.clock.now()).into_iter();
        cx.perform(steps.map(|step| (node.clone(), step)).collect()).await
    }
}

impl Seen {
    fn read(cx: &Context, key: &ObjectKey) -> Option<Self> {
        let node = cx.cache::<Node>().get(key)?;
        let leases = cx.cache::<Lease>();
        let naming = leases.in_namespace(LEASE_NAMESPACE);
        let heard = naming.iter().filter(|lease| nodes_of(lease).contains(&key.name));
        let last = heard.filter_map(|lease| leases.changed_at(&lease.key())).max();
        let last = last.map_or(cx.term_began, |last| last.max(cx.term_began));
        let pods = cx.cache::<Pod>().by_index(BY_NODE.name, &key.name);
        Some(Self { node, silent_for: last.elapsed(), pods })
    }
}

/// Empty for leases that are not a gateway's.
fn nodes_of(lease: &Lease) -> Vec<String> {
    if lease.namespace() != LEASE_NAMESPACE || !lease.name().starts_with(LEASE_PREFIX) {
        return Vec::new();
    }
    let names = lease.annotation(NODES_ANNOTATION).unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl crate::context::Action for (Arc<Node>, Action) {
    async fn perform(self, cx: &Context) -> Result<Next, ReconcileError> {
        let (node, action) = self;
        match action {
            Action::Conditions(conditions) => {
                let mut object = Node::clone(&node);
                object.status.get_or_insert_default().conditions = Some(conditions);
                cx.wrote(&cx.client.replace_status(&object).await?);
                warn!(node = node.name(), "the node is not heard of any more");
                let message = format!("Node {} status is now: NodeNotReady", node.name());
                cx.recorder.record(&*node, EventKind::Normal, "NodeNotReady", message);
            }
            Action::Taints(taints) => {
                info!(node = node.name(), taints = taints.len(), "set the node's taints");
                let patch = json!({ "metadata": { "uid": node.uid() }, "spec": { "taints": taints } });
                cx.wrote(&cx.client.merge_patch::<Node>(&node.key(), &patch).await?);
            }
            Action::PodNotReady(pod, conditions) => {
                let mut object = Pod::clone(&pod);
                object.status.get_or_insert_default().conditions = Some(conditions);
                match cx.client.replace_status(&object).await {
                    Ok(written) => cx.wrote(&written),
                    Err(error) if error.is_not_found() => return Ok(Next::Done),
                    Err(error) => return Err(error.into()),
                }
                cx.recorder.record(&*pod, EventKind::Warning, "NodeNotReady", "Node is not ready");
            }
            Action::Again(delay) => return Ok(Next::After(delay)),
        }
        Ok(Next::Done)
    }
}
