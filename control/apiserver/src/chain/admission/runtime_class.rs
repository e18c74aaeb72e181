//! RuntimeClass: a pod's class must be there; what the class costs and where it runs becomes the pod's.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::tree;
use serde_json::Value;

use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin { name: "RuntimeClass", admit: Admit::Reading(admit) };

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const OVERHEAD_OF_NO_CLASS: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if !attempt.creates("", "Pod") {
            return Ok(());
        }
        let class = class_of(attempt).await?;
        let given =
            set_overhead(attempt.object, &class).and_then(|()| set_scheduling(attempt.object, &class));
        given.map_err(|why| Status::forbidden_object(attempt.call.kind, attempt.name, &why))
    }
    .boxed()
}

/// The class that the pod names; null when it names none.
async fn class_of(attempt: &Attempt<'_>) -> Result<Value, Status> {
    let name = tree::text(attempt.object, "spec.runtimeClassName");
    if name.is_empty() {
        return Ok(Value::Null);
    }
    let found = attempt.find(&attempt.scope("node.k8s.io", "runtimeclasses", None)?, name).await?;
    let Some(found) = found else {
        let why = format!("pod rejected: RuntimeClass {name:?} not found");
        return Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why));
    };
    found.parse()
}

fn set_overhead(pod: &mut Value, class: &Value) -> Result<(), String> {
    let (costs, asked) = (tree::get(class, "overhead.podFixed"), tree::get(pod, "spec.overhead"));
    let is_asked = asked.as_object().is_some_and(|asked| !asked.is_empty());
    match (costs.is_null(), is_asked) {
        (true, true) => Err(OVERHEAD_OF_NO_CLASS.to_owned()),
        (true, false) => Ok(()),
        (false, true) if asked != costs => Err(OTHER_OVERHEAD.to_owned()),
        (false, _) => {
            tree::set(pod, "spec.overhead", costs.clone());
            Ok(())
        }
    }
}

/// The pod goes where both it and its class may go, and bears what either bears.
fn set_scheduling(pod: &mut Value, class: &Value) -> Result<(), String> {
    let mut selector = tree::map(pod, "spec.nodeSelector").cloned().unwrap_or_default();
    for (label, wanted) in tree::map(class, "scheduling.nodeSelector").into_iter().flatten() {
        match selector.get(label) {
            Some(own) if own != wanted => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {}; pod.spec.nodeSelector[{label}] = {}",
                    text(wanted),
                    text(own)
                ));
            }
            Some(_) => {}
            None => drop(selector.insert(label.clone(), wanted.clone())),
        }
    }
    if !selector.is_empty() {
        tree::set(pod, "spec.nodeSelector", selector);
    }
    let mut tolerations = tree::items(pod, "spec.tolerations").to_vec();
    for more in tree::items(class, "scheduling.tolerations") {
        if !tolerations.contains(more) {
            tolerations.push(more.clone());
        }
    }
    if !tolerations.is_empty() {
        tree::set(pod, "spec.tolerations", tolerations);
    }
    Ok(())
}
