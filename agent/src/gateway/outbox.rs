//! Reports that wait to be sent: the newest of each thing, until a server has acknowledged it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, NodeStatus};
use proto::agent::{MirrorReport, NodeReport, PodReport, ReportRequest};
use tokio::sync::watch;
use tracing::{error, warn};

use super::PodStatuses;
use crate::desired::{PodKey, Report};

/// Events that wait; when there are more, the oldest go.
const EVENTS_MAX: usize = 1000;
/// What one request carries at most, to stay well within gRPC's message limit of 4 MiB.
const PODS_PER_REQUEST: usize = 100;
const EVENTS_PER_REQUEST: usize = 100;

pub(super) struct Outbox {
    /// Counts what was added; an entry's number tells whether it was added before or after a request.
    added: u64,
    node: Option<Node>,
    pods: BTreeMap<String, Pod>,
    events: VecDeque<(u64, Box<Event>)>,
    /// All of them, as last reported.
    mirrors: Option<(u64, Vec<bytes::Bytes>)>,
    statuses: watch::Sender<Arc<PodStatuses>>,
}

/// The last report about the node, kept after it was sent, to be repeated to the next server.
struct Node {
    number: u64,
    unsent: bool,
    status: Box<NodeStatus>,
    labels: BTreeMap<String, String>,
}

struct Pod {
    number: u64,
    key: PodKey,
    status: Option<Box<k8s_openapi::api::core::v1::PodStatus>>,
    terminated: bool,
}

/// One request, and what it covers.
pub(super) struct Batch {
    pub(super) request: ReportRequest,
    node: Option<u64>,
    pods: Vec<(String, u64)>,
    events: Vec<u64>,
    mirrors: Option<u64>,
}

impl Outbox {
    pub(super) fn new(statuses: watch::Sender<Arc<PodStatuses>>) -> Self {
        Self { added: 0, node: None, pods: BTreeMap::new(), events: VecDeque::new(), mirrors: None, statuses }
    }

    pub(super) fn add(&mut self, report: Report) {
        self.added += 1;
        let number = self.added;
        match report {
            Report::Node { status, labels } => {
                self.node = Some(Node { number, unsent: true, status, labels });
            }
            Report::PodStatus { key, uid, status } => {
                self.publish(|statuses| {
                    statuses.insert(uid.clone(), Arc::from(status.clone()));
                });
                let pod = self.pod(uid, key, number);
                pod.status = Some(status);
            }
            Report::PodTerminated { key, uid } => {
                self.publish(|statuses| {
                    statuses.remove(&uid);
                });
                self.pod(uid, key, number).terminated = true;
            }
            Report::Mirrors(pods) => self.mirrors = Some((number, pods.iter().map(json).collect())),
            Report::Event(event) => {
                if self.events.len() == EVENTS_MAX {
                    warn!("too many events wait for a server, dropping the oldest");
                    self.events.pop_front();
                }
                self.events.push_back((number, event));
            }
        }
    }

    /// The node's report goes out once more, though nothing changed: a server may have lost it.
    pub(super) fn repeat_node(&mut self) {
        if let Some(node) = &mut self.node {
            node.unsent = true;
        }
    }

    /// The next request, without `node` and `instance`; `None` when there is nothing to say. Stays in the
    /// outbox until acknowledged, so that dropping the request loses nothing.
    pub(super) fn batch(&self) -> Option<Batch> {
        let node = self.node.as_ref().filter(|node| node.unsent);
        let pods: Vec<_> = self.pods.iter().take(PODS_PER_REQUEST).collect();
        let events: Vec<_> = self.events.iter().take(EVENTS_PER_REQUEST).collect();
        if node.is_none() && pods.is_empty() && events.is_empty() && self.mirrors.is_none() {
            return None;
        }
        let request = ReportRequest {
            node: String::new(),
            instance: String::new(),
            self_report: node
                .map(|node| NodeReport { status_json: json(&node.status), labels: labels(&node.labels) }),
            pods: pods.iter().map(|(uid, pod)| pod.report(uid)).collect(),
            events: events.iter().map(|(_, event)| json(event)).collect(),
            mirrors: self.mirrors.as_ref().map(|(_, pods)| MirrorReport { pods: pods.clone() }),
        };
        Some(Batch {
            request,
            node: node.map(|node| node.number),
            pods: pods.iter().map(|(uid, pod)| ((*uid).clone(), pod.number)).collect(),
            events: events.iter().map(|(number, _)| *number).collect(),
            mirrors: self.mirrors.as_ref().map(|(number, _)| *number),
        })
    }

    /// Forgets what a batch carried, except what was added anew meanwhile.
    pub(super) fn acknowledge(&mut self, batch: &Batch) {
        if let Some(node) = self.node.as_mut().filter(|node| Some(node.number) == batch.node) {
            node.unsent = false;
        }
        for (uid, number) in &batch.pods {
            if self.pods.get(uid).is_some_and(|pod| pod.number == *number) {
                self.pods.remove(uid);
            }
        }
        self.mirrors.take_if(|(number, _)| Some(*number) == batch.mirrors);
        self.events.retain(|(number, _)| !batch.events.contains(number));
    }

    fn pod(&mut self, uid: String, key: PodKey, number: u64) -> &mut Pod {
        let pod = self.pods.entry(uid).or_insert(Pod { number, key, status: None, terminated: false });
        pod.number = number;
        pod
    }

