//! Three nodes over a network that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{ManualClock, NodeId, Revision, SeededEntropy, Tasks, Timestamp};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::node::nobody;
use crate::{
    Call, Cluster, Compare, Disk, InitialMember, MemoryDisk, Node, NodeConfig, Op, Peer, PeerError,
    PeerService, Peers, Put, Range, Role, SnapshotOffer, Span, StartError, Store, StoreError, Txn, Watch,
};

/// Carries calls between nodes of one process, unless an end is cut off.
#[derive(Default)]
pub(super) struct Network {
    nodes: Mutex<BTreeMap<NodeId, Arc<dyn PeerService>>>,
    cut: Mutex<BTreeSet<NodeId>>,
    snapshots: AtomicUsize,
    /// Answers to this call stay on their way.
    held: watch::Sender<Option<Call>>,
    waiting: watch::Sender<bool>,
}

impl Network {
    pub(super) fn hold(&self, call: Call) {
        self.waiting.send_replace(false);
        self.held.send_replace(Some(call));
    }

    pub(super) fn release(&self) {
        self.held.send_replace(None);
    }

    /// An answer is held.
    pub(super) async fn somebody_waits(&self) {
        let mut waiting = self.waiting.subscribe();
        waiting.wait_for(|waiting| *waiting).await.expect("the network stays");
    }

    async fn deliver(&self, call: Call) {
        if *self.held.borrow() == Some(call) {
            self.waiting.send_replace(true);
            let mut held = self.held.subscribe();
            held.wait_for(|held| *held != Some(call)).await.expect("the network stays");
        }
    }

    fn reach(&self, from: NodeId, to: NodeId) -> Result<Arc<dyn PeerService>, PeerError> {
        let cut = self.cut.lock().unwrap();
        if cut.contains(&from) || cut.contains(&to) {
            return Err(nobody());
        }
        self.nodes.lock().unwrap().get(&to).cloned().ok_or_else(nobody)
    }
}

/// One node's end of the network.
struct End {
    me: NodeId,
    network: Arc<Network>,
}

impl Peers for End {
    fn call(
        &self,
        to: &Peer,
        call: Call,
        payload: Bytes,
        _: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let to = to.id;
        Box::pin(async move {
            let service = self.network.reach(self.me, to)?;
            let answer = service.call(call, payload).await;
            self.network.deliver(call).await;
            self.network.reach(self.me, to)?;
            answer
        })
    }

    fn append_stream(
        &self,
        to: &Peer,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>> {
        let (me, to, network) = (self.me, to.id, self.network.clone());
        Box::pin(async move {
            let service = network.reach(me, to)?;
            let (there, back) = (network.clone(), network.clone());
            let requests = requests.take_while(move |_| {
                let open = there.reach(me, to).is_ok();
                async move { open }
            });
            let answers = service.append_stream(requests.boxed());
            Ok(answers.map(move |answer| back.reach(me, to).and(answer)).boxed())
        })
    }

    fn send_snapshot(&self, to: &Peer, offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let to = to.id;
        Box::pin(async move {
            let service = self.network.reach(self.me, to)?;
            let intake = service.snapshot_intake(offer.meta.clone(), offer.files).await?;
            for name in &intake.missing {
                std::fs::copy(offer.dir.join(name), intake.dir.join(name)).expect("a file is copied");
            }
            self.network.snapshots.fetch_add(1, Ordering::SeqCst);
            service.snapshot_install(offer.meta, intake).await
        })
    }
}

pub(super) struct Member {
    pub(super) store: Store,
    tasks: Tasks,
    disk: Disk,
}

pub(super) struct Trio {
    network: Arc<Network>,
    pub(super) members: BTreeMap<NodeId, Member>,
}

fn trio() -> Cluster {
    let founder = |n: u64| InitialMember {
        name: format!("node-{n}"),
        peer_url: format!("https://node-{n}"),
        client_urls: Vec::new(),
    };
    Cluster::Static { token: "trio".into(), members: (1..=3).map(founder).collect() }
}

/// What `start` comes to once Raft's last task of the previous node has let go of the files.
pub(super) async fn when_free<T>(start: impl AsyncFn() -> Result<T, StartError>) -> Result<T, StartError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match start().await {
            Err(StartError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            started => return started,
        }
    }
}

impl Trio {
    pub(super) async fn start() -> Self {
        Self::on(|_| Disk::Memory(MemoryDisk::default())).await
    }

    pub(super) async fn on(disk: impl Fn(u64) -> Disk) -> Self {
        let mut trio = Self { network: Arc::default(), members: BTreeMap::new() };
        for id in 1..=3 {
            trio.start_node(NodeId::new(id), disk(id)).await;
        }
        trio.leader().await;
        trio
    }

    pub(super) async fn start_node(&mut self, id: NodeId, disk: Disk) {
        self.start_in(id, disk, trio()).await;
    }

