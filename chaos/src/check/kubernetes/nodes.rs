//! I6: whoever binds a pod to a node finds room for it there: what the node's pods request is never more than it has to
//! give.
//!
//! Judged whenever a pod is bound. A pod that was made for its node, and a node that shrinks, are nobody's binding, but
//! count against the next one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::object::Object;
use super::quantity::thousandths;
use super::{Invariant, Move, Step};
use crate::check::tally::Tally;

/// Thousandths, by resource.
type Amounts<'a> = BTreeMap<&'a str, i128>;

#[derive(Default)]
pub(super) struct Requests {
    /// By node, the requests of its pods that have not ended, by key.
    pods: BTreeMap<String, BTreeMap<String, BTreeMap<String, i128>>>,
}

impl Invariant for Requests {
    fn property(&self) -> &'static str {
        "node-requests"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for one in &step.moves {
            self.learn(one);
        }
        for one in &step.moves {
            let (Some(before), Some(after)) = (&one.before, &one.after) else { continue };
            let node = after.text("/spec/nodeName");
            if !after.is_pod() || !before.text("/spec/nodeName").is_empty() || node.is_empty() {
                continue;
            }
            let Some(found) = step.objects.get(format!("/registry/nodes/{node}").as_str()) else { continue };
            let Some(room) = found.at("/status/allocatable").and_then(Value::as_object) else { continue };
            step.test(
                tally,
                self.too_much(node, room)
                    .map(|what| format!("pod {} was bound to {node}, {what}", after.shown())),
            );
        }
    }
}

impl Requests {
    fn learn(&mut self, one: &Move<'_>) {
        if let Some(node) = one.before.as_deref().and_then(node_of) {
            self.pods.get_mut(node).map(|pods| pods.remove(one.key));
        }
        let Some((pod, node)) = one.after.as_deref().and_then(|pod| Some((pod, node_of(pod)?))) else {
            return;
        };
        let requests = requests(pod).into_iter().map(|(resource, amount)| (resource.to_owned(), amount));
        self.pods.entry(node.to_owned()).or_default().insert(one.key.to_owned(), requests.collect());
    }

    /// Why the node's pods do not fit it together.
    fn too_much(&self, node: &str, room: &Map<String, Value>) -> Option<String> {
        let pods = self.pods.get(node)?;
        let mut sum: Amounts<'_> = Amounts::from([("pods", 1_000 * i128::try_from(pods.len()).ok()?)]);
        for (resource, amount) in pods.values().flatten() {
            *sum.entry(resource).or_default() += amount;
        }
        let over = sum.iter().find_map(|(resource, amount)| {
            let room = room.get(*resource).map_or(Some(0), thousandths)?;
            (*amount > room).then_some((resource, amount, room))
        });
        over.map(|(resource, amount, room)| {
            format!("where {} pods request {amount} thousandths of {resource}, of {room}", pods.len())
        })
    }
}

/// Where it runs, or is to run, until it has ended.
fn node_of<'a>(pod: &'a Object<'_>) -> Option<&'a str> {
    let node = pod.text("/spec/nodeName");
    (pod.is_pod() && pod.is_live() && !node.is_empty()).then_some(node)
}

/// What the scheduler counts (kubernetes, component-helpers/resource: `PodRequests`): its containers and sidecars
/// together, or what an init container needs beside the sidecars before it, if that is more; and the overhead.
fn requests<'a>(pod: &'a Object<'_>) -> Amounts<'a> {
    let mut all = Amounts::new();
    for container in pod.list("/spec/containers") {
        add(&mut all, &requested(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in pod.list("/spec/initContainers") {
        let mut now = requested(container);
        if container["restartPolicy"] == "Always" {
            add(&mut all, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, &now);
    }
    raise(&mut all, &peak);
    for (resource, amount) in amounts(pod.at("/spec/resources/requests")) {
        all.insert(resource, amount);
    }
    add(&mut all, &amounts(pod.at("/spec/overhead")));
    all
}

fn requested(container: &Value) -> Amounts<'_> {
    amounts(container.pointer("/resources/requests"))
}

fn amounts(list: Option<&Value>) -> Amounts<'_> {
    let entries = list.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(resource, amount)| Some((resource.as_str(), thousandths(amount)?))).collect()
}

fn add<'a>(sum: &mut Amounts<'a>, more: &Amounts<'a>) {
    for (resource, amount) in more {
        *sum.entry(resource).or_default() += amount;
    }
}

fn raise<'a>(to: &mut Amounts<'a>, at_least: &Amounts<'a>) {
    for (resource, amount) in at_least {
        let held = to.entry(resource).or_default();
        *held = (*held).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::script::Log;
    use super::*;

    fn node(log: &mut Log, name: &str, cpu: &str, pods: &str) {
        let object = json!({"status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": pods}}});
        log.put(&format!("/registry/nodes/{name}"), &object);
    }

    fn pod(cpu: &str, node: &str, phase: &str) -> Value {
        let container = json!({"resources": {"requests": {"cpu": cpu, "memory": "100Mi"}}});
        json!({"spec": {"nodeName": node, "containers": [container]}, "status": {"phase": phase}})
    }

    fn bind(log: &mut Log, name: &str, cpu: &str, node: &str) {
        let key = format!("/registry/pods/default/{name}");
        log.put(&key, &pod(cpu, "", "Pending"));
        log.put(&key, &pod(cpu, node, "Pending"));
    }

    #[test]
    fn pods_that_fit_pass() {
        let mut log = Log::default();
        node(&mut log, "a", "1", "3");
        bind(&mut log, "one", "600m", "a");
        bind(&mut log, "two", "400m", "a");
        log.put("/registry/pods/default/two", &pod("400m", "a", "Succeeded"));
        bind(&mut log, "three", "400m", "a");
        log.delete("/registry/pods/default/one");
        bind(&mut log, "four", "600m", "a");
        log.passes("node-requests");
    }

    #[test]
    fn two_who_bind_to_the_last_room_fail() {
        let mut log = Log::default();
        node(&mut log, "a", "1", "10");
        bind(&mut log, "one", "600m", "a");
        bind(&mut log, "two", "401m", "a");
        log.fails("node-requests", "1001 thousandths of cpu, of 1000");
    }

    #[test]
    fn too_many_pods_fail() {
        let mut log = Log::default();
        node(&mut log, "a", "8", "2");
        for name in ["one", "two", "three"] {
            bind(&mut log, name, "1m", "a");
        }
        log.fails("node-requests", "thousandths of pods");
    }

    #[test]
    fn what_a_node_does_not_have_cannot_be_bound_to_it() {
        let mut log = Log::default();
        node(&mut log, "a", "8", "10");
        let mut wish = pod("1m", "", "Pending");
        wish["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"] = json!(1);
        log.put("/registry/pods/default/x", &wish);
        wish["spec"]["nodeName"] = json!("a");
        log.put("/registry/pods/default/x", &wish);
        log.fails("node-requests", "example.com/gpu");
    }

    #[test]
    fn init_containers_count_as_the_scheduler_counts_them() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = json!("Always");
        let value = json!({"spec": {
            "containers": [container("200m"), container("100m")],
            "initContainers": [container("450m"), sidecar, container("350m")],
            "overhead": {"cpu": "5m"},
        }});
        let object = Object::of("/registry/pods/default/x", &value.to_string()).unwrap();
        assert_eq!(requests(&object), Amounts::from([("cpu", 455)]));
    }
}
