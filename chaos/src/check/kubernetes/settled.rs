//! `rollout-settled`: when nobody has asked for anything new for a while, every Deployment is as it was asked to be.
//!
//! Judged of runs that have waited for it: they have a phase of that name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::object::Object;
use crate::check::tally::Tally;
use crate::history::{Change, History, LogEntry};
use crate::verdict::Finding;

/// The phase in which nobody asks for anything, and Deployments are waited for.
pub const SETTLE: &str = "settle";

const KEYS: [&str; 4] =
    ["/registry/deployments/", "/registry/namespaces/", "/registry/pods/", "/registry/replicasets/"];
/// Of these kinds all are looked at.
const OWNERS: [&str; 2] = ["Deployment", "ReplicaSet"];

pub(super) fn finding(history: &History, log: &[LogEntry<'_>]) -> Option<Finding> {
    let phase = history.phases().into_iter().find(|phase| phase.name == SETTLE)?;
    let mut tally = Tally::of("rollout-settled");
    for (deployment, wrong) in deployments(log.iter().flat_map(|entry| entry.changes)) {
        tally.test(wrong.map(|what| (format!("{deployment}: {what}"), vec![phase.from.line])));
    }
    Some(tally.finish())
}

/// Every Deployment that is there after these changes, and what it lacks.
pub fn deployments<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<(String, Option<String>)> {
    of_deployments(&objects(changes))
}

/// What these changes leave to be brought about: of Deployments, and of what is to be gone. They must have all namespaces.
pub fn lacking<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<String> {
    let objects = objects(changes);
    let unsettled = of_deployments(&objects)
        .into_iter()
        .filter_map(|(deployment, wrong)| wrong.map(|what| format!("{deployment}: {what}")));
    unsettled.chain(leftovers(&objects)).collect()
}

fn of_deployments(objects: &[Object<'_>]) -> Vec<(String, Option<String>)> {
    let deployments = objects.iter().filter(|object| object.resource == "deployments");
    deployments.map(|deployment| (deployment.shown(), unsettled(deployment, objects))).collect()
}

/// What is there after these changes.
fn objects<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<Object<'a>> {
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Put { kv } if KEYS.iter().any(|keys| kv.key.starts_with(keys)) => {
                values.insert(&kv.key, &kv.value);
            }
            Change::Delete { key, .. } => drop(values.remove(key.as_str())),
            Change::Put { .. } => {}
        }
    }
    values.into_iter().filter_map(|(key, value)| Object::of(key, value)).collect()
}

/// What nobody owns any more, is not gone yet, or is in a namespace that is gone.
fn leftovers(objects: &[Object<'_>]) -> Vec<String> {
    let mut left = Vec::new();
    let uids: BTreeSet<&str> = objects.iter().map(Object::uid).collect();
    let namespaces = objects.iter().filter(|object| object.resource == "namespaces");
    let namespaces: BTreeSet<&str> = namespaces.map(|namespace| namespace.name).collect();
    for object in objects {
        let shown = format!("{} {}", object.resource, object.shown());
        if object.is_terminating() {
            left.push(format!("{shown} is still to be deleted"));
        }
        if object.owners().any(|owner| OWNERS.contains(&owner.kind) && !uids.contains(owner.uid)) {
            left.push(format!("{shown} has an owner that is gone"));
        }
        if !object.namespace.is_empty() && !namespaces.contains(object.namespace) {
            left.push(format!("{shown} is in a namespace that is gone"));
        }
    }
    left
}

/// What a Deployment lacks.
fn unsettled(deployment: &Object<'_>, objects: &[Object<'_>]) -> Option<String> {
    let wanted = deployment.number("/spec/replicas").unwrap_or(1);
    for told in ["replicas", "updatedReplicas", "availableReplicas"] {
        let number = deployment.number(&format!("/status/{told}")).unwrap_or(0);
        if number != wanted {
            return Some(format!("{told} is {number} in the end, and {wanted} replicas were asked for"));
        }
    }
    let sets: Vec<&str> = objects
        .iter()
        .filter(|object| object.controlled_by("Deployment") == Some(deployment.uid()))
        .map(Object::uid)
        .collect();
    let pods = objects.iter().filter(|object| {
        object.is_pod()
            && object.is_active()
            && object.controlled_by("ReplicaSet").is_some_and(|set| sets.contains(&set))
    });
    let pods: Vec<&Object<'_>> =
        pods.filter(|pod| pod.is_ready() && !pod.text("/spec/nodeName").is_empty()).collect();
    if let Some(old) = pods.iter().find(|pod| !is_of_template(pod, deployment)) {
        return Some(format!("pod {} is not of the newest template in the end", old.shown()));
    }
    let ready = pods.len();
    let is_enough = i64::try_from(ready) == Ok(wanted);
    (!is_enough).then(|| format!("{ready} pods are ready in the end, and {wanted} were asked for"))
}