    /// Starts a member that was added.
    pub(super) async fn start_joined(&mut self, id: NodeId) {
        let cluster_id = self.members.values().next().expect("a member").store.status().cluster_id;
        let disk = Disk::Memory(MemoryDisk::default());
        self.start_in(id, disk, Cluster::Joined { cluster_id, node_id: id }).await;
    }

    async fn start_in(&mut self, id: NodeId, disk: Disk, cluster: Cluster) {
        let config = || NodeConfig {
            name: format!("node-{id}"),
            disk: disk.clone(),
            cluster: cluster.clone(),
            snapshot_every_entries: 50,
            watch_ring_bytes: 4000,
            ..NodeConfig::in_memory()
        };
        let tasks = Tasks::new(CancellationToken::new());
        let peers = Arc::new(End { me: id, network: self.network.clone() });
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let entropy = Arc::new(SeededEntropy::new(id.get()));
        let start =
            async || Node::start(config(), peers.clone(), clock.clone(), entropy.clone(), &tasks).await;
        let node = when_free(start).await.expect("a node starts");
        self.network.nodes.lock().unwrap().insert(id, node.service);
        self.members.insert(id, Member { store: node.store, tasks, disk });
    }

    /// Stops a node as if it had been killed; its disk stays.
    pub(super) async fn kill(&mut self, id: NodeId) -> Disk {
        self.network.nodes.lock().unwrap().remove(&id);
        let member = self.members.remove(&id).expect("it runs");
        member.tasks.stop().cancel();
        member.tasks.join(Duration::from_secs(5)).await.expect("no task failed");
        member.disk
    }

    pub(super) fn cut(&self, id: NodeId) {
        self.network.cut.lock().unwrap().insert(id);
    }

