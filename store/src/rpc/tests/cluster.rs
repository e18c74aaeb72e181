//! Three nodes on RocksDB over real mTLS sockets: failover, and a follower that needs a snapshot.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{SeededEntropy, SystemClock, Tasks};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ADMITTED, Authority};
use crate::rpc::{Network, PeerPort, serve_peers};
use crate::{
    Call, InitialMember, Node, NodeConfig, Op, Peer, PeerError, Peers, Put, Range, SnapshotOffer, Store,
    StoreError, Txn,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// The network, with a count of the snapshots that arrived.
struct Counted {
    network: Network,
    snapshots: Arc<AtomicUsize>,
}

impl Peers for Counted {
    fn call(
        &self,
        to: &Peer,
        call: Call,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        self.network.call(to, call, payload, deadline)
    }

    fn append_stream(
        &self,
        to: &Peer,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>> {
        self.network.append_stream(to, requests)
    }

    fn send_snapshot(&self, to: &Peer, offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let sent = self.network.send_snapshot(to, offer);
        let snapshots = self.snapshots.clone();
        Box::pin(async move {
            let answer = sent.await?;
            snapshots.fetch_add(1, Ordering::Relaxed);
            Ok(answer)
        })
    }
}

struct Cluster {
    snapshots: Arc<AtomicUsize>,
    dir: tempfile::TempDir,
    authority: Authority,
    members: Vec<InitialMember>,
    addresses: Vec<SocketAddr>,
    nodes: Vec<Option<(Store, Tasks)>>,
}

impl Cluster {
    async fn start() -> Self {
        let mut members = Vec::new();
        let mut addresses = Vec::new();
        let mut listeners = Vec::new();
        for n in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let peer_url = format!("https://{address}");
            members.push(InitialMember { name: format!("server-{n}"), peer_url, client_urls: Vec::new() });
            addresses.push(address);
            listeners.push(listener);
        }
        let mut cluster = Self {
            snapshots: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
            members,
            addresses,
            nodes: vec![None, None, None],
        };
        for (at, listener) in listeners.into_iter().enumerate() {
            cluster.run(at, listener).await;
        }
        cluster
    }

    async fn run(&mut self, at: usize, listener: TcpListener) {
        let tasks = Tasks::new(CancellationToken::new());
        let name = self.members[at].name.clone();
        let dir = Path::new(self.dir.path()).join(&name);
        let config = NodeConfig {
            snapshot_every_entries: 50,
            ..NodeConfig::founding(name, dir, "test".to_owned(), self.members.clone())
        };
        let tls = self.authority.tls(ADMITTED);
        let me = config.identity().unwrap();
        let network = Network::new(me.clone(), &tls, tasks.clone()).unwrap();
        let network = Arc::new(Counted { network, snapshots: self.snapshots.clone() });
        let entropy = Arc::new(SeededEntropy::new(at as u64));
        let node = Node::start(config, network, Arc::new(SystemClock), entropy, &tasks).await.unwrap();
        let port = PeerPort { listener, tls, me: me.into(), tasks: tasks.clone() };
        tasks.spawn("peer port", serve_peers(node.service, port));
        self.nodes[at] = Some((node.store, tasks));
    }

    async fn stop(&mut self, at: usize) {
        let (store, tasks) = self.nodes[at].take().unwrap();
        drop(store);
        tasks.stop().cancel();
        tasks.join(Duration::from_secs(10)).await.unwrap();
    }

    /// The old port may still be in use for a moment.
    async fn restart(&mut self, at: usize) {
        let listener =
            eventually("the port is free", async || TcpListener::bind(self.addresses[at]).await.ok()).await;
        self.run(at, listener).await;
    }

    fn store(&self, at: usize) -> &Store {
        &self.nodes[at].as_ref().unwrap().0
    }

    async fn leader(&self) -> usize {
        eventually("a leader", async || {
            let store = self.nodes.iter().flatten().next().map(|(store, _)| store)?;
            let leader = store.status().leader?;
            let at = usize::try_from(leader.get()).ok()? - 1;
            self.nodes[at].is_some().then_some(at)
        })
        .await
    }
}

async fn eventually<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn put(store: &Store, key: String, value: &'static str) -> Result<(), StoreError> {
    store.txn(Txn::of(Op::Put(Put::of(key, value)))).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_when_the_leader_is_gone_and_it_catches_up_by_snapshot() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    put(cluster.store(follower), "through-a-follower".to_owned(), "v").await.unwrap();
    let read = cluster.store((leader + 2) % 3).range(Range::key("through-a-follower")).await.unwrap();
    assert_eq!(read.kvs.len(), 1, "a linearizable read on the third node");

    cluster.stop(leader).await;
    let begun = Instant::now();
    eventually("a write without the old leader", async || {
        put(cluster.store(follower), "after".to_owned(), "v").await.ok()
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());

    // More than two snapshots' worth: what the stopped node lacks is in no log any more.
    for n in 0..200 {
        put(cluster.store(follower), format!("k{n:03}"), "v").await.unwrap();
    }
    cluster.restart(leader).await;
    let newest = cluster.store(follower).revision();
    tokio::time::timeout(DEADLINE, cluster.store(leader).wait_for(newest)).await.expect("it catches up");
    let range = Range { serializable: true, ..Range::prefix("k") };
    assert_eq!(cluster.store(leader).range(range).await.unwrap().kvs.len(), 200);
    assert_eq!(cluster.store(leader).hash(), cluster.store(follower).hash());
    assert!(cluster.snapshots.load(Ordering::Relaxed) > 0, "it came by snapshot");
    for at in 0..3 {
        cluster.stop(at).await;
    }
}
