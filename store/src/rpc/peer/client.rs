//! The calling side: persistent connections to the other members, opened when first used and again when they broke.

mod appends;
mod calls;
mod dial;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{NodeId, Tasks};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use proto::peer::peer_client::PeerClient;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use self::appends::Slot;
use self::calls::Asked;
use self::dial::Dialler;
use super::super::tls::{Tls, TlsError};
use super::{Address, MESSAGE_BYTES_MAX, snapshot};
use crate::{Badge, Call, Peer, PeerError, Peers, SnapshotOffer};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

type Asks = mpsc::Sender<Asked>;

/// Reaches the other members over mTLS.
pub struct Network {
    me: Badge,
    dialler: Dialler,
    snapshot_tls: ClientTlsConfig,
    tasks: Tasks,
    /// Callers may be elsewhere; the connections stay with the store.
    runtime: Handle,
    calls: Mutex<BTreeMap<(NodeId, Lane), Open<Asks>>>,
    appends: Mutex<BTreeMap<NodeId, Open<Slot>>>,
    snapshots: Mutex<BTreeMap<NodeId, Open<Channel>>>,
}

/// One connection for each, so that a heartbeat never waits behind a long answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Urgent,
    Log,
    Forward,
    Audit,
}

struct Open<T> {
    url: String,
    connection: T,
}

impl Network {
    /// Its connections are tasks of the runtime that this is called in; they end with the last use once `tasks` stop.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(me: impl Into<Badge>, tls: &Tls, tasks: Tasks) -> Result<Self, TlsError> {
        Ok(Self {
            me: me.into(),
            dialler: Dialler::new(tls)?,
            snapshot_tls: tls.client(),
            tasks,
            runtime: Handle::current(),
            calls: Mutex::default(),
            appends: Mutex::default(),
            snapshots: Mutex::default(),
        })
    }

    async fn ask(&self, to: &Peer, lane: Lane, mut question: Asked) -> Result<(), PeerError> {
        for _attempt in 0..2 {
            let line = self.line(to, lane);
            match line.send(question).await {
                Ok(()) => return Ok(()),
                Err(mpsc::error::SendError(back)) => question = back,
            }
        }
        Err(PeerError::Unreachable("the connection breaks as soon as it is made".into()))
    }

    /// A peer that moved, or whose connection broke, gets a new one.
    fn line(&self, to: &Peer, lane: Lane) -> Asks {
        let mut lines = lock(&self.calls);
        if let Some(open) = lines.get(&(to.id, lane))
            && open.url == to.url
            && !open.connection.is_closed()
        {
            return open.connection.clone();
        }
        let stop = self.tasks.stop().clone();
        let (line, task) = calls::line(self.dialler.clone(), to.url.clone(), stop);
        let _here = self.runtime.enter();
        self.tasks.spawn_infallible(format!("calls to member {} ({lane:?})", to.id), task);
        lines.insert((to.id, lane), Open { url: to.url.clone(), connection: line.clone() });
        line
    }

    fn slot(&self, to: &Peer) -> Slot {
        let mut slots = lock(&self.appends);
        match slots.get(&to.id) {
            Some(open) if open.url == to.url => open.connection.clone(),
            _ => {
                let slot = Slot::default();
                slots.insert(to.id, Open { url: to.url.clone(), connection: slot.clone() });
                slot
            }
        }
    }

    /// The channel connects when it is used, and anew after every failure.
    fn snapshot_client(&self, to: &Peer) -> Result<PeerClient<Channel>, PeerError> {
        let mut channels = lock(&self.snapshots);
        let channel = match channels.get(&to.id) {
            Some(open) if open.url == to.url => open.connection.clone(),
            _ => {
                let channel = self.channel(&to.url).map_err(unreachable)?;
                channels.insert(to.id, Open { url: to.url.clone(), connection: channel.clone() });
                channel
            }
        };
        let limit = MESSAGE_BYTES_MAX;
        Ok(PeerClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit))
    }

    fn channel(&self, url: &str) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(url.to_owned())?
            .tls_config(self.snapshot_tls.clone())?
            .connect_timeout(CONNECT_TIME_MAX)
            .tcp_nodelay(true)
            .initial_stream_window_size(super::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(super::CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(super::PING_EVERY)
            .keep_alive_timeout(super::PING_ANSWER_MAX)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_lazy())
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
            Call::Audit => Lane::Audit,
        };
        let to = to.clone();
        Box::pin(async move {
            if payload.len() > MESSAGE_BYTES_MAX {
                return Err(too_long());
            }
            let address = Address::new(&self.me, to.id);
            let (tx, rx) = oneshot::channel();
            let question = Asked { call, address, within: deadline, payload, answer: tx };
            let answer = async {
                self.ask(&to, lane, question).await?;
                rx.await.unwrap_or_else(|gone| Err(unreachable(gone)))
            };
            tokio::time::timeout(deadline, answer).await.unwrap_or(Err(PeerError::Timeout))
        })
    }

    fn append_stream(
        &self,
        to: &Peer,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>> {
        let (slot, url, address) = (self.slot(to), to.url.clone(), Address::new(&self.me, to.id));
        Box::pin(async move { slot.open((&self.dialler, &self.tasks), &url, address, requests).await })
    }

    fn send_snapshot(&self, to: &Peer, offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let client = self.snapshot_client(to);
        let (parts, sending) = snapshot::parts(&offer);
        let mut request = Request::new(parts);
        Address::new(&self.me, to.id).write(request.metadata_mut());
        Box::pin(async move {
            let replies = client?.snapshot(request).await.map_err(refusal)?.into_inner();
            sending.finish(replies).await
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

fn too_long() -> PeerError {
    PeerError::Unreachable(format!("a message is longer than {MESSAGE_BYTES_MAX} bytes").into())
}
