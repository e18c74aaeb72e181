//! The answering side of the members' protocol: one port, frames or gRPC, as ALPN says.

mod appends;
mod calls;

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use base::Tasks;
use futures::Stream;
use futures::stream::StreamExt as _;
use proto::peer::peer_server::{Peer, PeerServer};
use proto::peer::{SnapshotPart, SnapshotReply};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use super::super::listen::{Admission, Connection, PEER_READ_BYTES, ServeError, connections, until_stopped};
use super::super::tls::Tls;
use super::frames::Frame;
use super::line::{Line, invalid};
use super::{PROTOCOL, snapshot};
use crate::{Badge, PeerError, PeerService};

/// The port that the other members use.
pub struct PeerPort {
    pub listener: TcpListener,
    pub tls: Tls,
    pub me: Badge,
    /// Each connection is one of these; the port is served until they stop.
    pub tasks: Tasks,
}

/// Serves the other members until the port's tasks stop.
///
/// # Errors
/// When the certificates cannot be used or the port fails.
pub async fn serve_peers(service: Arc<dyn PeerService>, port: PeerPort) -> Result<(), ServeError> {
    let tls = port.tls.peer_server(PROTOCOL)?;
    let admission =
        Admission { read_bytes: PEER_READ_BYTES, ..Admission::of(port.tls.admitted_organizations) };
    let stop = port.tasks.stop().clone();
    let desk = Desk::new(service, port.me, stop.clone());
    let (framed, tasks) = (desk.clone(), port.tasks);
    let incoming = connections(port.listener, tls, admission).filter_map(move |connection| {
        let for_grpc = match connection {
            Ok(connection) if connection.protocol() == Some(PROTOCOL) => {
                tasks.spawn_infallible("a member's connection", framed.clone().keep(connection));
                None
            }
            other => Some(other),
        };
        std::future::ready(for_grpc)
    });
    let serve = Server::builder()
        .initial_stream_window_size(super::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(super::PING_EVERY))
        .http2_keepalive_timeout(Some(super::PING_ANSWER_MAX))
        .add_service(desk.grpc())
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    until_stopped(serve, &stop).await
}

/// What answers on the port.
#[derive(Clone)]
pub(super) struct Desk {
    service: Arc<dyn PeerService>,
    me: Badge,
    stop: CancellationToken,
}

impl Desk {
    pub(super) fn new(service: Arc<dyn PeerService>, me: Badge, stop: CancellationToken) -> Self {
        Self { service, me, stop }
    }

    pub(super) fn grpc(self) -> PeerServer<impl Peer> {
        let limit = super::MESSAGE_BYTES_MAX;
        PeerServer::new(self).max_decoding_message_size(limit).max_encoding_message_size(limit)
    }

    async fn keep(self, connection: Connection) {
        match self.serve(Line::new(connection)).await {
            Ok(()) => debug!("a member's connection has ended"),
            Err(error) => debug!(%error, "a member's connection has broken"),
        }
    }

    /// What comes first says what the connection is for.
    pub(super) async fn serve<S>(&self, mut line: Line<S>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let first = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                first = line.next() => first?,
            };
            match first {
                call @ Frame::Call { .. } => return calls::serve(self, line, call).await,
                Frame::Open(address) => appends::serve(self, &mut line, &address).await?,
                Frame::Answer { .. }
                | Frame::Failure { .. }
                | Frame::Opened
                | Frame::Append(_)
                | Frame::Appended(_)
                | Frame::End
                | Frame::Alive => return Err(invalid("the connection begins with something else")),
            }
        }
    }
}

type Replies = Pin<Box<dyn Stream<Item = Result<SnapshotReply, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for Desk {
    type SnapshotStream = Replies;

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotPart>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        super::check_metadata(&self.me, request.metadata())?;
        let replies = snapshot::receive(self.service.clone(), request.into_inner());
        Ok(Response::new(Box::pin(replies.take_until(self.stop.clone().cancelled_owned()))))
    }
}

pub(super) fn status(error: PeerError) -> Status {
    match error {
        PeerError::Unreachable(source) => Status::unavailable(source.to_string()),
        PeerError::Timeout => Status::deadline_exceeded("not answered in time"),
        PeerError::Refused(reason) => Status::failed_precondition(reason),
    }
}