/// By what the template annotates its pods with.
fn is_of_template(pod: &Object<'_>, deployment: &Object<'_>) -> bool {
    let wanted = deployment.at("/spec/template/metadata/annotations").and_then(Value::as_object);
    let has = pod.at("/metadata/annotations");
    wanted.is_none_or(|wanted| wanted.iter().all(|(name, value)| has.is_some_and(|has| has[name] == *value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::script::Log;
    use super::*;
    use crate::history::script::Script;
    use crate::verdict::Verdict;

    fn owned(uid: &str, kind: &str, owner: &str) -> Value {
        json!({"uid": uid, "ownerReferences": [{"kind": kind, "uid": owner, "controller": true}]})
    }

    /// Two replicas asked for; so many told of, and so many pods that are ready.
    fn ended(told: i64, ready: usize) -> Finding {
        let mut log = Log::default();
        let status = json!({"replicas": told, "updatedReplicas": told, "availableReplicas": told});
        let deployment = json!({"metadata": {"uid": "d"}, "spec": {"replicas": 2}, "status": status});
        log.put("/registry/deployments/default/web", &deployment);
        log.put("/registry/replicasets/default/web-1", &json!({"metadata": owned("s", "Deployment", "d")}));
        for number in 0..2 {
            let is_ready = if number < ready { "True" } else { "False" };
            let pod = json!({
                "metadata": owned(&format!("p{number}"), "ReplicaSet", "s"),
                "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": is_ready}]},
            });
            log.put(&format!("/registry/pods/default/web-{number}"), &pod);
        }
        let mut script = Script::begin();
        script.phase(SETTLE);
        finding(&script.history(), &log.entries()).unwrap()
    }

    #[test]
    fn what_is_left_over_is_lacking() {
        let left = |key: &str, object: Value| {
            let mut log = Log::default();
            log.put("/registry/namespaces/default", &json!({"metadata": {"uid": "ns"}}));
            log.put("/registry/replicasets/default/web", &json!({"metadata": {"uid": "s"}}));
            log.put(key, &object);
            lacking(log.entries().iter().flat_map(|entry| entry.changes)).join("; ")
        };
        let pod = |namespace: &str| format!("/registry/pods/{namespace}/a");
        let of = |owner: &str| json!({"metadata": owned("p", "ReplicaSet", owner)});
        assert_eq!(left(&pod("default"), of("s")), "");
        assert_eq!(left(&pod("default"), of("gone")), "pods default/a has an owner that is gone");
        assert_eq!(left(&pod("team"), of("s")), "pods team/a is in a namespace that is gone");
        let ended = json!({"metadata": {"uid": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(left("/registry/namespaces/team", ended), "namespaces team is still to be deleted");
    }

    #[test]
    fn a_pod_of_an_older_template_is_not_settled() {
        let ended = |roll: &str| {
            let mut log = Log::default();
            let status = json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
            let template = json!({"metadata": {"annotations": {"roll": "2"}}});
            let spec = json!({"replicas": 1, "template": template});
            let deployment = json!({"metadata": {"uid": "d"}, "spec": spec, "status": status});
            log.put("/registry/deployments/default/web", &deployment);
            log.put("/registry/replicasets/default/web", &json!({"metadata": owned("s", "Deployment", "d")}));
            let mut pod = json!({
                "metadata": owned("p", "ReplicaSet", "s"),
                "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            });
            pod["metadata"]["annotations"] = json!({"roll": roll});
            log.put("/registry/pods/default/web", &pod);
            deployments(log.entries().iter().flat_map(|entry| entry.changes)).remove(0).1
        };
        assert_eq!(ended("2"), None);
        assert!(ended("1").is_some());
    }

    #[test]
    fn a_deployment_is_in_the_end_what_was_asked_for() {
        assert_eq!(ended(2, 2).verdict(), Verdict::Pass);
        assert_eq!(ended(1, 2).verdict(), Verdict::Fail);
        assert_eq!(ended(2, 1).verdict(), Verdict::Fail);
        assert!(finding(&Script::begin().history(), &[]).is_none(), "nobody waited for it");
    }
}
