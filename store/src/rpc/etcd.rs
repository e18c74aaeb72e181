//! etcd's v3 API on the client port: one file for each service, and what they share.

mod cluster;
mod convert;
mod kv;
mod lease;
mod maintenance;
mod options;
mod range_stream;
mod replica;
mod watch;

use std::time::Duration;

use base::Revision;
use proto::etcdserverpb::ResponseHeader;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::lease_server::LeaseServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::replica::replica_server::ReplicaServer;
use tokio::net::TcpListener;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;

use self::watch::WatchService;
use super::error;
use super::listen::{ServeError, connections, until_stopped};
use super::tls::Tls;
use crate::{Status, Store};

/// etcd's limit for a request, 1.5 MiB, and room for what is around it.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Watches and requests in flight on one connection.
const STREAMS_MAX: u32 = 10_000;
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER_MAX: Duration = Duration::from_secs(10);

/// The port that etcd's clients use.
pub struct ClientPort {
    pub listener: TcpListener,
    pub tls: Tls,
    pub stop: CancellationToken,
}

/// Serves etcd's v3 API until `stop`.
///
/// # Errors
/// When the certificates cannot be used or the port fails.
pub async fn serve_clients(store: Store, port: ClientPort) -> Result<(), ServeError> {
    let incoming = connections(port.listener, port.tls.server()?, port.tls.admitted_organizations);
    let front = Front::new(store, port.stop.clone());
    let serve = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWER_MAX))
        .add_service(KvServer::new(front.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(WatchService::new(front.clone()))
        .add_service(LeaseServer::new(front.clone()))
        .add_service(ClusterServer::new(front.clone()))
        .add_service(MaintenanceServer::new(front.clone()))
        .add_service(ReplicaServer::new(front))
        .serve_with_incoming_shutdown(incoming, port.stop.clone().cancelled_owned());
    until_stopped(serve, &port.stop).await
}

/// What every service answers from.
#[derive(Clone)]
struct Front {
    store: Store,
    status: Receiver<Status>,
    stop: CancellationToken,
}

impl Front {
    fn new(store: Store, stop: CancellationToken) -> Self {
        Self { status: store.status_changes(), store, stop }
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
}

/// Whether the client asked to be told when the member has no leader (clientv3's `WithRequireLeader`).
fn wants_leader(metadata: &MetadataMap) -> bool {
    metadata.get("hasleader").is_some_and(|value| value == "true")
}
