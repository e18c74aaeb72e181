//! `rollout-settled`: when nobody has asked for anything new for a while, every Deployment is as it was asked to be.
//!
//! Judged of runs that have waited for it: they have a phase of that name.

use std::collections::BTreeMap;

use super::object::Object;
use crate::check::tally::Tally;
use crate::history::{Change, History, LogEntry};
use crate::verdict::Finding;

/// The phase in which nobody asks for anything, and Deployments are waited for.
pub const SETTLE: &str = "settle";

const KEYS: [&str; 3] = ["/registry/deployments/", "/registry/replicasets/", "/registry/pods/"];

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
    let objects: Vec<Object<'_>> =
        values.into_iter().filter_map(|(key, value)| Object::of(key, value)).collect();
    let deployments = objects.iter().filter(|object| object.resource == "deployments");
    deployments.map(|deployment| (deployment.shown(), unsettled(deployment, &objects))).collect()
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
    let ready = pods.filter(|pod| pod.is_ready() && !pod.text("/spec/nodeName").is_empty()).count();
    let is_enough = i64::try_from(ready) == Ok(wanted);
    (!is_enough).then(|| format!("{ready} pods are ready in the end, and {wanted} were asked for"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
    fn a_deployment_is_in_the_end_what_was_asked_for() {
        assert_eq!(ended(2, 2).verdict(), Verdict::Pass);
        assert_eq!(ended(1, 2).verdict(), Verdict::Fail);
        assert_eq!(ended(2, 1).verdict(), Verdict::Fail);
        assert!(finding(&Script::begin().history(), &[]).is_none(), "nobody waited for it");
    }
}
