//! Several nodes in memory, each behind its client port and its peer port, over mTLS on loopback.

use std::sync::Arc;
use std::time::Duration;

use base::{NodeId, SeededEntropy, SystemClock, Tasks};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{ADMITTED, Authority};
use crate::rpc::{ClientPort, MetricsPage, Network, PeerPort, serve_clients, serve_peers};
use crate::{Cluster, Disk, InitialMember, MemoryDisk, NewMember, Node, NodeConfig, Role, Store, Timings};

const DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct Fleet {
    authority: Authority,
    timings: Timings,
    pub(super) nodes: Vec<Running>,
}

pub(super) struct Running {
    pub(super) store: Store,
    pub(super) disk: MemoryDisk,
    pub(super) client_port: u16,
    tasks: Tasks,
}

/// Where a node listens for its peers, and what the others call it.
struct Seat {
    name: String,
    listener: TcpListener,
    url: String,
}

impl Seat {
    async fn take(name: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        Self { name, listener, url }
    }
}

impl Fleet {
    pub(super) async fn start(size: usize) -> Self {
        Self::start_with(size, Timings::default()).await
    }

    pub(super) async fn start_with(size: usize, timings: Timings) -> Self {
        let mut seats = Vec::new();
        for n in 1..=size {
            seats.push(Seat::take(format!("server-{n}")).await);
        }
        let founder = |seat: &Seat| InitialMember {
            name: seat.name.clone(),
            peer_url: seat.url.clone(),
            client_urls: Vec::new(),
        };
        let members = seats.iter().map(founder).collect();
        let cluster = Cluster::Static { token: "fleet".to_owned(), members };
        let mut fleet = Self { authority: Authority::new(), timings, nodes: Vec::new() };
        for seat in seats {
            let node = fleet.run(seat, cluster.clone()).await;
            fleet.nodes.push(node);
        }
        fleet.leader().await;
        fleet
    }

    async fn run(&self, seat: Seat, cluster: Cluster) -> Running {
        let tasks = Tasks::new(CancellationToken::new());
        let disk = MemoryDisk::default();
        let config = NodeConfig {
            name: seat.name,
            disk: Disk::Memory(disk.clone()),
            cluster,
            timings: self.timings,
            ..NodeConfig::in_memory()
        };
        let tls = self.authority.tls(ADMITTED);
        let me = config.identity().unwrap();
        let network = Arc::new(Network::new(me.clone(), &tls, tasks.clone()).unwrap());
        let entropy = Arc::new(SeededEntropy::new(u64::from(seat.listener.local_addr().unwrap().port())));
        let node = Node::start(config, network, Arc::new(SystemClock), entropy, &tasks).await.unwrap();
        let port =
            PeerPort { listener: seat.listener, tls: tls.clone(), me: me.into(), tasks: tasks.clone() };
        tasks.spawn("peer port", serve_peers(node.service, port));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client_port = listener.local_addr().unwrap().port();
        let metrics = MetricsPage { render: Arc::new(|| "a_metric 1\n".to_owned()), is_public: false };
        let front = ClientPort { listener, tls, metrics: Some(metrics), stop: tasks.stop().clone() };
        tasks.spawn("client port", serve_clients(node.store.clone(), front));
        Running { store: node.store, disk, client_port, tasks }
    }

    /// Adds a learner that nobody wants to vote, and starts it. Returns where it is.
    pub(super) async fn learner(&mut self) -> usize {
        let seat = Seat::take("learner".to_owned()).await;
        let new = NewMember {
            name: seat.name.clone(),
            peer_url: seat.url.clone(),
            client_urls: Vec::new(),
            votes_when_ready: false,
        };
        let store = &self.nodes[0].store;
        let added = store.member_add(new).await.unwrap();
        let cluster_id = store.status().cluster_id;
        let node = self.run(seat, Cluster::Joined { cluster_id, node_id: added.id }).await;
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Who leads, once everybody says the same.
    pub(super) async fn leader(&self) -> usize {
        eventually("a leader", async || {
            let ids: Vec<Option<NodeId>> = self.nodes.iter().map(|node| node.store.status().leader).collect();
            let leader = ids.first().copied().flatten()?;
            if ids.iter().any(|id| *id != Some(leader)) {
                return None;
            }
            self.nodes.iter().position(|node| {
                let status = node.store.status();
                status.node_id == leader && status.role == Role::Leader
            })
        })
        .await
    }

    pub(super) fn id(&self, at: usize) -> u64 {
        self.nodes[at].store.status().node_id.get()
    }

    pub(super) fn channel(&self, at: usize) -> Channel {
        let url = format!("https://127.0.0.1:{}", self.nodes[at].client_port);
        let endpoint = Endpoint::from_shared(url).unwrap();
        endpoint.tls_config(self.authority.tls(ADMITTED).client()).unwrap().connect_lazy()
    }

    /// Stops one node; the others are behind it afterwards as before.
    pub(super) async fn stop_one(&mut self, at: usize) {
        stop(self.nodes.remove(at)).await;
    }

    pub(super) async fn stop(self) {
        for node in self.nodes {
            stop(node).await;
        }
    }
}

async fn stop(node: Running) {
    drop(node.store);
    node.tasks.stop().cancel();
    node.tasks.join(Duration::from_secs(10)).await.expect("no task failed");
}

pub(super) async fn eventually<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
