//! NodeRestriction: what a node writes is about itself and about its own pods.
//!
//! Whether it may write at all was the node authorizer's to say; here it is known what is written.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::core::pod::MIRROR;
use kinds::{Kind, meta, tree};
use serde_json::{Map, Value};

use super::{Admit, Attempt, Plugin};
use crate::chain::authn::Identity;
use crate::status::Status;
use crate::storage::Scope;

pub(super) const PLUGIN: Plugin = Plugin { name: "NodeRestriction", admit: Admit::Reading(admit) };

const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// What of the labels of Kubernetes a node may say of itself.
const OWN_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_LABEL_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
/// What of a claim's status a node may change.
const CLAIM_STATUS: &[&str] = &[
    "status.capacity",
    "status.conditions",
    "status.allocatedResourceStatuses",
    "status.allocatedResources",
];

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let Some(node) = attempt.call.who.node() else { return Ok(()) };
        let refused = |why: String| Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why));
        let creates = attempt.is_create();
        match (attempt.call.kind.group, attempt.call.kind.kind) {
            ("", "Pod") if creates => admit_mirror(attempt, node).await,
            ("", "Pod") => refused(format!(
                "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
            )),
            ("", "Node") => check_node(attempt.call.kind, node, attempt.old, attempt.object),
            ("", "PersistentVolumeClaim") => refused("may only update PVC status".to_owned()),
            ("coordination.k8s.io", "Lease") if attempt.name != node => {
                refused("can only access node lease with the same name as the requesting node".to_owned())
            }
            ("storage.k8s.io", "CSINode") if attempt.name != node => {
                refused("can only access CSINode with the same name as the requesting node".to_owned())
            }
            _ => Ok(()),
        }
    }
    .boxed()
}

/// Of a write of a status: the node's own, or that of a pod on it.
pub(crate) fn check_status(who: &Identity, kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
    let Some(node) = who.node() else { return Ok(()) };
    let name = meta::name(old);
    let why = match (kind.group, kind.kind) {
        ("", "Node") => return check_node(kind, node, Some(old), new),
        ("", "Pod") if tree::text(old, "spec.nodeName") != node => {
            format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
        }
        ("", "Pod") if !tree::same(tree::get(old, "metadata.labels"), tree::get(new, "metadata.labels")) => {
            format!("node {node:?} cannot update labels through pod status")
        }
        ("", "PersistentVolumeClaim") if !same_claim(old, new) => format!(
            "node {node:?} is not allowed to update fields other than status.capacity and status.conditions"
        ),
        _ => return Ok(()),
    };
    Err(Status::forbidden_object(kind, name, &why))
}

/// Of a delete or, if `evicts`, of an eviction.
pub(crate) fn check_delete(who: &Identity, kind: &Kind, (old, evicts): (&Value, bool)) -> Result<(), Status> {
    let Some(node) = who.node() else { return Ok(()) };
    let name = meta::name(old);
    let why = match (kind.group, kind.kind) {
        ("", "Pod") if tree::text(old, "spec.nodeName") == node => return Ok(()),
        ("", "Pod") if evicts => {
            format!("node {node} can only evict pods with spec.nodeName set to itself")
        }
        ("", "Pod") => format!("node {node:?} can only delete pods with spec.nodeName set to itself"),
        ("", "Node") if name != node => format!("node {node:?} is not allowed to modify node {name:?}"),
        ("coordination.k8s.io", "Lease") if name != node => {
            "can only access node lease with the same name as the requesting node".to_owned()
        }
        ("storage.k8s.io", "CSINode") if name != node => {
            "can only access CSINode with the same name as the requesting node".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Status::forbidden_object(kind, name, &why))
}

/// Of a request for a token of the account `name`, bound to `bound`; `pod` is what is there.
pub(crate) fn check_token(
    who: &Identity,
    (kind, name): (&Kind, &str),
    bound: &Value,
    pod: Option<&Value>,
) -> Result<(), Status> {
    let Some(node) = who.node() else { return Ok(()) };
    let uid = tree::text(bound, "uid");
    let why = match pod {
        None => "node requested token not bound to a pod".to_owned(),
        Some(_) if uid.is_empty() => "node requested token with a pod binding without a uid".to_owned(),
        Some(pod) if meta::uid(pod) != uid => format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ),
        Some(pod) if tree::text(pod, "spec.nodeName") != node => {
            "node requested token bound to a pod scheduled on a different node".to_owned()
        }
        Some(_) => return Ok(()),
    };
    Err(Status::forbidden_object(kind, name, &why))
}

