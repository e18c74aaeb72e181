//! The tunnels into nodes: an agent dials, the HTTP/2 roles swap, and each stream is a byte pipe to its node API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apiserver::{NodeStream, NodeStreamError, NodeStreams};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, info};

/// Windows that let one stream fill a fast link.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

const PING_EVERY: Duration = Duration::from_secs(5);
const PING_ANSWER_MAX: Duration = Duration::from_secs(5);
const OPEN_MAX: Duration = Duration::from_secs(10);

/// The tunnels that end at this server. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Tunnels {
    nodes: Arc<Mutex<BTreeMap<String, Tunnel>>>,
}

#[derive(Clone)]
struct Tunnel {
    number: u64,
    streams: SendRequest<Empty<Bytes>>,
}

impl Tunnels {
    /// Keeps a tunnel until its connection ends. A newer one of the same node takes its place at once.
    pub(crate) async fn keep<IO>(&self, node: &str, io: IO) -> Result<(), hyper::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (streams, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER_MAX)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(io))
            .await?;
        let number = self.insert(node, streams);
        info!(%node, "a node opened its tunnel");
        let ended = connection.await;
        self.remove(node, number);
        debug!(%node, "a node's tunnel closed");
        ended
    }

    fn insert(&self, node: &str, streams: SendRequest<Empty<Bytes>>) -> u64 {
        let mut nodes = self.lock();
        let number = nodes.get(node).map_or(0, |tunnel| tunnel.number + 1);
        nodes.insert(node.to_owned(), Tunnel { number, streams });
        number
    }

    fn remove(&self, node: &str, number: u64) {
        let mut nodes = self.lock();
        if nodes.get(node).is_some_and(|tunnel| tunnel.number == number) {
            nodes.remove(node);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Tunnel>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeStreams for Tunnels {
    fn open(&self, node: &str) -> BoxFuture<'_, Result<Box<dyn NodeStream>, NodeStreamError>> {
        let node = node.to_owned();
        Box::pin(async move {
            let tunnel = self.lock().get(&node).cloned();
            let Some(tunnel) = tunnel else { return Err(NodeStreamError::NotConnected(node)) };
            match tokio::time::timeout(OPEN_MAX, connect(tunnel.streams)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(source)) => Err(NodeStreamError::Refused { node, source }),
                Err(late) => Err(NodeStreamError::Refused { node, source: late.into() }),
            }
        })
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn connect(mut streams: SendRequest<Empty<Bytes>>) -> Result<Box<dyn NodeStream>, BoxError> {
    streams.ready().await?;
    let request = Request::builder().method(Method::CONNECT).uri("node:80").body(Empty::new())?;
    let response = streams.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the agent answered {}", response.status()).into());
    }
    Ok(Box::new(TokioIo::new(hyper::upgrade::on(response).await?)))
}
