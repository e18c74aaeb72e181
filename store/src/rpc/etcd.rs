//! etcd's v3 API on the client port: one file for each service, and what they share.

mod auth;
mod cluster;
mod convert;
#[cfg(test)]
mod fuzz;
mod health;
mod kv;
mod lease;
mod maintenance;
mod options;
mod range_stream;
mod replica;
mod watch;

use std::time::Duration;

use base::Revision;
use futures::future::BoxFuture;
use proto::etcdserverpb::ResponseHeader;
use proto::etcdserverpb::auth_server::AuthServer;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::lease_server::LeaseServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::health::health_server::HealthServer;
use proto::replica::replica_server::ReplicaServer;
use tokio::net::TcpListener;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::Server;

use self::auth::guard::guard;
use self::watch::WatchService;
use super::door::Door;
use super::error;
use super::listen::{Admission, ServeError, connections, until_stopped};
use super::pages::{MetricsPage, Pages};
use super::tls::Tls;
use crate::store::caller::Caller;
use crate::{Limits, Status, Store};

pub(super) use maintenance::VERSION;

const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER_MAX: Duration = Duration::from_secs(10);

/// The port that etcd's clients use.
pub struct ClientPort {
    pub listener: TcpListener,
    pub tls: Tls,
    /// What is served under `/metrics`; absent: no such page.
    pub metrics: Option<MetricsPage>,
    pub stop: CancellationToken,
}

/// Serves etcd's v3 API until `stop`.
///
/// # Errors
/// When the certificates cannot be used or the port fails.
pub async fn serve_clients(store: Store, port: ClientPort) -> Result<(), ServeError> {
    let limits = store.limits();
    let admission = Admission {
        without_certificate: true,
        unanswered_bytes_max: (limits.unanswered_bytes_per_client_max, limits.unanswered_bytes_max),
        unread_bytes_max: (limits.unread_bytes_per_client_max, limits.unread_bytes_max),
        ..Admission::of(port.tls.admitted_organizations.clone())
    };
    let incoming = connections(port.listener, port.tls.public_server()?, admission);
    let pages = Pages::new(store.clone(), port.metrics);
    let services = services(&Front::new(store, port.stop.clone()), &limits);
    let serve = Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWER_MAX))
        .serve_with_incoming_shutdown(
            Door::new(services, pages, limits.message_bytes_max()),
            incoming,
            port.stop.clone().cancelled_owned(),
        );
    until_stopped(serve, &port.stop).await
}

fn services(front: &Front, limits: &Limits) -> Routes {
    // The door has refused what is larger, in grpc-go's words.
    let bytes_max = limits.message_bytes_max();
    Routes::new(guard(front, KvServer::new(front.clone()).max_decoding_message_size(bytes_max)))
        .add_service(guard(front, WatchService::new(front.clone())))
        .add_service(guard(front, LeaseServer::new(front.clone()).max_decoding_message_size(bytes_max)))
        .add_service(guard(front, ClusterServer::new(front.clone()).max_decoding_message_size(bytes_max)))
        .add_service(guard(front, MaintenanceServer::new(front.clone()).max_decoding_message_size(bytes_max)))
        .add_service(guard(front, AuthServer::new(front.clone()).max_decoding_message_size(bytes_max)))
        .add_service(guard(front, ReplicaServer::new(front.clone())))
        .add_service(HealthServer::new(front.clone()))
        .prepare()
}

/// What every service answers from.
#[derive(Clone)]
struct Front {
    /// Asks for a client that has not said who it is; [`Front::store_of`] asks for the caller of a request.
    store: Store,
    status: Receiver<Status>,
    stop: CancellationToken,
}

impl Front {
    fn new(store: Store, stop: CancellationToken) -> Self {
        Self { status: store.status_changes(), store: store.on_behalf_of(Caller::Anonymous), stop }
    }

    fn header(&self, revision: Revision) -> ResponseHeader {
        let status = self.status.borrow();
        ResponseHeader {
            cluster_id: status.cluster_id,
            member_id: status.node_id.get(),
            revision: revision.get(),
            raft_term: status.term,
        }
    }

    /// A header at the newest revision that this node has applied.
    fn header_now(&self) -> ResponseHeader {
        self.header(self.store.revision())
    }

    /// Refuses what a learner may not answer, and a request that asks for a leader while none is known.
    fn admit(&self, metadata: &MetadataMap) -> Result<(), tonic::Status> {
        if self.store.is_learner() {
            return Err(error::not_for_learners());
        }
        self.admit_to_learners(metadata)
    }

    /// As [`Front::admit`], for the few things that a learner does answer.
    fn admit_to_learners(&self, metadata: &MetadataMap) -> Result<(), tonic::Status> {
        if wants_leader(metadata) && self.status.borrow().leader.is_none() {
            return Err(error::no_leader());
        }
        Ok(())
    }

    /// Ends when a stream of this client must end from this side, with why: the port stops, or the member has been
    /// without a leader for long and the client cares.
    fn over(&self, metadata: &MetadataMap) -> BoxFuture<'static, tonic::Status> {
        let inner = self.store.inner();
        let stop = self.stop.clone();
        let is_led = wants_leader(metadata).then(|| inner.is_led.clone());
        let patience = inner.timings.leaderless_time_max;
        let leaderless = async move {
            match is_led {
                Some(is_led) => leader_lost(is_led, patience).await,
                None => std::future::pending().await,
            }
        };
        Box::pin(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => error::stopped(),
                () = leaderless => error::no_leader(),
            }
        })
    }
}

async fn leader_lost(mut is_led: Receiver<bool>, patience: Duration) {
    loop {
        if is_led.wait_for(|is_led| !is_led).await.is_err() {
            return std::future::pending().await;
        }
        if tokio::time::timeout(patience, is_led.wait_for(|is_led| *is_led)).await.is_err() {
            return;
        }
    }
}

/// Whether the client asked to be told when the member has no leader (clientv3's `WithRequireLeader`).
fn wants_leader(metadata: &MetadataMap) -> bool {
    metadata.get("hasleader").is_some_and(|value| value == "true")
}
