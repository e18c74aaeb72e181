//! Whole clusters that found themselves, over a network that knows addresses.

mod impostors;
mod repair;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{NodeId, SeededEntropy, SystemClock, Tasks};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::{Badge, Entrance};
use crate::node::nobody;
use crate::{
    Call, Cluster, Disk, InitialMember, Member, MemoryDisk, Node, NodeConfig, Op, Peer, PeerError,
    PeerService, Peers, Put, Range, SnapshotOffer, StartError, Store, StoreError, Txn,
};

const DEADLINE: Duration = Duration::from_secs(40);

type Door = (Badge, Arc<dyn PeerService>);

/// Who is found at which address.
#[derive(Clone, Default)]
struct Town(Arc<Mutex<BTreeMap<String, Door>>>);

impl Town {
    /// As the real transport: an introduction is answered by whoever lives there, all else only by the right node.
    fn reach(&self, to: &Peer, call: Option<Call>) -> Result<Arc<dyn PeerService>, PeerError> {
        let town = self.0.lock().unwrap();
        let (badge, service) = town.get(&to.url).ok_or_else(nobody)?;
        let right = badge.identity().is_some_and(|identity| identity.node_id == to.id);
        if right || call == Some(Call::Introduce) {
            return Ok(service.clone());
        }
        Err(PeerError::Refused("the call is for another node".into()))
    }
}

impl Peers for Town {
    fn call(
        &self,
        to: &Peer,
        call: Call,
        body: Bytes,
        _: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let service = self.reach(to, Some(call));
        Box::pin(async move { service?.call(call, body).await })
    }

    fn append_stream(
        &self,
        to: &Peer,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>> {
        let service = self.reach(to, None);
        let (town, to) = (self.clone(), to.clone());
        Box::pin(async move {
            let answers = service?.append_stream(requests);
            // A node that is gone breaks its connections.
            Ok(answers.map(move |answer| town.reach(&to, None).and(answer)).boxed())
        })
    }

    fn send_snapshot(&self, to: &Peer, offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let service = self.reach(to, None);
        Box::pin(async move {
            let service = service?;
            let intake = service.snapshot_intake(offer.meta.clone(), offer.files).await?;
            service.snapshot_install(offer.meta, intake).await
        })
    }
}

struct Running {
    store: Store,
    tasks: Tasks,
    url: String,
}

fn member(name: &str, url: &str) -> InitialMember {
    let (name, peer_url) = (name.to_owned(), url.to_owned());
    InitialMember { name, peer_url, client_urls: vec![format!("{url}/client")] }
}

fn founders(urls: [&str; 3]) -> Vec<InitialMember> {
    ["a", "b", "c"].iter().zip(urls).map(|(name, url)| member(name, url)).collect()
}

const URLS: [&str; 3] = ["https://a", "https://b", "https://c"];

/// One node's configuration: the list as this node was told it.
fn config(name: &str, urls: [&str; 3], disk: &MemoryDisk) -> NodeConfig {
    let cluster = Cluster::Static { token: "town".to_owned(), members: founders(urls) };
    NodeConfig { name: name.to_owned(), disk: Disk::Memory(disk.clone()), cluster, ..NodeConfig::in_memory() }
}

async fn start(town: &Town, config: NodeConfig, seed: u64) -> Result<Running, StartError> {
    let url = config.own_addresses().expect("it has addresses").peer_url.clone();
    let tasks = Tasks::new(CancellationToken::new());
    let entropy = Arc::new(SeededEntropy::new(seed));
    let entrance = Entrance::open(config, Arc::new(SystemClock), entropy)?;
    town.0.lock().unwrap().insert(url.clone(), (entrance.badge(), entrance.service()));
    let Node { store, .. } = entrance.enter(Arc::new(town.clone()), &tasks).await?;
    Ok(Running { store, tasks, url })
}

impl Running {
    async fn stop(self, town: &Town) {
        town.0.lock().unwrap().remove(&self.url);
        self.tasks.stop().cancel();
        self.tasks.join(Duration::from_secs(10)).await.expect("no task failed");
    }

    /// Returns when this node has applied it too, so that its revision says how far the others must come.
    async fn put(&self, key: &str) -> Result<(), StoreError> {
        let made = self.store.txn(Txn::of(Op::Put(Put::of(key.to_owned(), "v")))).await?;
        self.wait("it has its own write", |store| store.revision() >= made.revision).await;
        Ok(())
    }

    async fn has(&self, key: &str) -> bool {
        let found = self.store.range(Range::key(key.to_owned())).await;
        found.is_ok_and(|found| found.count == 1)
    }

    fn voters(&self) -> Vec<(u64, String)> {
        let voters = self.store.members().into_iter().filter(|member| !member.is_learner);
        voters.map(|Member { id, name, .. }| (id.get(), name)).collect()
    }

    /// Its id. Which number that is depends: an attempt to join that was held up may have cost one.
    fn id(&self) -> NodeId {
        self.store.status().node_id
    }

    fn votes(&self) -> bool {
        self.voters().iter().any(|(id, _)| *id == self.id().get())
    }

