//! What agents dial: polls that carry the news of a node, reports that carry its state, tunnels into it.
//!
//! A client of the API like any other. It keeps watched caches of what agents need, a cursor for each node
//! that polls here, and the tunnels of the nodes that dialled this server.

mod contents;
mod heartbeat;
mod listener;
mod liveness;
mod node_report;
mod peers;
mod report;
mod sessions;
mod tokens;
mod tunnels;
mod view;
mod wakes;

use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Entropy, Tasks};
use client::{Client, Informers};
use k8s_openapi::api::core::v1::Pod;
use proto::agent::{
    PollRequest, PollResponse, ReportRequest, ReportResponse, TokenRequest, TokenResponse, gateway_server,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use liveness::Liveness;
use peers::PeerNews;
use report::Reporter;
use sessions::{Sessions, Wanted};
pub(crate) use tunnels::Tunnels;
use view::View;
use wakes::Changes;

/// How long a poll waits for news before it is answered empty.
const POLL_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a first poll waits until the caches hold what a fresh list holds.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// A client of the API that acts as the node of this name.
pub(crate) type ActAsNode = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// What the gateway is given.
pub(crate) struct GatewayConfig {
    pub(crate) client: Client,
    pub(crate) informers: Informers,
    pub(crate) act_as_node: ActAsNode,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The control node that this gateway is part of.
    pub(crate) server: String,
    pub(crate) cluster_cidr: String,
    pub(crate) tunnels: Tunnels,
}

/// The gateway of one control node. Clones share everything.
#[derive(Clone)]
pub(crate) struct Gateway {
    client: Client,
    act_as_node: ActAsNode,
    view: Arc<View>,
    sessions: Arc<Sessions>,
    liveness: Arc<Liveness>,
    in_touch: watch::Receiver<bool>,
    reporter: Arc<Reporter>,
    tunnels: Tunnels,
    stop: CancellationToken,
}

impl Gateway {
    /// Starts the heartbeat; [`Gateway::serve`] then lets agents in.
    pub(crate) fn start(config: GatewayConfig, tasks: &Tasks) -> Self {
        let view = Arc::new(View::of(&config.informers, config.cluster_cidr));
        tasks.spawn_infallible("gateway peers", view.peers().keep_telling(tasks.stop().clone()));
        let liveness = Arc::new(Liveness::default());
        let heartbeat = heartbeat::Heartbeat {
            client: config.client.clone(),
            clock: config.clock.clone(),
            server: config.server,
            liveness: liveness.clone(),
            in_touch: watch::Sender::new(true),
        };
        let in_touch = heartbeat.in_touch.subscribe();
        tasks.spawn_infallible("gateway heartbeat", heartbeat.run(tasks.stop().clone()));
        let reporter = Reporter {
            client: config.client.clone(),
            act_as_node: config.act_as_node.clone(),
            nodes: view.nodes(),
            pods: view.pods(),
            own_writes: report::OwnWrites::default(),
            told: node_report::ToldNodes::default(),
            entropy: config.entropy,
        };
        Self {
            client: config.client,
            act_as_node: config.act_as_node,
            view,
            sessions: Arc::default(),
            liveness,
            in_touch,
            reporter: Arc::new(reporter),
            tunnels: config.tunnels,
            stop: tasks.stop().clone(),
        }
    }

    /// Of an older agent's peers something is news, or nothing: it takes all of them or keeps what it has.
    fn peer_news(&self, request: &PollRequest, changes: &Changes) -> Option<PeerNews> {
        let (page, digest) = (self.sessions.page(request), request.peers_digest);
        let news = self.view.peer_news(&request.node, page, digest, changes)?;
        Some(if request.takes_peer_changes { news } else { self.view.peers().all(&request.node) })
    }

    /// An answer that leaves everything as it is.
    fn no_news(&self, request: &PollRequest) -> PollResponse {
        let wanted = self.view.wanted_by(&request.node);
        let peers = (!request.takes_peer_changes).then(|| self.view.peers().all(&request.node));
        self.sessions.empty_answer(request.seen_revision, &wanted, peers)
    }

    /// Waits until the caches hold at least what a linearizable list holds now. Without it, a server that
    /// lags behind would tell a node that its newest pods are gone.
    async fn catch_up(&self, node: &str) -> Result<(), Status> {
        let options =
            client::ListOptions { field_selector: format!("spec.nodeName={node}"), ..Default::default() };
        let fresh = self.client.list::<Pod>(&options).await.map_err(|error| {
            tracing::debug!(%node, %error, "cannot list a node's pods");
            Status::unavailable("this server cannot reach the cluster's leader")
        })?;
        tokio::time::timeout(CATCH_UP_MAX, self.view.holds(&fresh.items))
            .await
            .map_err(|_| Status::unavailable("this server lags behind the cluster"))
    }
}

/// The node whose certificate the connection showed. Put into each request by the listener.
#[derive(Clone, Debug)]
struct Peer {
    node: String,
}

fn node_of<T>(request: &Request<T>, claimed: &str) -> Result<String, Status> {
    let peer =
        request.extensions().get::<Peer>().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
    if peer.node != claimed {
        return Err(Status::permission_denied(format!("node {} speaks for node {claimed}", peer.node)));
    }
    Ok(peer.node.clone())
}

#[tonic::async_trait]
impl gateway_server::Gateway for Gateway {
    async fn poll(&self, request: Request<PollRequest>) -> Result<Response<PollResponse>, Status> {
        let node = node_of(&request, &request.get_ref().node)?;
        let request = request.into_inner();
        let mut in_touch = self.in_touch.clone();
        let _in_flight = Liveness::enter(&self.liveness, &node);
        let until = tokio::time::Instant::now() + POLL_WAIT_MAX;
        self.view.synced().await;
        if !self.sessions.continues(&request) {
            self.catch_up(&node).await?;
        }
        let mut changes = self.view.changes(&node);
        loop {
            changes.mark_unchanged();
            let mut wanted: Wanted = self.view.wanted_by(&node);
            self.read_contents(&request, &mut wanted).await?;
            let peers = self.peer_news(&request, &changes);
            let repeat_node = self.reporter.wants_repeat(&node);
            if let Some(answer) = self.sessions.answer(&request, wanted, peers) {
                return Ok(Response::new(PollResponse { repeat_node, ..answer }));
            }
            if repeat_node {
                return Ok(Response::new(PollResponse { repeat_node, ..self.no_news(&request) }));
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Status::unavailable("this server is stopping")),
                _ = in_touch.wait_for(|in_touch| !in_touch) => {
                    return Err(Status::unavailable("this server cannot reach the cluster's leader"));
                }
                () = tokio::time::sleep_until(until) => {
                    return Ok(Response::new(self.no_news(&request)));
                }
                () = changes.changed() => {}
            }
        }
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let node = node_of(&request, &request.get_ref().node)?;
        self.liveness.seen(&node);
        self.reporter.apply(&node, request.into_inner()).await?;
        Ok(Response::new(ReportResponse {}))
    }

    async fn token(&self, request: Request<TokenRequest>) -> Result<Response<TokenResponse>, Status> {
        let node = node_of(&request, &request.get_ref().node)?;
        self.view.synced().await;
        self.issue(&node, request.into_inner()).await.map(Response::new)
    }
}
