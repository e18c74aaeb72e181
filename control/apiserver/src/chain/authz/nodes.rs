//! The node authorizer: a node may read what its own pods use, and nothing of others'; it may act as a kubelet on its
//! own Node and Lease. What it writes there is NodeRestriction's to judge.
//!
//! Agents of this program come here for tokens alone, through the gateway. Nothing is read before the first node asks.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base::Tasks;
use tokio::sync::watch;

use self::graph::{Graph, Thing};
use super::rule::Rule;
use super::{Asked, Attributes, Resource};
use crate::chain::authn::Identity;
use crate::status::Status;
use crate::storage::Storage;

mod feed;
mod graph;

/// How long the first node waits until the pods are read.
const FIRST_READ_WAIT_MAX: Duration = Duration::from_secs(10);
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Knows which node may what.
pub(super) struct Nodes {
    graph: Arc<RwLock<Graph>>,
    /// Whether any node has asked.
    wanted: watch::Sender<bool>,
    /// Whether the graph holds what the store does.
    is_read: watch::Receiver<bool>,
    /// What every node may.
    rules: Vec<Rule>,
}

/// What the node authorizer has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opinion {
    /// The sender is no node, or this is no matter of nodes alone.
    None,
    Allowed,
    /// Others may still allow it.
    NotByThis(String),
}

/// Whether the rules of all nodes decide, or the graph.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Here(Opinion),
    ByRules,
    /// Whether pods of the node use this one.
    ByUse(Thing, String),
    /// Whether they use the volume of this name.
    ByVolume(String),
}

impl Nodes {
    pub(super) fn start(storage: Storage, tasks: &Tasks, rules: Vec<Rule>) -> Self {
        let graph = Arc::new(RwLock::new(Graph::default()));
        let (wanted, asked) = watch::channel(false);
        let (publish, is_read) = watch::channel(false);
        let following = feed::feed(storage, graph.clone(), asked, publish, tasks.stop().clone());
        tasks.spawn_infallible("node graph", following);
        Self { graph, wanted, is_read, rules }
    }

    pub(super) async fn opinion(&self, who: &Identity, asked: &Attributes<'_>) -> Result<Opinion, Status> {
        let Some(node) = who.node() else { return Ok(Opinion::None) };
        let reaches = match judge(node, asked) {
            Judged::Here(opinion) => return Ok(opinion),
            Judged::ByRules if self.rules.iter().any(|rule| rule.allows(asked)) => {
                return Ok(Opinion::Allowed);
            }
            Judged::ByRules => return Ok(Opinion::None),
            Judged::ByUse(thing, key) => self.read().await?.with(|graph| graph.reaches(node, thing, &key)),
            Judged::ByVolume(name) => self.read().await?.with(|graph| graph.volume_reaches(node, &name)),
        };
        Ok(match reaches {
            true => Opinion::Allowed,
            false => not(format!("no relationship found between node '{node}' and this object")),
        })
    }

    /// Waits until the graph is there.
    async fn read(&self) -> Result<&Self, Status> {
        self.wanted.send_if_modified(|wanted| !std::mem::replace(wanted, true));
        let mut is_read = self.is_read.clone();
        let read = tokio::time::timeout(FIRST_READ_WAIT_MAX, is_read.wait_for(|is_read| *is_read)).await;
        match read {
            Ok(Ok(_)) => Ok(self),
            Ok(Err(_)) | Err(_) => Err(Status::unavailable("the pods of nodes are not read yet")),
        }
    }

