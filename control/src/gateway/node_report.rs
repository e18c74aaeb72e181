//! What nodes said of themselves last, and whether their objects still say so.
//!
//! An agent reports what is new. That somebody else wrote to its Node, or deleted it, is what the server sees first: it
//! asks the agent to report once more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeStatus};
use tokio::time::Instant;

/// A node is asked no sooner again: two that write against each other are not to do so at full speed.
const ASKED_EVERY: Duration = Duration::from_secs(5);

/// A node's own words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) status: NodeStatus,
    pub(crate) labels: BTreeMap<String, String>,
}

/// The last report of each node that has reported here.
#[derive(Debug, Default)]
pub(crate) struct ToldNodes(Mutex<BTreeMap<String, Last>>);

#[derive(Debug)]
struct Last {
    told: Told,
    /// The resourceVersion of the last object that was seen to say the same.
    agreed: Option<String>,
    asked_at: Option<Instant>,
}

impl ToldNodes {
    pub(crate) fn note(&self, node: &str, told: Told) {
        let mut nodes = self.lock();
        let asked_at = nodes.get(node).and_then(|last| last.asked_at);
        nodes.insert(node.to_owned(), Last { told, agreed: None, asked_at });
    }

    /// Whether to ask now. `known` is the object as the cluster has it.
    pub(crate) fn wants_repeat(&self, node: &str, known: Option<&Node>) -> bool {
        let mut nodes = self.lock();
        // Who has not reported here yet does so by itself.
        let Some(last) = nodes.get_mut(node) else { return false };
        let version = known.and_then(|known| known.metadata.resource_version.as_ref());
        if version.is_some() && version == last.agreed.as_ref() {
            return false;
        }
        if known.is_some_and(|known| same_but_for_heartbeats(known, &as_reported(known, &last.told))) {
            last.agreed = version.cloned();
            return false;
        }
        if last.asked_at.is_some_and(|at| at.elapsed() < ASKED_EVERY) {
            return false;
        }
        last.asked_at = Some(Instant::now());
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The node with what it says of itself.
pub(crate) fn as_reported(node: &Node, told: &Told) -> Node {
    let mut wanted = node.clone();
    wanted.metadata.labels.get_or_insert_default().extend(told.labels.clone());
    wanted.status = Some(told.status.clone());
    wanted
}

/// Whether two nodes differ in more than the times of their heartbeats.
pub(crate) fn same_but_for_heartbeats(a: &Node, b: &Node) -> bool {
    let quiet = |node: &Node| {
        let mut status = node.status.clone().unwrap_or_default();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
            condition.last_transition_time = None;
        }
        // An empty list and none are the same in JSON.
        status.images = status.images.filter(|images| !images.is_empty());
        status
    };
    a.metadata.labels == b.metadata.labels && quiet(a) == quiet(b)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeCondition;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn told(ready: &str, second: i64) -> Told {
        let heartbeat = base::Timestamp::from_second(second).unwrap();
        let condition = NodeCondition {
            type_: "Ready".to_owned(),
            status: ready.to_owned(),
            last_heartbeat_time: Some(Time(heartbeat)),
            ..NodeCondition::default()
        };
        let status = NodeStatus {
            conditions: Some(vec![condition]),
            images: Some(Vec::new()),
            ..NodeStatus::default()
        };
        Told { status, labels: [("zone".to_owned(), "a".to_owned())].into() }
    }

    #[test]
    fn heartbeats_and_empty_lists_are_no_news() {
        let known = as_reported(&Node::default(), &told("True", 10));
        let mut stored = known.clone();
        stored.status.as_mut().unwrap().images = None;
        assert!(same_but_for_heartbeats(&stored, &as_reported(&stored, &told("True", 20))));
        assert!(!same_but_for_heartbeats(&stored, &as_reported(&stored, &told("False", 20))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_asked_when_its_object_says_something_else_and_not_too_often() {
        let nodes = ToldNodes::default();
        assert!(!nodes.wants_repeat("n", None), "it never reported here");
        nodes.note("n", told("True", 10));
        let known = as_reported(&Node::default(), &told("True", 10));
        assert!(!nodes.wants_repeat("n", Some(&known)));
        let unknown = as_reported(&Node::default(), &told("Unknown", 10));
        assert!(nodes.wants_repeat("n", Some(&unknown)));
        nodes.note("n", told("True", 20));
        assert!(!nodes.wants_repeat("n", Some(&unknown)), "it was asked just now");
        tokio::time::advance(ASKED_EVERY).await;
        assert!(nodes.wants_repeat("n", None), "it was deleted");
        let mut unlabelled = known;
        unlabelled.metadata.labels = None;
        tokio::time::advance(ASKED_EVERY).await;
        assert!(nodes.wants_repeat("n", Some(&unlabelled)));
    }
}