/// A node may show what it runs by itself, and that uses nothing of the cluster's.
async fn admit_mirror(attempt: &Attempt<'_>, node: &str) -> Result<(), Status> {
    let pod = &*attempt.object;
    let forbidden = |why: String| Status::forbidden_object(attempt.call.kind, attempt.name, &why);
    if meta::annotation(pod, MIRROR).is_none() {
        return Err(forbidden(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        )));
    }
    if tree::text(pod, "spec.nodeName") != node {
        return Err(forbidden(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        )));
    }
    let owners = meta::owner_references(pod);
    let [owner] = owners.as_slice() else {
        let what = if owners.is_empty() { "an" } else { "a single" };
        return Err(forbidden(format!(
            "node {node:?} can only create pods with {what} owner reference set to itself"
        )));
    };
    if (owner.api_version, owner.kind, owner.name) != ("v1", "Node", node) {
        return Err(forbidden(format!(
            "node {node:?} can only create pods with an owner reference set to itself"
        )));
    }
    if !owner.controller {
        return Err(forbidden(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        )));
    }
    if owner.block_owner_deletion {
        return Err(forbidden(format!(
            "node {node:?} must not set blockOwnerDeletion on an owner reference"
        )));
    }
    let scope = Scope { kind: &kinds::core::node::NODE, namespace: None };
    let found = attempt.find(&scope, node).await?;
    let found = found.ok_or_else(|| Status::not_found(scope.kind, node))?.parse()?;
    if owner.uid != meta::uid(&found) {
        let (expected, got) = (owner.uid, meta::uid(&found));
        return Err(forbidden(format!("node {node} UID mismatch: expected {expected} got {got}")));
    }
    match used(pod) {
        Some(what) => Err(forbidden(format!("node {node:?} can not create pods that reference {what}"))),
        None => Ok(()),
    }
}

/// What of the cluster's a pod uses, the first that is found.
fn used(pod: &Value) -> Option<&'static str> {
    if !tree::text(pod, "spec.serviceAccountName").is_empty() {
        return Some("a service account");
    }
    let lists = ["spec.containers", "spec.initContainers", "spec.ephemeralContainers"];
    let containers = || lists.into_iter().flat_map(|list| tree::items(pod, list));
    let volumes = || tree::items(pod, "spec.volumes").iter();
    let has = |object: &Value, path: &str| !tree::get(object, path).is_null();
    let uses = |variable: &str, all: &str, volume: &str| {
        containers().any(|container| {
            tree::items(container, "env").iter().any(|env| has(env, variable))
                || tree::items(container, "envFrom").iter().any(|source| has(source, all))
        }) || volumes().any(|of| {
            has(of, volume) || tree::items(of, "projected.sources").iter().any(|source| has(source, volume))
        })
    };
    if !tree::items(pod, "spec.imagePullSecrets").is_empty()
        || uses("valueFrom.secretKeyRef", "secretRef", "secret")
    {
        return Some("secrets");
    }
    if uses("valueFrom.configMapKeyRef", "configMapRef", "configMap") {
        return Some("configmaps");
    }
    volumes().any(|volume| has(volume, "persistentVolumeClaim")).then_some("persistentvolumeclaims")
}

/// A node may not choose what is sent to it: neither by taints nor by labels that others rely on.
fn check_node(kind: &Kind, node: &str, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    let name = meta::name(new);
    let refused = |why: &str| Err(Status::forbidden_object(kind, name, why));
    if name != node {
        return refused(&format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    if let Some(old) = old
        && !tree::same(tree::get(old, "spec.taints"), tree::get(new, "spec.taints"))
    {
        return refused(&format!("node {node:?} is not allowed to modify taints"));
    }
    let forbidden = forbidden_labels(old.and_then(meta::labels), meta::labels(new)).join(", ");
    match (forbidden.as_str(), old) {
        ("", _) => Ok(()),
        (labels, Some(_)) => refused(&format!("is not allowed to modify labels: {labels}")),
        (labels, None) => {
            refused(&format!("node {node:?} is not allowed to set the following labels: {labels}"))
        }
    }
}

/// The labels that differ and that a node has no say in, in order.
fn forbidden_labels(old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) -> Vec<String> {
    let of =
        |labels: Option<&Map<String, Value>>, key: &str| labels.and_then(|labels| labels.get(key).cloned());
    let keys = old.into_iter().chain(new).flat_map(|labels| labels.keys());
    let mut forbidden: Vec<String> =
        keys.filter(|key| of(old, key) != of(new, key) && is_forbidden(key)).cloned().collect();
    forbidden.sort();
    forbidden.dedup();
    forbidden
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let is_below =
        |root: &str| domain == root || domain.strip_suffix(root).is_some_and(|front| front.ends_with('.'));
    let is_own = OWN_LABELS.contains(&label) || OWN_LABEL_DOMAINS.iter().any(|root| is_below(root));
    is_below(RESTRICTED) || ((is_below("kubernetes.io") || is_below("k8s.io")) && !is_own)
}

fn same_claim(old: &Value, new: &Value) -> bool {
    let bare = |claim: &Value| {
        let mut claim = claim.clone();
        for path in CLAIM_STATUS.iter().chain(&["metadata.resourceVersion", "metadata.managedFields"]) {
            tree::remove(&mut claim, path);
        }
        claim
    };
    tree::same(&bare(old), &bare(new))
}

#[cfg(test)]
mod tests;
