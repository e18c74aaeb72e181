//! The seam to the network: what one node asks of another, as opaque bytes.
//!
//! The caller's side is [`Peers`], the answering side [`PeerService`]. A transport carries payloads, keeps the
//! deadline, and checks that both ends are the cluster and node they claim to be; it never looks inside.

use std::path::PathBuf;
use std::time::Duration;

use base::NodeId;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use thiserror::Error;

use crate::status::Member;

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: NodeId,
    /// `https://host:port`.
    pub url: String,
}

impl From<&Member> for Peer {
    fn from(member: &Member) -> Self {
        Self { id: member.id, url: member.peer_url.clone() }
    }
}

/// What a unary call is for. `Heartbeat` is an append that must not wait behind others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Append,
    Heartbeat,
    Vote,
    PreVote,
    TransferLeader,
    /// A write, or a question about a lease, for the leader.
    Forward,
    ReadIndex,
    /// Comparing replicas, and copies for one that must be rebuilt.
    Audit,
    /// From a node that may not know who it is, to one that may be somebody else.
    Introduce,
}

/// Why a call has no answer.
#[derive(Debug, Error)]
pub enum PeerError {
    #[error("the peer cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the peer did not answer in time")]
    Timeout,
    #[error("the peer refused: {0}")]
    Refused(String),
}

/// Reaches the other nodes. Dropping a future, or a stream, cancels the call.
pub trait Peers: Send + Sync + 'static {
    fn call(
        &self,
        to: &Peer,
        call: Call,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>>;

    /// Appends, pipelined: answers come in the order of the requests.
    fn append_stream(
        &self,
        to: &Peer,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>>;

    fn send_snapshot(&self, to: &Peer, offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>>;
}

/// A snapshot to send: files that do not change while this is held, and what says how to read them.
#[derive(Clone, Debug)]
pub struct SnapshotOffer {
    pub meta: Bytes,
    pub dir: PathBuf,
    pub files: Vec<SnapshotFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Without any `/`.
    pub name: String,
    pub size: u64,
    pub crc32: u32,
}

/// Where the receiving side writes the files that it lacks, checked and synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intake {
    pub dir: PathBuf,
    pub missing: Vec<String>,
}

/// Answers the other nodes.
pub trait PeerService: Send + Sync + 'static {
    fn call(&self, call: Call, payload: Bytes) -> BoxFuture<'_, Result<Bytes, PeerError>>;

    fn append_stream(
        &self,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>>;

    fn snapshot_intake(
        &self,
        meta: Bytes,
        files: Vec<SnapshotFile>,
    ) -> BoxFuture<'_, Result<Intake, PeerError>>;

    fn snapshot_install(&self, meta: Bytes, intake: Intake) -> BoxFuture<'_, Result<Bytes, PeerError>>;
}