    async fn wait(&self, what: &str, check: impl Fn(&Store) -> bool) {
        let checked = async {
            while !check(&self.store) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let members = || self.store.members();
        tokio::time::timeout(DEADLINE, checked).await.unwrap_or_else(|_| panic!("{what}: {:?}", members()));
    }
}

async fn trio(town: &Town, disks: &[MemoryDisk; 3]) -> [Running; 3] {
    let [a, b, c] = ["a", "b", "c"];
    let (a, b, c) = tokio::join!(
        start(town, config(a, URLS, &disks[0]), 1),
        start(town, config(b, URLS, &disks[1]), 2),
        start(town, config(c, URLS, &disks[2]), 3),
    );
    [a.expect("a starts"), b.expect("b starts"), c.expect("c starts")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_founded_when_every_founder_is_there_and_resumes_after_the_death_of_all() {
    let (town, disks) = (Town::default(), <[MemoryDisk; 3]>::default());
    let alone =
        tokio::time::timeout(Duration::from_millis(500), start(&town, config("a", URLS, &disks[0]), 1));
    assert!(alone.await.is_err(), "one founder alone founds nothing");
    let nodes = trio(&town, &disks).await;
    nodes[1].put("k").await.expect("a write");
    let cluster = nodes[0].store.status().cluster_id;
    for (at, node) in nodes.iter().enumerate() {
        let status = node.store.status();
        assert_eq!((status.node_id, status.cluster_id), (NodeId::new(at as u64 + 1), cluster));
    }
    for node in nodes {
        node.stop(&town).await;
    }
    let nodes = trio(&town, &disks).await;
    assert!(nodes[2].has("k").await);
    assert_eq!(nodes[0].store.status().cluster_id, cluster);
    for node in nodes {
        node.stop(&town).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_disk_comes_back_as_a_learner_and_takes_the_place_of_its_predecessor() {
    let (town, disks) = (Town::default(), <[MemoryDisk; 3]>::default());
    let [a, b, c] = trio(&town, &disks).await;
    a.put("before").await.expect("a write");
    c.stop(&town).await;
    let wiped = start(&town, config("c", URLS, &MemoryDisk::default()), 33).await.expect("it comes back");
    let id = wiped.id().get();
    assert!(id > 3, "never under the old id");
    assert!(wiped.has("before").await);
    let expected = [(1, "a"), (2, "b"), (id, "c")].map(|(id, name)| (id, name.to_owned()));
    wiped.wait("it votes in the old one's place", |_| wiped.voters() == expected).await;
    b.wait("all know", |_| b.voters() == expected && b.store.members().len() == 3).await;
    // The new voter counts: with another one gone it is needed for the majority.
    b.stop(&town).await;
    a.put("after").await.expect("a write with the new voter");
    for node in [a, wiped] {
        node.stop(&town).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_may_change_at_once_and_the_log_learns_them() {
    let (town, disks) = (Town::default(), <[MemoryDisk; 3]>::default());
    for node in trio(&town, &disks).await {
        node.stop(&town).await;
    }
    let moved = ["https://x", "https://y", "https://z"];
    let (a, b, c) = tokio::join!(
        start(&town, config("a", moved, &disks[0]), 4),
        start(&town, config("b", moved, &disks[1]), 5),
        start(&town, config("c", moved, &disks[2]), 6),
    );
    let nodes = [a.expect("a"), b.expect("b"), c.expect("c")];
    nodes[1].put("k").await.expect("a write at the new addresses");
    for node in &nodes {
        node.wait("the log has the new addresses", |store| {
            store.members().iter().zip(moved).all(|(member, url)| member.peer_url == url)
        })
        .await;
    }
    let [a, b, c] = nodes;
    c.stop(&town).await;
    // One moves again, and only it knows.
    let alone = ["https://x", "https://y", "https://far"];
    let c = start(&town, config("c", alone, &disks[2]), 7).await.expect("c");
    a.wait("it is found where it said it is", |store| store.members()[2].peer_url == "https://far").await;
    assert!(c.has("k").await);
    for node in [a, b, c] {
        node.stop(&town).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_by_itself_and_is_told_when_it_is_removed() {
    let (town, disks) = (Town::default(), <[MemoryDisk; 3]>::default());
    let nodes = trio(&town, &disks).await;
    let disk = MemoryDisk::default();
    let joining = || NodeConfig {
        name: "d".to_owned(),
        disk: Disk::Memory(disk.clone()),
        cluster: Cluster::Join {
            token: "town".to_owned(),
            through: vec!["https://nobody".to_owned(), "https://b".to_owned()],
            me: member("d", "https://d"),
        },
        ..NodeConfig::in_memory()
    };
    let d = start(&town, joining(), 8).await.expect("it joins");
    let id = d.id();
    d.wait("it votes", |_| d.votes()).await;
    nodes[0].put("k").await.expect("a write");
    assert!(d.has("k").await);
    d.stop(&town).await;
    let d = start(&town, joining(), 9).await.expect("it resumes");
    assert_eq!(d.id(), id);

    d.wait("the leader hears it", |store| store.status().leader.is_some()).await;
    nodes[0].store.member_remove(id).await.expect("it is removed");
    let Running { store, tasks, url } = d;
    let ended = tokio::time::timeout(DEADLINE, tasks.join(Duration::from_secs(10))).await;
    let error = ended.expect("it notices").expect_err("it ends with an error");
    let told = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert!(told.contains("was removed from the cluster"), "{told}");
    town.0.lock().unwrap().remove(&url);
    drop(store);
    let again = start(&town, joining(), 10).await.map(|_| ()).expect_err("it stays away");
    assert!(matches!(again, StartError::Removed { .. }), "{again}");
    for node in nodes {
        node.stop(&town).await;
    }
}
