//! Turns poll answers into snapshots of what is desired.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proto::agent::{Object, ObjectId, ObjectKind, Peer as WirePeer, PollResponse, Settings};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::desired::{Desired, ObjectKey, Peer};

/// What the control plane said so far, and where in its history we are.
pub(super) struct Assignments {
    desired: watch::Sender<Arc<Desired>>,
    seen_revision: i64,
    pods: BTreeMap<ObjectKey, Held<Pod>>,
    config_maps: BTreeMap<ObjectKey, Held<ConfigMap>>,
    secrets: BTreeMap<ObjectKey, Held<Secret>>,
    services: BTreeMap<ObjectKey, Held<Service>>,
    claims: BTreeMap<ObjectKey, Held<PersistentVolumeClaim>>,
    volumes: BTreeMap<ObjectKey, Held<PersistentVolume>>,
    /// By the name of their node.
    peers: Arc<BTreeMap<Arc<str>, Peer>>,
}

/// One object. `object` is absent when its JSON could not be read, so that it is not asked for again and
/// again.
struct Held<K> {
    uid: String,
    object: Option<Arc<K>>,
}

/// The keys and uids of one kind that the control plane says are live.
type Live = BTreeMap<ObjectKey, String>;

impl Assignments {
    pub(super) fn new(desired: watch::Sender<Arc<Desired>>) -> Self {
        Self {
            desired,
            seen_revision: 0,
            pods: BTreeMap::new(),
            config_maps: BTreeMap::new(),
            secrets: BTreeMap::new(),
            services: BTreeMap::new(),
            claims: BTreeMap::new(),
            volumes: BTreeMap::new(),
            peers: Arc::default(),
        }
    }

    /// What to send with the next poll.
    pub(super) fn seen_revision(&self) -> i64 {
        self.seen_revision
    }

    /// What to send with a poll that asks for everything: peers are many, and mostly the same for every server.
    pub(super) fn peers_digest(&self) -> Option<u64> {
        let digests = self.peers.iter().map(|(node, peer)| wire(node, *peer).digest());
        (self.seen_revision == 0).then(|| digests.fold(0, u64::wrapping_add))
    }

    /// The next poll asks for everything: a cursor means something only to the server that gave it.
    pub(super) fn forget_cursor(&mut self) {
        self.seen_revision = 0;
    }

    /// Takes an answer in and publishes what is desired now, if that changed. What is held and still live
    /// stays as it is while a full answer is under way.
    pub(super) fn apply(&mut self, answer: PollResponse) {
        for object in answer.changed {
            self.take(object);
        }
        let live = |kind| live_of(&answer.live, kind);
        let consistent = keep_live(&mut self.pods, &live(ObjectKind::Pod))
            & keep_live(&mut self.config_maps, &live(ObjectKind::ConfigMap))
            & keep_live(&mut self.secrets, &live(ObjectKind::Secret))
            & keep_live(&mut self.services, &live(ObjectKind::Service))
            & keep_live(&mut self.claims, &live(ObjectKind::PersistentVolumeClaim))
            & keep_live(&mut self.volumes, &live(ObjectKind::PersistentVolume));
        self.seen_revision = if consistent { answer.revision } else { 0 };
        if !consistent {
            info!("the server lists objects that we do not hold, asking for everything");
        }
        self.take_peers(&answer.peers, &answer.peers_gone, answer.peers_are_changes);
        self.publish(answer.settings.as_ref());
    }

    fn take_peers(&mut self, told: &[WirePeer], gone: &[String], are_changes: bool) {
        let known = told.iter().filter_map(|told| Some((Arc::from(told.node.as_str()), peer(told)?)));
        if !are_changes {
            let all: BTreeMap<Arc<str>, Peer> = known.collect();
            if all != *self.peers {
                self.peers = Arc::new(all);
            }
        } else if !told.is_empty() || !gone.is_empty() {
            let peers = Arc::make_mut(&mut self.peers);
            for name in gone.iter().chain(told.iter().map(|told| &told.node)) {
                peers.remove(name.as_str());
            }
            peers.extend(known);
        }
    }

