//! Pod: containers that live and go together on one node.

use base::Timestamp;
use serde_json::{Value, json};

use crate::kind::selectable;
use crate::{
    Column, Connect, Deletion, FieldErrors, Generation, Kind, NameRule, Proxied, Serves, Strategy,
    Subresource, Verb, meta, tree,
};

mod columns;
mod containers;
mod defaults;
mod ephemeral;
mod resize;
mod resources;
mod scheduling;
mod update;
mod validate;
mod volumes;

pub(crate) use defaults::template_defaults;
pub use resources::quality_of_service;
pub(crate) use validate::{validate_spec, validate_template};

pub static POD: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    definition: "io.k8s.api.core.v1.Pod",
    verbs: Verb::ALL,
    subresources: &[
        Subresource {
            name: "attach",
            verbs: &[Verb::Create, Verb::Get],
            group: "",
            version: "v1",
            kind: "PodAttachOptions",
            serves: Serves::Connect(Connect::Attach),
        },
        Subresource {
            name: "binding",
            verbs: &[Verb::Create],
            group: "",
            version: "v1",
            kind: "Binding",
            serves: Serves::Binding,
        },
        Subresource {
            name: "ephemeralcontainers",
            verbs: Verb::VIEW,
            group: "",
            version: "v1",
            kind: "Pod",
            serves: Serves::View(&ephemeral::VIEW),
        },
        Subresource {
            name: "eviction",
            verbs: &[Verb::Create],
            group: "policy",
            version: "v1",
            kind: "Eviction",
            serves: Serves::Eviction,
        },
        Subresource {
            name: "exec",
            verbs: &[Verb::Create, Verb::Get],
            group: "",
            version: "v1",
            kind: "PodExecOptions",
            serves: Serves::Connect(Connect::Exec),
        },
        Subresource {
            name: "log",
            verbs: &[Verb::Get],
            group: "",
            version: "v1",
            kind: "Pod",
            serves: Serves::Log,
        },
        Subresource {
            name: "portforward",
            verbs: &[Verb::Create, Verb::Get],
            group: "",
            version: "v1",
            kind: "PodPortForwardOptions",
            serves: Serves::Connect(Connect::PortForward),
        },
        Subresource::proxy("PodProxyOptions", Proxied::Pod),
        Subresource {
            name: "resize",
            verbs: Verb::VIEW,
            group: "",
            version: "v1",
            kind: "Pod",
            serves: Serves::View(&resize::VIEW),
        },
        Subresource::status("", "Pod"),
    ],
    columns: &[
        Column::NAME,
        Column::new("Ready", "Containers ready, of all.", |object, _| columns::ready(object).into()),
        Column::new("Status", "What it is doing, or why not.", |object, _| columns::status(object).into()),
        Column::new("Restarts", "How often containers were restarted, and when last.", |object, cx| {
            columns::restarts(object, cx).into()
        }),
        Column::AGE,
        Column::new("IP", "Its address.", |object, _| columns::address(object).into()).wide(),
        Column::new("Node", "Where it runs.", |object, _| columns::or_none(object, "spec.nodeName").into())
            .wide(),
        Column::new("Nominated Node", "Where it is to run after preemption.", |object, _| {
            columns::or_none(object, "status.nominatedNodeName").into()
        })
        .wide(),
        Column::new("Readiness Gates", "Gates open, of all.", |object, _| columns::gates(object).into())
            .wide(),
    ],
    selectable: selectable![
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName";
        "spec.hostNetwork" => |object| tree::flag(object, "spec.hostNetwork").to_string(),
        "status.podIPs" => |object| tree::text(object, "status.podIP").to_owned(),
        "spec.host" => |object| tree::text(object, "spec.nodeName").to_owned(),
    ],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy {
        defaults: defaults::pod_defaults,
        prepare_create,
        prepare_status_update,
        validate_create: validate::pod,
        validate_update: update::validate,
        deletion: Deletion::Graceful(grace_seconds),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
};

