//! Tells which nodes are alive, and writes it where others look: the Ready condition, taints, the pods' readiness.
//!
//! Heartbeats are not in the nodes: each gateway renews one Lease that names the nodes it hears from. A node is alive
//! as long as this process sees such a Lease change; no two clocks are compared. What happened before the present
//! term was not seen by it, so a new leader gives every node the full grace.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
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

/// The leases of gateways by the nodes that they name.
const NAMING: Index<Lease> =
    Index { name: "named node", values: |lease| names_of(lease).map(str::to_owned).collect() };

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
        shared.config.informers.cache::<Lease>().add_index(NAMING);
        Self { heard: Mutex::default() }
    }

    fn watches() -> Watches {
        // A renewal of what is known to be alive is no news: each node's own timer looks again.
        Watches::of::<Node>().reads::<Pod>().maps::<Lease>(|informers, change| {
            let named: BTreeSet<&str> = change.new.iter().flat_map(|lease| names_of(lease)).collect();
            let before: BTreeSet<&str> = change.old.iter().flat_map(|lease| names_of(lease)).collect();
            let nodes = informers.cache::<Node>();
            let is_news = |name: &&&str| {
                !before.contains(**name)
                    || nodes.get(&ObjectKey::cluster(**name)).is_some_and(|node| !plan::is_ready(&node))
            };
            let dropped = before.difference(&named);
            named.iter().filter(is_news).chain(dropped).map(|name| ObjectKey::cluster(*name)).collect()
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
        let naming = leases.by_index(NAMING.name, name);
        let renewed = naming.iter().filter_map(|lease| leases.changed_at(&lease.key())).max();
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

/// Nothing for leases that are not a gateway's.
fn names_of(lease: &Lease) -> impl Iterator<Item = &str> {
    let is_gateways = lease.namespace() == LEASE_NAMESPACE && lease.name().starts_with(LEASE_PREFIX);
    let names = if is_gateways { lease.annotation(NODES_ANNOTATION).unwrap_or_default() } else { "" };
    names.split(',').map(str::trim).filter(|name| !name.is_empty())
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