    pub(super) fn heal(&self) {
        self.network.cut.lock().unwrap().clear();
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn disk(&self, id: NodeId) -> &Disk {
        &self.members[&id].disk
    }

    pub(super) fn store(&self, id: NodeId) -> &Store {
        &self.members[&id].store
    }

    /// Waits until every running node that is not cut off names the same leader.
    pub(super) async fn leader(&self) -> NodeId {
        let cut = self.network.cut.lock().unwrap().clone();
        let agree = async {
            loop {
                let reachable = self.members.iter().filter(|(id, _)| !cut.contains(id));
                let leaders: BTreeSet<_> =
                    reachable.map(|(_, member)| member.store.status().leader).collect();
                if let [Some(leader)] = leaders.iter().copied().collect::<Vec<_>>()[..]
                    && !cut.contains(&leader)
                    && self
                        .members
                        .get(&leader)
                        .is_some_and(|member| member.store.status().role == Role::Leader)
                {
                    return leader;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), agree).await.expect("a leader within ten seconds")
    }

    pub(super) fn others(&self, leader: NodeId) -> Vec<NodeId> {
        self.members.keys().copied().filter(|id| *id != leader).collect()
    }

    /// Waits until all are equally far, and checks that they agree on how they got there.
    pub(super) async fn agree(&self) {
        let newest = self.members.values().map(|member| member.store.revision()).max().expect("a node");
        let mut hashes = BTreeSet::new();
        for member in self.members.values() {
            let reached = tokio::time::timeout(Duration::from_secs(10), member.store.wait_for(newest)).await;
            reached.expect("every node catches up");
            hashes.insert(member.store.hash());
        }
        assert_eq!(hashes.len(), 1, "{hashes:?}");
    }
}

pub(super) async fn put(store: &Store, key: &str, value: &str) -> Result<Revision, StoreError> {
    let done = store.txn(Txn::of(Op::Put(Put::of(key.to_owned(), value.to_owned())))).await?;
    Ok(done.revision)
}

pub(super) async fn get(store: &Store, key: &str) -> Option<Bytes> {
    let found = store.range(Range::key(key.to_owned())).await.expect("a read");
    found.kvs.into_iter().next().map(|kv| kv.value)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_acknowledged_every_node_reads() {
    let trio = Trio::start().await;
    for writer in trio.members.keys() {
        let value = format!("by {writer}");
        put(trio.store(*writer), "k", &value).await.expect("a write through any node");
        for reader in trio.members.keys() {
            assert_eq!(get(trio.store(*reader), "k").await, Some(value.clone().into()));
        }
    }
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_after_the_leaders_death_and_it_comes_back() {
    let mut trio = Trio::start().await;
    put(trio.store(NodeId::new(1)), "a", "1").await.expect("a write");
    let leader = trio.leader().await;
    let other = trio.others(leader)[0];
    let disk = trio.kill(leader).await;
    let started = tokio::time::Instant::now();
    put(trio.store(other), "a", "2").await.expect("a write through another node");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    trio.start_node(leader, disk).await;
    assert_eq!(get(trio.store(leader), "a").await, Some("2".into()));
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_the_death_of_all() {
    let mut trio = Trio::start().await;
    for n in 0..120 {
        put(trio.store(NodeId::new(1)), &format!("k{n}"), "v").await.expect("a write");
    }
    trio.store(NodeId::new(1)).read_barrier().await.expect("a leader");
    let before = trio.store(NodeId::new(1)).hash();
    let ids: Vec<NodeId> = trio.members.keys().copied().collect();
    let mut disks = Vec::new();
    for id in &ids {
        disks.push((*id, trio.kill(*id).await));
    }
    for (id, disk) in disks {
        trio.start_node(id, disk).await;
    }
    trio.leader().await;
    for id in ids {
        let found = trio.store(id).range(Range { count_only: true, ..Range::of(Span::all()) }).await;
        assert_eq!(found.expect("a read").count, 120);
    }
    trio.agree().await;
    assert_eq!(trio.store(NodeId::new(2)).hash(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_missed_too_much_gets_a_snapshot_and_its_watchers_miss_nothing() {
    let trio = Trio::start().await;
    fall_behind_and_catch_up(&trio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_travels_as_rocksdb_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let trio = Trio::on(|id| Disk::Directory(dir.path().join(id.to_string()))).await;
    fall_behind_and_catch_up(&trio).await;
    // The node goes on from what it was given.
    let ids: Vec<NodeId> = trio.members.keys().copied().collect();
    for id in ids {
        put(trio.store(id), "after", &id.to_string()).await.expect("a write");
    }
    trio.agree().await;
}

async fn fall_behind_and_catch_up(trio: &Trio) {
    let leader = trio.leader().await;
    let behind = trio.others(leader)[0];
    let mut watcher = trio.store(behind).watch(Watch::of(Span::prefix("k"))).expect("a watch");
    trio.cut(behind);
    for n in 0..400 {
        put(trio.store(leader), &format!("k{}", n % 7), &n.to_string()).await.expect("a write");
    }
    trio.heal();
    trio.agree().await;
    assert!(trio.network.snapshots.load(Ordering::SeqCst) > 0, "it caught up without a snapshot");
    let newest = trio.store(leader).revision();
    let mut seen = Vec::new();
    while watcher.position() < newest {
        let batch = watcher.next().await.expect("an event");
        seen.extend(batch.events.iter().map(|event| String::from_utf8_lossy(&event.kv.value).into_owned()));
    }
    assert_eq!(seen, (0..400).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_serves_nothing_and_forks_nothing() {
    let trio = Trio::start().await;
    let old = trio.leader().await;
    put(trio.store(old), "k", "before").await.expect("a write");
    trio.cut(old);
    let (lonely, read) =
        tokio::join!(put(trio.store(old), "k", "lonely"), trio.store(old).range(Range::key("k")),);
    assert!(matches!(lonely, Err(StoreError::Timeout | StoreError::NoLeader)), "{lonely:?}");
    assert!(matches!(read, Err(StoreError::Timeout | StoreError::NoLeader)), "{read:?}");
    let new = trio.leader().await;
    assert_ne!(new, old);
    put(trio.store(new), "k", "after").await.expect("the majority goes on");
    trio.heal();
    assert_eq!(get(trio.store(old), "k").await, Some("after".into()));
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_that_want_one_key_exactly_one_wins() {
    let trio = Trio::start().await;
    let attempts = (0..30).map(|n| {
        let store = trio.store(NodeId::new(n % 3 + 1)).clone();
        async move {
            let txn = Txn {
                compares: vec![Compare::absent("lock")],
                success: vec![Op::Put(Put::of("lock", n.to_string()))],
                failure: Vec::new(),
            };
            store.txn(txn).await.expect("an answer").succeeded
        }
    });
    let won = futures::future::join_all(attempts).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_when_asked() {
    let trio = Trio::start().await;
    let old = trio.leader().await;
    let new = trio.others(old)[0];
    trio.store(old).transfer_leadership(new).await.expect("a transfer");
    assert_eq!(trio.leader().await, new);
    put(trio.store(old), "k", "v").await.expect("a write through the old leader");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlives_its_leader_and_ends_by_itself() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let other = trio.others(leader)[0];
    let lease = trio.store(other).lease_grant(base::LeaseId::NONE, 4).await.expect("a lease");
    let put = Put { lease: lease.id, ..Put::of("k", "v") };
    trio.store(other).txn(Txn::of(Op::Put(put))).await.expect("a write");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(trio.store(other).lease_keep_alive(lease.id).await, Ok(Some(4)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    trio.kill(leader).await;
    trio.leader().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(get(trio.store(other), "k").await.is_some(), "the new leader starts the time anew");
    let gone = async {
        while get(trio.store(other), "k").await.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), gone).await.expect("it ends");
    assert_eq!(trio.store(other).lease_keep_alive(lease.id).await, Ok(None));
}