    fn publish(&self, change: impl FnOnce(&mut PodStatuses)) {
        self.statuses.send_modify(|statuses| change(Arc::make_mut(statuses)));
    }
}

impl Pod {
    fn report(&self, uid: &str) -> PodReport {
        PodReport {
            namespace: self.key.namespace.clone(),
            name: self.key.name.clone(),
            uid: uid.to_owned(),
            status_json: self.status.as_ref().map(json).unwrap_or_default(),
            terminated: self.terminated,
        }
    }
}

fn labels(labels: &BTreeMap<String, String>) -> std::collections::HashMap<String, String> {
    labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn json(value: &impl serde::Serialize) -> bytes::Bytes {
    // Kubernetes' own types always become JSON; if one ever does not, an empty report is ignored.
    serde_json::to_vec(value)
        .inspect_err(|error| error!(%error, "a report cannot be written as JSON"))
        .unwrap_or_default()
        .into()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodStatus;

    use super::*;

    fn outbox() -> (Outbox, watch::Receiver<Arc<PodStatuses>>) {
        let (tx, rx) = watch::channel(Arc::default());
        (Outbox::new(tx), rx)
    }

    fn status(phase: &str) -> Report {
        Report::PodStatus {
            key: PodKey::new("default", "a"),
            uid: "1".into(),
            status: Box::new(PodStatus { phase: Some(phase.into()), ..PodStatus::default() }),
        }
    }

    fn terminated() -> Report {
        Report::PodTerminated { key: PodKey::new("default", "a"), uid: "1".into() }
    }

    fn shown(batch: &Batch) -> Vec<(String, bool)> {
        let pods = batch.request.pods.iter();
        pods.map(|pod| (String::from_utf8_lossy(&pod.status_json).into_owned(), pod.terminated)).collect()
    }

    #[test]
    fn a_newer_status_replaces_an_unsent_one() {
        let (mut outbox, _rx) = outbox();
        outbox.add(status("Pending"));
        outbox.add(status("Running"));
        let batch = outbox.batch().expect("something to say");
        assert_eq!(shown(&batch), [(r#"{"phase":"Running"}"#.to_owned(), false)]);
        outbox.acknowledge(&batch);
        assert!(outbox.batch().is_none());
    }

    #[test]
    fn what_came_while_a_request_was_under_way_is_sent_next() {
        let (mut outbox, _rx) = outbox();
        outbox.add(status("Pending"));
        let batch = outbox.batch().expect("something to say");
        outbox.add(status("Running"));
        outbox.acknowledge(&batch);
        let next = outbox.batch().expect("the newer status");
        assert_eq!(shown(&next), [(r#"{"phase":"Running"}"#.to_owned(), false)]);
    }

    #[test]
    fn nothing_is_lost_when_a_request_fails() {
        let (mut outbox, _rx) = outbox();
        outbox.add(status("Succeeded"));
        drop(outbox.batch());
        outbox.add(terminated());
        let batch = outbox.batch().expect("both");
        assert_eq!(shown(&batch), [(r#"{"phase":"Succeeded"}"#.to_owned(), true)]);
    }

    #[test]
    fn the_node_is_repeated_to_the_next_server() {
        let (mut outbox, _rx) = outbox();
        outbox.add(Report::Node { status: Box::default(), labels: BTreeMap::new() });
        let batch = outbox.batch().expect("the node");
        outbox.acknowledge(&batch);
        assert!(outbox.batch().is_none());
        outbox.repeat_node();
        assert!(outbox.batch().expect("again").request.self_report.is_some());
    }

    #[test]
    fn only_the_newest_list_of_mirrors_is_sent() {
        let (mut outbox, _rx) = outbox();
        outbox.add(Report::Mirrors(vec![k8s_openapi::api::core::v1::Pod::default()]));
        let batch = outbox.batch().expect("one mirror");
        outbox.add(Report::Mirrors(Vec::new()));
        outbox.acknowledge(&batch);
        let batch = outbox.batch().expect("the newer list");
        assert_eq!(batch.request.mirrors, Some(MirrorReport::default()));
        outbox.acknowledge(&batch);
        assert!(outbox.batch().is_none());
    }

    #[test]
    fn events_are_bounded_and_go_in_portions() {
        let (mut outbox, _rx) = outbox();
        for number in 0..EVENTS_MAX + 5 {
            let message = Some(number.to_string());
            outbox.add(Report::Event(Box::new(Event { message, ..Event::default() })));
        }
        let (mut sent, mut requests) = (Vec::new(), 0);
        while let Some(batch) = outbox.batch() {
            sent.extend(batch.request.events.clone());
            outbox.acknowledge(&batch);
            requests += 1;
        }
        assert_eq!((sent.len(), requests), (EVENTS_MAX, EVENTS_MAX / EVENTS_PER_REQUEST));
        assert!(String::from_utf8_lossy(&sent[0]).contains(r#""message":"5""#));
    }

    #[test]
    fn the_last_status_of_each_pod_is_known_until_it_is_gone() {
        let (mut outbox, rx) = outbox();
        outbox.add(status("Running"));
        let batch = outbox.batch().expect("the status");
        outbox.acknowledge(&batch);
        assert_eq!(rx.borrow()["1"].phase.as_deref(), Some("Running"));
        outbox.add(terminated());
        assert!(rx.borrow().is_empty());
    }
}
