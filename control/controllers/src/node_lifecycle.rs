//! Tells which nodes are alive, and writes it where others look: the Ready condition, taints, the pods' readiness.
//!
//! Heartbeats are not in the nodes: each gateway renews one Lease that names the nodes it hears from. A node is alive
//! as long as this process sees such a Lease change; no two clocks are compared. What happened before the present
//! term was not seen by it, so a new leader gives every node the full grace.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::{EventKind, HasMetadata, Index, ObjectKey};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use tokio::time::Instant;
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

/// Gateways renew their leases this often: a node that is named no more was last named so long ago.
const RENEWAL: Duration = Duration::from_secs(2);

pub(crate) struct NodeLifecycleController {
    heard: Mutex<BTreeMap<String, Heard>>,
}

/// What is remembered of a node's heartbeats.
#[derive(Clone, Copy)]
struct Heard {
    at: Instant,
    /// By some lease, when last looked at.
    is_named: bool,
}

impl Controller for NodeLifecycleController {
    type Kind = Node;
    const NAME: &'static str = "node-lifecycle-controller";

    fn new(shared: &Shared) -> Self {
        shared.config.informers.cache::<Pod>().add_index(BY_NODE);
        Self { heard: Mutex::default() }
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
            let dropped = before.iter().filter(|name| !named.contains(name));
            named.iter().filter(is_news).chain(dropped).map(ObjectKey::cluster).collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(node) = cx.cache::<Node>().get(key) else {
            self.lock().remove(&key.name);
            return Ok(Next::Done);
        };
        let pods = cx.cache::<Pod>().by_index(BY_NODE.name, &key.name);
        let seen = Seen { node, silent_for: self.heard(cx, &key.name).elapsed(), pods };
        let node = seen.node.clone();
        let steps = plan(&seen, cx.clock.now()).into_iter();
        cx.perform(steps.map(|step| (node.clone(), step)).collect()).await
    }
}

impl NodeLifecycleController {
    /// When a gateway last heard from the node, as far as this term knows.
    fn heard(&self, cx: &Context, name: &str) -> Instant {
        let leases = cx.cache::<Lease>();
        let all = leases.in_namespace(LEASE_NAMESPACE);
        let naming = all.iter().filter(|lease| nodes_of(lease).iter().any(|named| *named == *name));
        let renewed = naming.filter_map(|lease| leases.changed_at(&lease.key())).max();
        let mut heard = self.lock();
        let known = heard.get(name).copied();
        let now = match (renewed, known) {
            (Some(at), Some(known)) => Heard { at: at.max(known.at), is_named: true },
            (Some(at), None) => Heard { at, is_named: true },
            (None, Some(known)) if known.is_named => {
                let dropped = Instant::now().checked_sub(RENEWAL).unwrap_or(known.at);
                Heard { at: dropped.max(known.at), is_named: false }
            }
            (None, Some(known)) => known,
            (None, None) => Heard { at: cx.term_began, is_named: false },
        };
        heard.insert(name.to_owned(), now);
        now.at.max(cx.term_began)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
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
