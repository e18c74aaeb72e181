//! The answering side of the members' protocol.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::StreamExt as _;
use proto::peer::peer_server::{Peer, PeerServer};
use proto::peer::{Payload, SnapshotPart, SnapshotReply};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::super::listen::{Admission, ServeError, connections, until_stopped};
use super::super::tls::Tls;
use super::snapshot;
use crate::{Badge, Call, PeerError, PeerService};

/// The port that the other members use.
pub struct PeerPort {
    pub listener: TcpListener,
    pub tls: Tls,
    pub me: Badge,
    pub stop: CancellationToken,
}

/// Serves the other members until `stop`.
///
/// # Errors
/// When the certificates cannot be used or the port fails.
pub async fn serve_peers(service: Arc<dyn PeerService>, port: PeerPort) -> Result<(), ServeError> {
    let tls = port.tls.server()?;
    let incoming = connections(port.listener, tls, Admission::of(port.tls.admitted_organizations));
    let peer = answering(service, port.me, port.stop.clone());
    let serve = Server::builder()
        .initial_stream_window_size(super::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(super::STREAMS_MAX)
        .http2_keepalive_interval(Some(super::PING_EVERY))
        .http2_keepalive_timeout(Some(super::PING_ANSWER_MAX))
        .add_service(peer)
        .serve_with_incoming_shutdown(incoming, port.stop.clone().cancelled_owned());
    until_stopped(serve, &port.stop).await
}

/// What answers on the port.
pub(super) fn answering(
    service: Arc<dyn PeerService>,
    me: Badge,
    stop: CancellationToken,
) -> PeerServer<impl Peer> {
    let limit = super::MESSAGE_BYTES_MAX;
    let desk = Desk { service, me, stop };
    PeerServer::new(desk).max_decoding_message_size(limit).max_encoding_message_size(limit)
}

struct Desk {
    service: Arc<dyn PeerService>,
    me: Badge,
    stop: CancellationToken,
}

impl Desk {
    async fn answer(&self, call: Call, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        super::check(&self.me, request.metadata())?;
        let body = self.service.call(call, request.into_inner().body).await.map_err(status)?;
        Ok(Response::new(Payload { body }))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for Desk {
    type AppendStreamStream = Answers<Payload>;
    type SnapshotStream = Answers<SnapshotReply>;

    async fn append_stream(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        super::check(&self.me, request.metadata())?;
        let requests = request.into_inner();
        // A broken stream ends; the leader opens another.
        let bodies = futures::stream::unfold(requests, |mut requests| async move {
            match requests.message().await {
                Ok(Some(payload)) => Some((payload.body, requests)),
                Ok(None) | Err(_) => None,
            }
        });
        let answers = self.service.append_stream(bodies.boxed());
        let answers = answers.map(|answer| answer.map(|body| Payload { body }).map_err(status));
        Ok(Response::new(Box::pin(answers.take_until(self.stop.clone().cancelled_owned()))))
    }

    async fn append(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        self.answer(Call::Append, request).await
    }

    async fn vote(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        self.answer(Call::Vote, request).await
    }

    async fn pre_vote(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        self.answer(Call::PreVote, request).await
    }

    async fn transfer_leader(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        self.answer(Call::TransferLeader, request).await
    }

    async fn forward(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        self.answer(Call::Forward, request).await
    }

    async fn audit(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        self.answer(Call::Audit, request).await
    }

    async fn read_index(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        self.answer(Call::ReadIndex, request).await
    }

    async fn introduce(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        let body = self.service.call(Call::Introduce, request.into_inner().body).await.map_err(status)?;
        Ok(Response::new(Payload { body }))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotPart>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        super::check(&self.me, request.metadata())?;
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
