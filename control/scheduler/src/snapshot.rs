//! The nodes and what is on them, bound or about to be: what decisions are made of.
//!
//! Applied to change by change. A pod that was assumed to be on a node counts there until the watch shows it bound, or
//! the bind is known to have failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::{HasMetadata, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::pod::{HostPort, PodInfo, Resources, holds_resources};

/// A node and what its pods take.
#[derive(Clone, Debug)]
pub(crate) struct NodeInfo {
    pub(crate) node: Arc<Node>,
    pub(crate) allocatable: Resources,
    pub(crate) requested: Resources,
    /// With what is assumed for containers that ask for nothing.
    pub(crate) scored: Resources,
    pub(crate) ports: Vec<HostPort>,
    /// How many pods of each group are here.
    pub(crate) groups: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    nodes: BTreeMap<String, NodeInfo>,
    /// Each pod that counts on a node, and which.
    placed: BTreeMap<ObjectKey, (String, Arc<PodInfo>)>,
    assumed: BTreeSet<ObjectKey>,
}

impl Snapshot {
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    pub(crate) fn set_node(&mut self, name: &str, node: Option<Arc<Node>>) {
        let Some(node) = node else {
            self.nodes.remove(name);
            return;
        };
        let mut info = NodeInfo::empty(node);
        let on_it = self.placed.values().filter(|(at, _)| at == name);
        for (_, pod) in on_it {
            info.add(pod);
        }
        self.nodes.insert(name.to_owned(), info);
    }

    /// What the watch says of a pod now.
    pub(crate) fn set_pod(&mut self, key: &ObjectKey, pod: Option<&Arc<Pod>>) {
        let Some(pod) = pod.filter(|pod| holds_resources(pod)) else {
            self.assumed.remove(key);
            self.unplace(key);
            return;
        };
        let info = PodInfo::of(pod);
        let node = info.node_name().to_owned();
        if !node.is_empty() {
            self.assumed.remove(key);
            self.place(key, &node, info);
            return;
        }
        let is_same = self.placed.get(key).is_some_and(|(_, placed)| placed.pod.uid() == pod.uid());
        if !(is_same && self.assumed.contains(key)) {
            self.assumed.remove(key);
            self.unplace(key);
        }
    }

    /// Counts the pod on the node before the watch shows it.
    pub(crate) fn assume(&mut self, pod: PodInfo, node: &str) {
        self.assumed.insert(pod.key.clone());
        self.place(&pod.key.clone(), node, pod);
    }

    /// The bind failed. What the watch showed meanwhile stands.
    pub(crate) fn forget(&mut self, pod: &Pod) {
        let key = pod.key();
        let is_same = self.placed.get(&key).is_some_and(|(_, placed)| placed.pod.uid() == pod.uid());
        if is_same && self.assumed.remove(&key) {
            self.unplace(&key);
        }
    }

    pub(crate) fn is_assumed(&self, key: &ObjectKey) -> bool {
        self.assumed.contains(key)
    }

    fn place(&mut self, key: &ObjectKey, node: &str, info: PodInfo) {
        self.unplace(key);
        if let Some(at) = self.nodes.get_mut(node) {
            at.add(&info);
        }
        self.placed.insert(key.clone(), (node.to_owned(), Arc::new(info)));
    }

    fn unplace(&mut self, key: &ObjectKey) {
        if let Some((node, info)) = self.placed.remove(key)
            && let Some(at) = self.nodes.get_mut(&node)
        {
            at.remove(&info);
        }
    }
}

impl NodeInfo {
    pub(crate) fn empty(node: Arc<Node>) -> Self {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        Self {
            allocatable: Resources::of_list(allocatable),
            node,
            requested: Resources::default(),
            scored: Resources::default(),
            ports: Vec::new(),
            groups: BTreeMap::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.node.name()
    }

    pub(crate) fn add(&mut self, pod: &PodInfo) {
        self.requested += pod.requests;
        self.scored += pod.scored;
        self.ports.extend(pod.ports.iter().cloned());
        if let Some(group) = &pod.group {
            *self.groups.entry(group.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, pod: &PodInfo) {
        self.requested -= pod.requests;
        self.scored -= pod.scored;
        for port in &pod.ports {
            if let Some(position) = self.ports.iter().position(|known| known == port) {
                self.ports.swap_remove(position);
            }
        }
        if let Some(group) = &pod.group
            && let Some(count) = self.groups.get_mut(group)
        {
            *count = count.saturating_sub(1);
        }
    }
}
