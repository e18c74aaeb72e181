//! openraft's network, over [`Peers`]: messages become bytes, failures become back-off.
//!
//! Appends of one follower share a stream. Heartbeats are calls of their own, so that they wait behind nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RPCTypes,
    RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::announcements::{self, Haste};
use super::peers::{Call, Peer, PeerError, Peers, SnapshotOffer};
use super::state_machine::SnapshotData;
use super::types::{MemberRecord, SnapshotMeta, TypeConfig, Vote};
use crate::disk::{aside, codec, files};

type Rpc<T> = Result<T, RPCError<TypeConfig>>;
type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// What goes with a snapshot beside its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) inline: bytes::Bytes,
}

/// Makes a connection per follower and purpose.
#[derive(Clone)]
pub(crate) struct Factory {
    pub(crate) me: u64,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) haste: Haste,
}

impl Factory {
    fn connect(&self, target: u64, node: &MemberRecord, lane: Lane) -> Connection {
        Connection {
            me: self.me,
            to: Peer { id: base::NodeId::new(target), url: node.peer_url.clone() },
            peers: self.peers.clone(),
            haste: self.haste.clone(),
            lane,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &MemberRecord) -> Connection {
        self.connect(target, node, Lane::Stream)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &MemberRecord) -> Connection {
        self.connect(target, node, Lane::Heartbeat)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Stream,
    Heartbeat,
}

#[derive(Clone)]
pub(crate) struct Connection {
    me: u64,
    to: Peer,
    peers: Arc<dyn Peers>,
    haste: Haste,
    lane: Lane,
}

impl Connection {
    async fn ask<Q, A>(&self, call: Call, rpc: RPCTypes, question: &Q, deadline: Duration) -> Rpc<A>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned,
    {
        let answer = self.peers.call(&self.to, call, codec::encode(question), deadline);
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => codec::decode(&answer).map_err(|error| unreachable(&error)),
            Ok(Err(PeerError::Timeout)) | Err(_) => Err(self.timeout(rpc, deadline)),
            Ok(Err(error @ (PeerError::Unreachable(_) | PeerError::Refused(_)))) => Err(unreachable(&error)),
        }
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RPCError<TypeConfig> {
        RPCError::Timeout(Timeout { action, id: self.me, target: self.to.id.get(), timeout })
    }

    /// One call per request, for heartbeats.
    fn one_by_one<S>(
        self,
        requests: S,
        deadline: Duration,
    ) -> BoxStream<'static, Rpc<StreamAppendResult<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let answers = requests.then(move |request| {
            let connection = self.clone();
            async move {
                let call = if request.entries.is_empty() { Call::Heartbeat } else { Call::Append };
                connection.ask(call, RPCTypes::AppendEntries, &request, deadline).await
            }
        });
        answers.boxed()
    }
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl NetStreamAppend<TypeConfig> for Connection {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            match self.lane {
                Lane::Heartbeat => Ok(self.clone().one_by_one(input, option.hard_ttl())),
                Lane::Stream => {
                    let requests = announcements::hold(input, &self.haste);
                    let requests = requests.map(|request| codec::encode(&request)).boxed();
                    let opened = self.peers.append_stream(&self.to, requests);
                    let answers = match tokio::time::timeout(option.hard_ttl(), opened).await {
                        Ok(Ok(answers)) => answers,
                        Ok(Err(error)) => {
                            // openraft backs off in the stream of requests, which nobody reads when the
                            // connection is refused: without this pause it would try thousands of times a second.
                            tokio::time::sleep(BACKOFF).await;
                            return Err(unreachable(&error));
                        }
                        Err(_) => return Err(self.timeout(RPCTypes::AppendEntries, option.hard_ttl())),
                    };
                    let answers = answers.map(|answer| match answer {
                        Ok(answer) => codec::decode(&answer).map_err(|error| unreachable(&error)),
                        Err(error) => Err(unreachable(&error)),
                    });
                    Ok(answers.boxed())
                }
            }
        })
    }
}

impl NetVote<TypeConfig> for Connection {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask(Call::Vote, RPCTypes::Vote, &rpc, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask(Call::PreVote, RPCTypes::Vote, &rpc, option.hard_ttl()).await
    }
}

impl NetSnapshot<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Kept(frozen) = snapshot.snapshot else {
            let error = std::io::Error::other("only a copy of our own can be sent");
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        };
        let dir = frozen.dir.clone();
        let has_files = !dir.as_os_str().is_empty();
        let listed = aside(has_files, move || files::list(&dir)).await.flatten();
        let files = listed.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
        let head = SnapshotHead { vote, meta: snapshot.meta, inline: frozen.inline.clone() };
        let offer = SnapshotOffer { meta: codec::encode(&head), dir: frozen.dir.clone(), files };
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.peers.send_snapshot(&self.to, offer) => {
                // The files must stay until they are sent.
                drop(frozen);
                let decoded = match answer {
                    Ok(answer) => codec::decode(&answer),
                    Err(error) => Err(std::io::Error::other(error)),
                };
                decoded.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
            }
        }
    }
}

impl NetTransferLeader<TypeConfig> for Connection {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        self.ask(Call::TransferLeader, RPCTypes::TransferLeader, &request, option.hard_ttl()).await
    }
}

/// How long to leave a follower alone that cannot be reached.
const BACKOFF: Duration = Duration::from_millis(100);

impl NetBackoff<TypeConfig> for Connection {
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NoPeers;

    #[tokio::test(start_paused = true)]
    async fn a_refused_connection_is_not_tried_again_at_once() {
        let mut connection = Connection {
            me: 1,
            to: Peer { id: base::NodeId::new(2), url: "https://nobody".to_owned() },
            peers: Arc::new(NoPeers),
            haste: Haste::new(),
            lane: Lane::Stream,
        };
        let began = tokio::time::Instant::now();
        let option = RPCOption::new(Duration::from_secs(5));
        let opened = connection.stream_append(futures::stream::empty(), option).await;
        assert!(matches!(opened.err(), Some(RPCError::Unreachable(_))));
        assert!(began.elapsed() >= BACKOFF);
    }
}