    fn take(&mut self, object: Object) {
        let Some(id) = object.id else {
            warn!("an object without an id came from the server");
            return;
        };
        match ObjectKind::try_from(id.kind) {
            Ok(ObjectKind::Pod) => insert(&mut self.pods, id, &object.json, |pod| &pod.metadata),
            Ok(ObjectKind::ConfigMap) => insert(&mut self.config_maps, id, &object.json, |map| &map.metadata),
            Ok(ObjectKind::Secret) => insert(&mut self.secrets, id, &object.json, |secret| &secret.metadata),
            Ok(ObjectKind::Service) => insert(&mut self.services, id, &object.json, |found| &found.metadata),
            Ok(ObjectKind::PersistentVolumeClaim) => {
                insert(&mut self.claims, id, &object.json, |claim| &claim.metadata);
            }
            Ok(ObjectKind::PersistentVolume) => {
                insert(&mut self.volumes, id, &object.json, |volume| &volume.metadata);
            }
            Ok(ObjectKind::Unspecified) | Err(_) => {
                debug!(kind = id.kind, "an object of a kind not known here")
            }
        }
    }

    fn publish(&self, settings: Option<&Settings>) {
        let settings = settings.cloned().unwrap_or_default();
        let next = Desired {
            pods: readable(&self.pods),
            config_maps: readable(&self.config_maps),
            secrets: readable(&self.secrets),
            services: readable(&self.services),
            claims: readable(&self.claims),
            volumes: readable(&self.volumes),
            peers: self.peers.clone(),
            pod_cidr: subnet(&settings.pod_cidr),
            cluster_cidr: subnet(&settings.cluster_cidr),
            node_labels: settings.node_labels.into_iter().collect(),
            synced: true,
        };
        self.desired.send_if_modified(|present| {
            let changed = !same(present, &next);
            if changed {
                *present = Arc::new(next);
            }
            changed
        });
    }
}

fn insert<K: DeserializeOwned>(
    held: &mut BTreeMap<ObjectKey, Held<K>>,
    id: ObjectId,
    json: &[u8],
    metadata: impl Fn(&K) -> &ObjectMeta,
) {
    let key = ObjectKey::new(id.namespace, id.name);
    match serde_json::from_slice::<K>(json) {
        Ok(object) => {
            let version = |object: &K| metadata(object).resource_version.clone();
            let present = held.get(&key).and_then(|present| present.object.as_ref());
            let same = present.is_some_and(|present| {
                let (old, new) = (version(present), version(&object));
                old.is_some() && old == new && metadata(present).uid.as_deref() == Some(id.uid.as_str())
            });
            if !same {
                held.insert(key, Held { uid: id.uid, object: Some(Arc::new(object)) });
            }
        }
        Err(error) => {
            error!(%key, %error, "an object from the server cannot be read, the last readable one stays");
            let last = held.remove(&key).filter(|last| last.uid == id.uid).and_then(|last| last.object);
            held.insert(key, Held { uid: id.uid, object: last });
        }
    }
}

fn live_of(ids: &[ObjectId], kind: ObjectKind) -> Live {
    ids.iter()
        .filter(|id| id.kind == i32::from(kind))
        .map(|id| (ObjectKey::new(&id.namespace, &id.name), id.uid.clone()))
        .collect()
}

/// Drops what is not live; false when something live is not held.
fn keep_live<K>(held: &mut BTreeMap<ObjectKey, Held<K>>, live: &Live) -> bool {
    held.retain(|key, held| live.get(key) == Some(&held.uid));
    held.len() == live.len()
}

fn readable<K>(held: &BTreeMap<ObjectKey, Held<K>>) -> BTreeMap<ObjectKey, Arc<K>> {
    held.iter().filter_map(|(key, held)| Some((key.clone(), held.object.clone()?))).collect()
}

fn peer(peer: &WirePeer) -> Option<Peer> {
    let parsed = peer.internal_ip.parse().ok().zip(peer.pod_cidr.parse().ok());
    if parsed.is_none() {
        debug!(node = %peer.node, "a peer has no usable address or pod network yet");
    }
    let (internal_ip, pod_cidr) = parsed?;
    Some(Peer { internal_ip, pod_cidr })
}

/// As the server told it, if it writes addresses as we do; else it tells it again.
fn wire(node: &str, peer: Peer) -> WirePeer {
    WirePeer {
        node: node.to_owned(),
        internal_ip: peer.internal_ip.to_string(),
        pod_cidr: peer.pod_cidr.to_string(),
    }
}

