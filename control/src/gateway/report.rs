//! Puts what agents report into the API: nodes, pod statuses, finished deletions, events.
//!
//! A report that says nothing new costs no write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Entropy;
use client::{Cache, Client, ClientError, Delete, HasMetadata, ObjectKey, Preconditions};
use k8s_openapi::api::core::v1::{Event, Node, NodeStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kinds::core::pod::MIRROR;
use proto::agent::{NodeReport, PodReport, ReportRequest};
use serde::de::DeserializeOwned;
use tonic::Status;
use tracing::{debug, info, warn};

use super::ActAsNode;
use super::node_report::{Told, ToldNodes, as_reported, same_but_for_heartbeats};

/// How often a status is written anew after somebody else wrote first.
const CONFLICTS_MAX: usize = 5;

pub(crate) struct Reporter {
    pub(crate) client: Client,
    pub(crate) act_as_node: ActAsNode,
    pub(crate) nodes: Cache<Node>,
    pub(crate) pods: Cache<Pod>,
    pub(crate) own_writes: OwnWrites,
    pub(crate) told: ToldNodes,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// What this server has written and its caches may not show yet: only a copy that is no older can tell that a report
/// says nothing new.
#[derive(Default)]
pub(crate) struct OwnWrites {
    nodes: Versions,
    pods: Versions,
}

/// Of each object the resource version of the last write, until a cache has shown it.
#[derive(Default)]
struct Versions(Mutex<BTreeMap<ObjectKey, u64>>);

impl Versions {
    fn note(&self, key: &ObjectKey, written: &ObjectMeta) {
        if let Some(version) = version(written) {
            self.lock().insert(key.clone(), version);
        }
    }

    fn is_ahead_of(&self, key: &ObjectKey, cached: &ObjectMeta) -> bool {
        let mut versions = self.lock();
        let Some(written) = versions.get(key) else { return false };
        let is_ahead = version(cached).is_none_or(|cached| cached < *written);
        if !is_ahead {
            versions.remove(key);
        }
        is_ahead
    }

    fn forget(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}

impl Reporter {
    /// # Errors
    /// `unavailable` when the API could not be written: the agent reports again.
    pub(crate) async fn apply(&self, node: &str, report: ReportRequest) -> Result<(), Status> {
        if let Some(own) = report.self_report {
            self.node(node, own).await?;
        }
        for pod in report.pods {
            self.pod(node, pod).await?;
        }
        for event in report.events {
            self.event(node, &event).await?;
        }
        if let Some(mirrors) = report.mirrors {
            self.mirrors(node, &mirrors.pods).await?;
        }
        Ok(())
    }

    async fn node(&self, name: &str, report: NodeReport) -> Result<(), Status> {
        let key = ObjectKey::cluster(name);
        let status: NodeStatus = decode(&report.status_json, "node status")?;
        let told = Told { status, labels: report.labels.into_iter().collect() };
        self.told.note(name, told.clone());
        let cached = self.nodes.get(&key);
        let cached = cached.filter(|node| !self.own_writes.nodes.is_ahead_of(&key, &node.metadata));
        let mut current = match cached {
            Some(node) => Node::clone(&node),
            None => match self.client.get::<Node>(&key).await {
                Err(error) if error.is_not_found() => {
                    info!(node = %name, "a new node joined");
                    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
                    let node = as_reported(&Node { metadata, ..Node::default() }, &told);
                    self.client.create(&node).await.map_err(|error| unavailable("create the node", &error))?
                }
                found => found.map_err(|error| unavailable("read the node", &error))?,
            },
        };
        for _ in 0..CONFLICTS_MAX {
            let wanted = as_reported(&current, &told);
            if same_but_for_heartbeats(&current, &wanted) {
                return Ok(());
            }
            match self.write_node(&current, &wanted).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() => {
                    current =
                        self.client.get(&key).await.map_err(|error| unavailable("read the node", &error))?;
                }
                Err(error) => return Err(unavailable("write the node", &error)),
            }
        }
        Err(Status::unavailable("the node is written by others all the time"))
    }

    /// Whether a node that polls here should report itself once more: somebody else has written, or deleted, it.
    pub(crate) fn wants_repeat(&self, name: &str) -> bool {
        let key = ObjectKey::cluster(name);
        let cached = self.nodes.get(&key);
        let is_behind =
            cached.as_ref().is_some_and(|node| self.own_writes.nodes.is_ahead_of(&key, &node.metadata));
        !is_behind && self.told.wants_repeat(name, cached.as_deref())
    }

    async fn write_node(&self, current: &Node, wanted: &Node) -> Result<(), ClientError> {
        let mut written = wanted.clone();
        if current.metadata.labels != wanted.metadata.labels {
            let labels = self.client.replace(wanted).await?;
            written.metadata.resource_version = labels.metadata.resource_version;
        }
        let written = self.client.replace_status(&written).await?;
        self.own_writes.nodes.note(&written.key(), &written.metadata);
        Ok(())
    }

    async fn pod(&self, node: &str, report: PodReport) -> Result<(), Status> {
        let key = ObjectKey::namespaced(&report.namespace, &report.name);
        let Some(cached) = self.pods.get(&key) else { return self.terminate_if_told(&key, &report).await };
        if cached.uid() != report.uid {
            return Ok(());
        }
        if cached.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) != Some(node) {
            return Err(Status::permission_denied(format!("pod {key} is not bound to node {node}")));
        }
        if !report.status_json.is_empty() {
            let status: PodStatus = decode(&report.status_json, "pod status")?;
            let current = if self.own_writes.pods.is_ahead_of(&key, &cached.metadata) {
                self.read_pod(&key).await?
            } else {
                Some(Pod::clone(&cached))
            };
            if let Some(current) = current {
                self.pod_status(current, &report.uid, status).await?;
            }
        }
        self.terminate_if_told(&key, &report).await
    }

    async fn pod_status(&self, mut current: Pod, uid: &str, status: PodStatus) -> Result<(), Status> {
        let key = current.key();
        for _ in 0..CONFLICTS_MAX {
            let before = current.status.clone().unwrap_or_default();
            let wanted = merged(&before, &status);
            if wanted == before || current.uid() != uid {
                return Ok(());
            }
            current.status = Some(wanted);
            match self.client.replace_status(&current).await {
                Ok(written) => {
                    self.own_writes.pods.note(&key, &written.metadata);
                    return Ok(());
                }
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.is_conflict() => match self.read_pod(&key).await? {
                    Some(newer) => current = newer,
                    None => return Ok(()),
                },
                Err(error) if error.code() == Some(422) => {
                    warn!(pod = %key, %error, "an agent reported a status that the API refuses");
                    return Ok(());
                }
                Err(error) => return Err(unavailable("write the pod's status", &error)),
            }
        }
        Err(Status::unavailable("the pod is written by others all the time"))
    }

    /// Past the cache; `None`: it is gone.
    async fn read_pod(&self, key: &ObjectKey) -> Result<Option<Pod>, Status> {
        match self.client.get(key).await {
            Ok(pod) => Ok(Some(pod)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(unavailable("read the pod", &error)),
        }
    }

    async fn terminate_if_told(&self, key: &ObjectKey, report: &PodReport) -> Result<(), Status> {
        if !report.terminated {
            return Ok(());
        }
        self.own_writes.pods.forget(key);
        let preconditions = Preconditions { uid: Some(report.uid.clone()), resource_version: None };
        self.delete_now(key, preconditions).await
    }

    async fn delete_now(&self, key: &ObjectKey, preconditions: Preconditions) -> Result<(), Status> {
        let options =
            Delete { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..Delete::default() };
        match self.client.delete::<Pod>(key, &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => {
                Err(unavailable("delete the pod", &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Brings the mirrors of a node to what it wants them to be. One that shows an older file goes first; the agent
    /// asks again.
    async fn mirrors(&self, node: &str, pods: &[bytes::Bytes]) -> Result<(), Status> {
        let mut wanted = BTreeMap::new();
        for json in pods {
            let pod: Pod = decode(json, "pod")?;
            let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            if bound != Some(node) || mirror_of(&pod).is_none() {
                return Err(Status::permission_denied(format!("a mirror that is not of node {node}")));
            }
            wanted.insert(pod.key(), pod);
        }
        for known in self.pods.by_index(super::view::BY_NODE.name, node) {
            let (key, Some(shown)) = (known.key(), mirror_of(&known)) else { continue };
            if wanted.get(&key).and_then(mirror_of) == Some(shown) {
                wanted.remove(&key);
            } else {
                let preconditions = Preconditions { uid: known.metadata.uid.clone(), resource_version: None };
                self.delete_now(&key, preconditions).await?;
            }
        }
        let Some(owner) = self.nodes.get(&ObjectKey::cluster(node)) else { return Ok(()) };
        // What a node shows must use nothing of the cluster's, or it would be sent there: NodeRestriction sees to that.
        let client = (self.act_as_node)(node);
        for (key, mut pod) in wanted {
            pod.metadata.owner_references = Some(vec![owned_by(&owner)]);
            match client.create(&pod).await {
                Ok(_) => info!(%node, pod = %key, "a pod shows what the node runs from a file"),
                // The cache did not show it yet.
                Err(error) if error.code() == Some(409) => {}
                Err(error) if error.code().is_some_and(|code| code < 500) => {
                    warn!(%node, pod = %key, %error, "the API refuses a mirror");
                }
                Err(error) => return Err(unavailable("create a mirror", &error)),
            }
        }
        Ok(())
    }

    async fn event(&self, node: &str, json: &[u8]) -> Result<(), Status> {
        let mut event: Event = decode(json, "event")?;
        let about = event.involved_object.name.clone().unwrap_or_default();
        event.metadata.name = Some(format!("{about}.{:016x}", self.entropy.u64()));
        match self.client.create(&event).await {
            Ok(_) => Ok(()),
            Err(error) if error.code().is_some_and(|code| code < 500) => {
                debug!(%node, %error, "an event was refused");
                Ok(())
            }
            Err(error) => Err(unavailable("write an event", &error)),
        }
    }
}

/// Conditions of agents that are there only while they hold.
const PASSING: &[&str] = &["PodResizePending", "PodResizeInProgress"];

/// The agent's status over the current one. Conditions that the agent does not speak of are others' and stay.
fn merged(before: &PodStatus, reported: &PodStatus) -> PodStatus {
    let mut wanted = reported.clone();
    let mut conditions: Vec<PodCondition> = before.conditions.clone().unwrap_or_default();
    conditions.retain(|known| !PASSING.contains(&known.type_.as_str()));
    for condition in reported.conditions.iter().flatten() {
        match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
            Some(known) => *known = condition.clone(),
            None => conditions.push(condition.clone()),
        }
    }
    wanted.conditions = (!conditions.is_empty()).then_some(conditions);
    wanted.nominated_node_name = before.nominated_node_name.clone();
    wanted.qos_class = reported.qos_class.clone().or_else(|| before.qos_class.clone());
    wanted
}

fn owned_by(node: &Node) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.name().to_owned(),
        uid: node.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// What a mirror shows: the hash of the file that its pod was made of.
fn mirror_of(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(MIRROR).map(String::as_str)
}

fn decode<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T, Status> {
    serde_json::from_slice(json).map_err(|error| Status::invalid_argument(format!("not a {what}: {error}")))
}

fn unavailable(what: &str, error: &ClientError) -> Status {
    debug!(%what, %error, "cannot apply a report");
    Status::unavailable(format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_is_behind_our_own_write_is_not_believed() {
        let at =
            |version: &str| ObjectMeta { resource_version: Some(version.into()), ..ObjectMeta::default() };
        let (key, versions) = (ObjectKey::cluster("agent-1"), Versions::default());
        assert!(!versions.is_ahead_of(&key, &at("9")), "nothing was written");
        versions.note(&key, &at("11"));
        assert!(versions.is_ahead_of(&key, &at("9")));
        assert!(versions.is_ahead_of(&key, &at("10")), "somebody else's write came first");
        assert!(!versions.is_ahead_of(&key, &at("11")));
        assert!(versions.lock().is_empty(), "what was shown need not be remembered");
    }

    #[test]
    fn conditions_of_others_stay() {
        let before: PodStatus = serde_json::from_str(
            r#"{"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}]}"#,
        )
        .unwrap();
        let reported: PodStatus = serde_json::from_str(
            r#"{"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}"#,
        )
        .unwrap();
        let wanted = merged(&before, &reported);
        let shown: Vec<String> =
            wanted.conditions.iter().flatten().map(|c| format!("{}={}", c.type_, c.status)).collect();
        assert_eq!(shown, ["PodScheduled=True", "Ready=True"]);
        assert_eq!(wanted.phase.as_deref(), Some("Running"));
    }
}