    fn with(&self, look: impl Fn(&Graph) -> bool) -> bool {
        look(&self.graph.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn not(why: impl Into<String>) -> Opinion {
    Opinion::NotByThis(why.into())
}

fn here(allowed: bool, otherwise: &str) -> Judged {
    Judged::Here(if allowed { Opinion::Allowed } else { not(otherwise) })
}

/// Pure: what decides, in the order and with the words of Kubernetes' node authorizer.
fn judge(node: &str, asked: &Attributes<'_>) -> Judged {
    let Asked::Resource(of) = &asked.asked else { return Judged::ByRules };
    if node.is_empty() {
        return Judged::Here(not("unknown node"));
    }
    let verb = asked.verb;
    match (of.group, of.resource) {
        ("", "secrets") => read_namespaced(Thing::Secret, verb, of),
        ("", "configmaps") => read_namespaced(Thing::ConfigMap, verb, of),
        ("", "persistentvolumeclaims") if of.subresource == "status" => match verb {
            "update" | "patch" => by_name(of, Judged::ByUse(Thing::Claim, key(of))),
            _ => here(false, "can only get/update/patch this type"),
        },
        ("", "persistentvolumeclaims") => get(verb, of, Judged::ByUse(Thing::Claim, key(of))),
        ("", "persistentvolumes") => get(verb, of, Judged::ByVolume(of.name.to_owned())),
        ("", "serviceaccounts") => match (verb, of.subresource) {
            ("create", _) if of.name.is_empty() => {
                here(false, "can only create tokens for individual service accounts")
            }
            ("create", "token") => Judged::ByUse(Thing::Account, key(of)),
            ("create", _) => here(false, "can only create token subresource of serviceaccount"),
            _ => here(false, "can only create tokens for individual service accounts"),
        },
        ("coordination.k8s.io", "leases") => lease(node, verb, of),
        ("storage.k8s.io", "csinodes") => csi_node(node, verb, of),
        // Attachments of volumes are nobody's yet.
        ("storage.k8s.io", "volumeattachments") => {
            here(false, &format!("no relationship found between node '{node}' and this object"))
        }
        ("", "nodes") => own_node(node, verb, of),
        ("", "pods") => pods(node, verb, of),
        _ => Judged::ByRules,
    }
}

fn key(of: &Resource<'_>) -> String {
    format!("{}/{}", of.namespace, of.name)
}

fn by_name(of: &Resource<'_>, judged: Judged) -> Judged {
    if of.name.is_empty() { here(false, "No Object name found") } else { judged }
}

fn read_namespaced(thing: Thing, verb: &str, of: &Resource<'_>) -> Judged {
    if !matches!(verb, "get" | "list" | "watch") {
        return here(false, "can only read resources of this type");
    }
    if !of.subresource.is_empty() {
        return here(false, "cannot read subresource");
    }
    if of.namespace.is_empty() {
        return here(false, "can only read namespaced object of this type");
    }
    by_name(of, Judged::ByUse(thing, key(of)))
}

fn get(verb: &str, of: &Resource<'_>, judged: Judged) -> Judged {
    if verb != "get" {
        return here(false, "can only get individual resources of this type");
    }
    if !of.subresource.is_empty() {
        return here(false, "cannot get subresource");
    }
    by_name(of, judged)
}

fn lease(node: &str, verb: &str, of: &Resource<'_>) -> Judged {
    if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
        return here(false, "can only get, create, update, patch, or delete a node lease");
    }
    if of.namespace != LEASE_NAMESPACE {
        return here(false, &format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    // The name of what is created is in its body: NodeRestriction sees it.
    let why = "can only access node lease with the same name as the requesting node";
    here(verb == "create" || of.name == node, why)
}

fn csi_node(node: &str, verb: &str, of: &Resource<'_>) -> Judged {
    if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
        return here(false, "can only get, create, update, patch, or delete a CSINode");
    }
    if !of.subresource.is_empty() {
        return here(false, "cannot authorize CSINode subresources");
    }
    let why = "can only access CSINode with the same name as the requesting node";
    here(verb == "create" || of.name == node, why)
}

fn own_node(node: &str, verb: &str, of: &Resource<'_>) -> Judged {
    match (of.subresource, verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => here(true, ""),
        ("", "get" | "list" | "watch") if of.name == node => here(true, ""),
        ("", "get" | "list" | "watch") if of.name.is_empty() => {
            here(false, &format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            here(false, &format!("node '{node}' cannot read '{}', only its own Node object", of.name))
        }
        _ => Judged::Here(Opinion::None),
    }
}

fn pods(node: &str, verb: &str, of: &Resource<'_>) -> Judged {
    match (of.subresource, verb) {
        ("", "get") => by_name(of, Judged::ByUse(Thing::Pod, key(of))),
        ("", "list" | "watch") if of.node == node => here(true, ""),
        ("", "list" | "watch") if !of.name.is_empty() => Judged::ByUse(Thing::Pod, key(of)),
        ("", "list" | "watch") => here(false, "can only list/watch pods with spec.nodeName field selector"),
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => here(true, ""),
        _ => Judged::Here(Opinion::None),
    }
}

#[cfg(test)]
mod tests;
