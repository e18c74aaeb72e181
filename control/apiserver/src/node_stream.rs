//! How the API server reaches a node: a byte pipe on which HTTP/1.1 is spoken. Who opens it, and over what, is not
//! known here.

use futures::future::BoxFuture;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to a node's own API.
pub trait NodeStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> NodeStream for S {}

/// Opens byte pipes to nodes.
pub trait NodeStreams: Send + Sync {
    fn open(&self, node: &str) -> BoxFuture<'_, Result<Box<dyn NodeStream>, NodeStreamError>>;
}

/// Why a node cannot be reached.
#[derive(Debug, Error)]
pub enum NodeStreamError {
    #[error("node {0} has no agent connected")]
    NotConnected(String),
    #[error("the agent of node {node} refused a stream")]
    Refused { node: String, source: Box<dyn std::error::Error + Send + Sync> },
}
