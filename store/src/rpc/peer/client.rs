//! The calling side: persistent connections to the other members, opened when first used and again when they broke.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base::NodeId;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use proto::peer::Payload;
use proto::peer::peer_client::PeerClient;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::super::tls::Tls;
use super::snapshot;
use crate::{Badge, Call, Peer, PeerError, Peers, SnapshotOffer};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// A peer that answers pings but no append for this long, twice, is stuck.
const APPEND_ANSWER_TIME: Duration = Duration::from_secs(5);
const SILENCES_MAX: u32 = 2;

/// Reaches the other members over mTLS.
pub struct Network {
    me: Badge,
    tls: ClientTlsConfig,
    channels: Mutex<BTreeMap<(NodeId, Lane), Open>>,
}

/// One connection for each, so that a heartbeat never waits behind a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Urgent,
    Log,
    Forward,
    Snapshot,
}

struct Open {
    url: String,
    channel: Channel,
}

impl Network {
    pub fn new(me: impl Into<Badge>, tls: &Tls) -> Self {
        Self { me: me.into(), tls: tls.client(), channels: Mutex::new(BTreeMap::new()) }
    }

    /// The channel connects when it is used, and anew after every failure. A peer that moved gets a new one.
    fn client(&self, to: &Peer, lane: Lane) -> Result<PeerClient<Channel>, PeerError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match channels.get(&(to.id, lane)) {
            Some(open) if open.url == to.url => open.channel.clone(),
            _ => {
                let channel = self.channel(&to.url).map_err(unreachable)?;
                let open = Open { url: to.url.clone(), channel: channel.clone() };
                channels.insert((to.id, lane), open);
                channel
            }
        };
        let limit = super::MESSAGE_BYTES_MAX;
        Ok(PeerClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit))
    }

    fn channel(&self, url: &str) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(url.to_owned())?
            .tls_config(self.tls.clone())?
            .connect_timeout(CONNECT_TIME_MAX)
            .tcp_nodelay(true)
            .initial_stream_window_size(super::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(super::CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(super::PING_EVERY)
            .keep_alive_timeout(super::PING_ANSWER_MAX)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_lazy())
    }

    fn request<T>(&self, to: &Peer, message: T) -> Request<T> {
        let mut request = Request::new(message);
        super::write(&self.me, request.metadata_mut(), to.id);
        request
    }
}

impl Peers for Network {
    fn call(
        &self,
        to: &Peer,
        call: Call,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let lane = match call {
            Call::Append => Lane::Log,
            Call::Heartbeat
            | Call::Vote
            | Call::PreVote
            | Call::TransferLeader
            | Call::ReadIndex
            | Call::Introduce => Lane::Urgent,
            Call::Forward => Lane::Forward,
            Call::Audit => Lane::Snapshot,
        };
        let client = self.client(to, lane);
        let mut request = self.request(to, Payload { body: payload });
        request.set_timeout(deadline);
        Box::pin(async move {
            let answer = tokio::time::timeout(deadline, send(client?, call, request)).await;
            match answer {
                Ok(Ok(answer)) => Ok(answer.into_inner().body),
                Ok(Err(status)) => Err(refusal(status)),
                Err(_) => Err(PeerError::Timeout),
            }
        })
    }

    fn append_stream(
        &self,
        to: &Peer,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>> {
        let client = self.client(to, Lane::Log);
        let open = Arc::new(AtomicUsize::new(0));
        let requests = Counted { requests, open: open.clone() };
        let request = self.request(to, requests);
        Box::pin(async move {
            let answers = client?.append_stream(request).await.map_err(refusal)?.into_inner();
            Ok(until_broken(answers, open))
        })
    }

    fn send_snapshot(&self, to: &Peer, offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let client = self.client(to, Lane::Snapshot);
        let (parts, sending) = snapshot::parts(&offer);
        let request = self.request(to, parts);
        Box::pin(async move {
            let replies = client?.snapshot(request).await.map_err(refusal)?.into_inner();
            sending.finish(replies).await
        })
    }
}

async fn send(
    mut client: PeerClient<Channel>,
    call: Call,
    request: Request<Payload>,
) -> Result<tonic::Response<Payload>, Status> {
    match call {
        Call::Append | Call::Heartbeat => client.append(request).await,
        Call::Vote => client.vote(request).await,
        Call::PreVote => client.pre_vote(request).await,
        Call::TransferLeader => client.transfer_leader(request).await,
        Call::Forward => client.forward(request).await,
        Call::Audit => client.audit(request).await,
        Call::ReadIndex => client.read_index(request).await,
        Call::Introduce => client.introduce(request).await,
    }
}

/// Requests on their way, counted.
struct Counted {
    requests: BoxStream<'static, Bytes>,
    open: Arc<AtomicUsize>,
}

impl Stream for Counted {
    type Item = Payload;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Payload>> {
        let next = self.requests.as_mut().poll_next(cx);
        next.map(|body| {
            let body = body?;
            self.open.fetch_add(1, Ordering::Relaxed);
            Some(Payload { body })
        })
    }
}

/// The answers; the first error is the last item.
fn until_broken(
    answers: Streaming<Payload>,
    open: Arc<AtomicUsize>,
) -> BoxStream<'static, Result<Bytes, PeerError>> {
    let answers = futures::stream::unfold(Some((answers, open)), |state| async move {
        let (mut answers, open) = state?;
        match next_answer(&mut answers, &open).await {
            Ok(Some(body)) => Some((Ok(body), Some((answers, open)))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    answers.boxed()
}

/// Silence while nothing is asked is fine; silence while something is, is not.
async fn next_answer(
    answers: &mut Streaming<Payload>,
    open: &AtomicUsize,
) -> Result<Option<Bytes>, PeerError> {
    let mut silences = 0;
    loop {
        match tokio::time::timeout(APPEND_ANSWER_TIME, answers.message()).await {
            Ok(Ok(Some(answer))) => {
                open.fetch_sub(1, Ordering::Relaxed);
                return Ok(Some(answer.body));
            }
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(status)) => return Err(refusal(status)),
            Err(_) if open.load(Ordering::Relaxed) == 0 => silences = 0,
            Err(_) => {
                silences += 1;
                if silences >= SILENCES_MAX {
                    return Err(PeerError::Timeout);
                }
            }
        }
    }
}

/// The peer's own "no" is final; everything else may be the network's.
pub(super) fn refusal(status: Status) -> PeerError {
    match status.code() {
        Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented | Code::DataLoss => {
            PeerError::Refused(status.message().to_owned())
        }
        // tonic ends a call that ran into its own deadline as cancelled.
        Code::DeadlineExceeded | Code::Cancelled => PeerError::Timeout,
        Code::Ok
        | Code::Unknown
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::Unauthenticated => unreachable(status),
    }
}

fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> PeerError {
    PeerError::Unreachable(Box::new(error))
}