/// The annotation of a pod that a node made by itself, of a file.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Of metadata the views of a pod change nothing.
fn keep_metadata(object: &mut Value, old: &Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        tree::copy(object, &format!("metadata.{field}"), old);
    }
}

fn prepare_create(object: &mut Value) {
    let class = quality_of_service(object);
    tree::set(object, "status", json!({"phase": "Pending", "qosClass": class}));
}

/// Reporters of status own neither the owners nor the class.
fn prepare_status_update(object: &mut Value, old: &Value) {
    tree::copy(object, "metadata.ownerReferences", old);
    if tree::text(object, "status.qosClass").is_empty() {
        tree::copy(object, "status.qosClass", old);
    }
}

/// How long a deleted pod may linger: what was asked for, or what its spec says. A pod that no node runs, or
/// that has ended, goes at once.
fn grace_seconds(object: &Value, asked: Option<i64>) -> i64 {
    let unscheduled = tree::text(object, "spec.nodeName").is_empty();
    let ended = matches!(tree::text(object, "status.phase"), "Failed" | "Succeeded");
    if unscheduled || ended {
        return 0;
    }
    match asked.or_else(|| tree::int(object, "spec.terminationGracePeriodSeconds")).unwrap_or_default() {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// Why a pod cannot be bound. The text ends the `Conflict` message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("pod {0} is being deleted, cannot be assigned to a host")]
    Deleting(String),
    #[error("pod {pod} is already assigned to node {node:?}")]
    Assigned { pod: String, node: String },
    #[error("pod {0} has non-empty .spec.schedulingGates")]
    Gated(String),
}

/// Binds `pod` to the node that `binding` (a v1 Binding) names, and marks it scheduled.
///
/// # Errors
/// The pod is being deleted, gated, or bound already. Nothing is changed then.
pub fn bind(pod: &mut Value, binding: &Value, now: Timestamp) -> Result<(), BindError> {
    let name = meta::name(pod).to_owned();
    if meta::deletion_timestamp(pod).is_some() {
        return Err(BindError::Deleting(name));
    }
    let node = tree::text(pod, "spec.nodeName");
    if !node.is_empty() {
        return Err(BindError::Assigned { pod: name, node: node.to_owned() });
    }
    if !tree::items(pod, "spec.schedulingGates").is_empty() {
        return Err(BindError::Gated(name));
    }
    tree::set(pod, "spec.nodeName", tree::text(binding, "target.name"));
    if let Some(annotations) = meta::annotations(binding).filter(|annotations| !annotations.is_empty()) {
        tree::set_default(pod, "metadata.annotations", json!({}));
        if let Some(own) = tree::get_mut(pod, "metadata.annotations").and_then(Value::as_object_mut) {
            own.extend(annotations.clone());
        }
    }
    let generation = meta::generation(pod);
    if generation > 0 {
        meta::set(pod, "generation", generation + 1);
    }
    mark_scheduled(pod, now);
    Ok(())
}

fn mark_scheduled(pod: &mut Value, now: Timestamp) {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let scheduled = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": now,
    });
    tree::set_default(pod, "status.conditions", json!([]));
    if let Some(conditions) = tree::get_mut(pod, "status.conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| tree::text(condition, "type") != "PodScheduled");
        conditions.push(scheduled);
    }
}

/// What is wrong with a Binding, nothing when it is good.
pub fn validate_binding(binding: &Value) -> FieldErrors {
    let target = crate::Field::of(binding, "target");
    let mut errors = FieldErrors::new();
    let kind = target.get("kind");
    if !matches!(kind.text(), "" | "Node") {
        errors.push(kind.not_supported(&["Node", "<empty>"]));
    }
    if target.get("name").text().is_empty() {
        errors.push(target.get("name").required(""));
    }
    errors
}

#[cfg(test)]
mod tests;