fn subnet(text: &str) -> Option<crate::network::Subnet> {
    if text.is_empty() {
        return None;
    }
    text.parse().inspect_err(|error| error!(%error, "the control plane assigned an unusable network")).ok()
}

/// Objects are compared by identity: one that did not change keeps its `Arc`.
fn same(a: &Desired, b: &Desired) -> bool {
    let Desired {
        pods,
        config_maps,
        secrets,
        services,
        claims,
        volumes,
        peers,
        pod_cidr,
        cluster_cidr,
        node_labels,
        synced,
    } = a;
    same_objects(pods, &b.pods)
        && same_objects(config_maps, &b.config_maps)
        && same_objects(secrets, &b.secrets)
        && same_objects(services, &b.services)
        && same_objects(claims, &b.claims)
        && same_objects(volumes, &b.volumes)
        && (peers, pod_cidr, cluster_cidr) == (&b.peers, &b.pod_cidr, &b.cluster_cidr)
        && (node_labels, synced) == (&b.node_labels, &b.synced)
}

fn same_objects<K>(a: &BTreeMap<ObjectKey, Arc<K>>, b: &BTreeMap<ObjectKey, Arc<K>>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((left, a), (right, b))| left == right && Arc::ptr_eq(a, b))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proto::agent::Object;

    use super::*;

    fn id(kind: ObjectKind, name: &str, uid: &str) -> ObjectId {
        ObjectId { kind: kind.into(), namespace: "default".into(), name: name.into(), uid: uid.into() }
    }

    fn pod(name: &str, uid: &str, version: &str) -> Object {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"default","uid":"{uid}","resourceVersion":"{version}"}}}}"#
        );
        Object { id: Some(id(ObjectKind::Pod, name, uid)), json: json.into() }
    }

    fn answer(revision: i64, changed: Vec<Object>, live: &[(&str, &str)]) -> PollResponse {
        let live = live.iter().map(|(name, uid)| id(ObjectKind::Pod, name, uid)).collect();
        let (pod_cidr, cluster_cidr) = ("10.1.0.0/24".into(), "10.1.0.0/16".into());
        let settings = Settings { pod_cidr, cluster_cidr, ..Settings::default() };
        PollResponse { revision, changed, live, settings: Some(settings), ..PollResponse::default() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "expect! makes values")]
    fn check(answers: Vec<PollResponse>, expected: Expect) {
        let (tx, mut rx) = Desired::channel();
        let mut assignments = Assignments::new(tx);
        let mut lines = Vec::new();
        for answer in answers {
            assignments.apply(answer);
            let woken = rx.has_changed().expect("the sender lives");
            let desired = rx.borrow_and_update().clone();
            let pods = desired.pods.values().map(|pod| {
                let metadata = &pod.metadata;
                let text = |field: &Option<String>| field.clone().unwrap_or_default();
                format!(
                    "{}#{}@{}",
                    text(&metadata.name),
                    text(&metadata.uid),
                    text(&metadata.resource_version)
                )
            });
            let pods: Vec<String> = pods.collect();
            let woken = if woken { "woken" } else { "quiet" };
            lines.push(format!("{woken} seen={} [{}]", assignments.seen_revision(), pods.join(" ")));
        }
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn follows_changes_and_removals() {
        check(
            vec![
                answer(7, vec![pod("a", "1", "5"), pod("b", "2", "7")], &[("a", "1"), ("b", "2")]),
                answer(7, vec![], &[("a", "1"), ("b", "2")]),
                answer(9, vec![pod("a", "1", "9")], &[("a", "1"), ("b", "2")]),
                answer(10, vec![], &[("b", "2")]),
            ],
            expect![[r"
                woken seen=7 [a#1@5 b#2@7]
                quiet seen=7 [a#1@5 b#2@7]
                woken seen=9 [a#1@9 b#2@7]
                woken seen=10 [b#2@7]"]],
        );
    }

    #[test]
    fn asks_for_everything_when_something_live_is_missing() {
        check(
            vec![
                answer(7, vec![pod("a", "1", "5")], &[("a", "1"), ("b", "2")]),
                answer(8, vec![pod("a", "1", "5"), pod("b", "2", "8")], &[("a", "1"), ("b", "2")]),
            ],
            expect![[r"
                woken seen=0 [a#1@5]
                woken seen=8 [a#1@5 b#2@8]"]],
        );
    }

    #[test]
    fn a_full_answer_that_changes_nothing_wakes_nobody() {
        let full = || answer(7, vec![pod("a", "1", "5")], &[("a", "1")]);
        check(
            vec![full(), full()],
            expect![[r"
                woken seen=7 [a#1@5]
                quiet seen=7 [a#1@5]"]],
        );
    }

    #[test]
    fn a_successor_of_the_same_name_replaces_the_pod() {
        check(
            vec![
                answer(7, vec![pod("a", "1", "5")], &[("a", "1")]),
                answer(8, vec![pod("a", "2", "8")], &[("a", "2")]),
            ],
            expect![[r"
                woken seen=7 [a#1@5]
                woken seen=8 [a#2@8]"]],
        );
    }

    #[test]
    fn an_unreadable_pod_is_left_as_it_was() {
        let broken = Object { id: Some(id(ObjectKind::Pod, "a", "1")), json: "{".into() };
        check(
            vec![answer(7, vec![pod("a", "1", "5")], &[("a", "1")]), answer(8, vec![broken], &[("a", "1")])],
            expect![[r"
                woken seen=7 [a#1@5]
                quiet seen=8 [a#1@5]"]],
        );
    }

    #[test]
    fn peers_without_an_address_are_left_out() {
        let (tx, rx) = Desired::channel();
        let mut assignments = Assignments::new(tx);
        let wire = |node: &str, ip: &str, cidr: &str| WirePeer {
            node: node.into(),
            internal_ip: ip.into(),
            pod_cidr: cidr.into(),
        };
        let peers = vec![wire("a", "10.0.0.1", "10.1.1.0/24"), wire("b", "", ""), wire("c", "10.0.0.3", "")];
        assignments.apply(PollResponse { peers, ..answer(1, vec![], &[]) });
        let desired = rx.borrow().clone();
        assert_eq!(desired.peers.keys().map(|node| &**node).collect::<Vec<_>>(), ["a"]);
        assert_eq!(desired.pod_cidr.map(|cidr| cidr.to_string()).as_deref(), Some("10.1.0.0/24"));
    }

    #[test]
    fn peers_come_all_at_once_or_as_changes() {
        let (tx, mut rx) = Desired::channel();
        let mut assignments = Assignments::new(tx);
        let mut told = |peers: &[(&str, &str)], gone: &[&str], peers_are_changes: bool| {
            let peers = peers.iter().map(|(node, cidr)| WirePeer {
                node: (*node).into(),
                internal_ip: "10.0.0.1".into(),
                pod_cidr: (*cidr).into(),
            });
            assignments.apply(PollResponse {
                peers: peers.collect(),
                peers_gone: gone.iter().map(|name| (*name).to_owned()).collect(),
                peers_are_changes,
                ..answer(1, vec![], &[])
            });
            let woken = rx.has_changed().expect("the sender lives");
            let desired = rx.borrow_and_update().clone();
            let shown = desired.peers.iter().map(|(node, peer)| format!("{node}={}", peer.pod_cidr));
            (woken, shown.collect::<Vec<_>>().join(" "))
        };
        let (a, b, c) = (("a", "10.1.1.0/24"), ("b", "10.1.2.0/24"), ("c", "10.1.3.0/24"));
        assert_eq!(told(&[a, b], &[], false).1, "a=10.1.1.0/24 b=10.1.2.0/24");
        assert_eq!(told(&[], &[], true), (false, "a=10.1.1.0/24 b=10.1.2.0/24".to_owned()));
        assert_eq!(told(&[c], &["a"], true).1, "b=10.1.2.0/24 c=10.1.3.0/24");
        assert_eq!(told(&[("b", "")], &[], true).1, "c=10.1.3.0/24");
        assert_eq!(told(&[c], &[], false), (false, "c=10.1.3.0/24".to_owned()));

        assert_eq!(assignments.peers_digest(), None);
        assignments.forget_cursor();
        let (node, internal_ip, pod_cidr) = (c.0.into(), "10.0.0.1".into(), c.1.into());
        assert_eq!(assignments.peers_digest(), Some(WirePeer { node, internal_ip, pod_cidr }.digest()));
    }
}
