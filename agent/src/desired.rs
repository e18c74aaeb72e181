//! What this node should run and know, and what it tells the control plane: the seam between the gateway
//! client, which fills [`Desired`] and empties the inbox of [`Reports`], and everybody who acts.
//!
//! Nothing here knows how either travels, and nothing blocks on the control plane: while no server answers,
//! `Desired` stands still and reports are coalesced by the gateway client.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ConfigMap, Event, NodeStatus, PersistentVolume, PersistentVolumeClaim, Pod, PodStatus, Secret, Service,
};
use tokio::sync::{mpsc, watch};

use crate::network::Subnet;

/// How many reports may wait for the gateway client, which takes them at once and coalesces them.
const REPORTS_WAITING_MAX: usize = 256;

/// A namespaced name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

/// The key of a pod. Two pods that follow one another may share it; their uids differ.
pub type PodKey = ObjectKey;

impl ObjectKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that the control plane wants of this node, as of the last poll. A snapshot: never changed in
/// place. Objects that did not change keep their `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The pods bound to this node, also those with a deletion timestamp. A pod that is absent, while
    /// [`synced`](Self::synced), is gone from the API and must not run.
    pub pods: BTreeMap<PodKey, Arc<Pod>>,
    /// The ConfigMaps that these pods use.
    pub config_maps: BTreeMap<ObjectKey, Arc<ConfigMap>>,
    /// The Secrets that these pods use.
    pub secrets: BTreeMap<ObjectKey, Arc<Secret>>,
    /// The Services of their namespaces, and the API's own, for environments.
    pub services: BTreeMap<ObjectKey, Arc<Service>>,
    /// The claims that these pods use.
    pub claims: BTreeMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    /// The volumes that these claims are bound to; their keys have no namespace.
    pub volumes: BTreeMap<ObjectKey, Arc<PersistentVolume>>,
    /// The other nodes of the pod network, by name.
    pub peers: Arc<BTreeMap<Arc<str>, Peer>>,
    /// This node's part of the pod network; `None` until the control plane has assigned one.
    pub pod_cidr: Option<Subnet>,
    /// The pod network of the whole cluster.
    pub cluster_cidr: Option<Subnet>,
    /// Those of this node's object in the API.
    pub node_labels: BTreeMap<String, String>,
    /// True once a server answered this process for the first time. Until then an absent pod means
    /// nothing, and no pod may be stopped for being absent.
    pub synced: bool,
}

impl Desired {
    /// The channel on which snapshots arrive; the sender is the gateway client's.
    pub fn channel() -> (watch::Sender<Arc<Self>>, watch::Receiver<Arc<Self>>) {
        watch::channel(Arc::default())
    }
}

/// Another node of the pod network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Where its VXLAN endpoint listens.
    pub internal_ip: std::net::Ipv4Addr,
    pub pod_cidr: Subnet,
}

/// Takes what the node reports. Clones share one inbox; a newer report of the same thing replaces an older
/// one that was not sent yet.
#[derive(Clone, Debug)]
pub struct Reports {
    tx: mpsc::Sender<Report>,
}

/// The gateway client's end of [`Reports`].
#[derive(Debug)]
pub struct ReportInbox {
    rx: mpsc::Receiver<Report>,
}

/// One thing that the node tells.
#[derive(Clone, Debug)]
pub enum Report {
    Node {
        status: Box<NodeStatus>,
        labels: BTreeMap<String, String>,
    },
    PodStatus {
        key: PodKey,
        uid: String,
        status: Box<PodStatus>,
    },
    PodTerminated {
        key: PodKey,
        uid: String,
    },
    /// Every pod of the API that is to show a pod that this node runs by itself.
    Mirrors(Vec<Pod>),
    Event(Box<Event>),
}

impl Reports {
    pub fn channel() -> (Self, ReportInbox) {
        let (tx, rx) = mpsc::channel(REPORTS_WAITING_MAX);
        (Self { tx }, ReportInbox { rx })
    }

    /// The node's own status and the labels that it should carry.
    pub async fn node(&self, status: NodeStatus, labels: BTreeMap<String, String>) {
        self.send(Report::Node { status: Box::new(status), labels }).await;
    }

    /// The newest status of a pod. Call it when something changed; equal ones are cheap but not free.
    pub async fn pod_status(&self, key: &PodKey, uid: &str, status: PodStatus) {
        self.send(Report::PodStatus { key: key.clone(), uid: uid.to_owned(), status: Box::new(status) })
            .await;
    }

    /// Every container of this pod is gone and its deletion was asked for: the object itself can go.
    pub async fn pod_terminated(&self, key: &PodKey, uid: &str) {
        self.send(Report::PodTerminated { key: key.clone(), uid: uid.to_owned() }).await;
    }

    /// All the mirrors of this node's own pods; others of this node are to go.
    pub async fn mirrors(&self, pods: Vec<Pod>) {
        self.send(Report::Mirrors(pods)).await;
    }

    /// An event, without a name: the gateway gives one. When the control plane stays away for long, the
    /// oldest unsent events are dropped.
    pub async fn event(&self, event: Event) {
        self.send(Report::Event(Box::new(event))).await;
    }

    /// A closed inbox means that the agent is stopping: the report has no reader and no use.
    async fn send(&self, report: Report) {
        let _stopping = self.tx.send(report).await;
    }
}

impl ReportInbox {
    /// The next report; `None` when every handle is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Report> {
        self.rx.recv().await
    }

    /// What is already there, without waiting.
    pub fn try_next(&mut self) -> Option<Report> {
        self.rx.try_recv().ok()
    }
}
