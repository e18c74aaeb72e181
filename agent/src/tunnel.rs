//! How the control plane reaches a node that has no open port: the agent dials every server and keeps the
//! connection; then the HTTP/2 roles swap. The server opens one CONNECT stream for each connection to the
//! node API, which is HTTP/1.1.
//!
//! A tunnel that breaks breaks the streams in it and is dialled again; pods notice nothing.

mod api;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base::{Entropy, Tasks};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tracing::{debug, info, warn};

pub use api::NodeApi;

use crate::causes::in_full;
use crate::gateway::{Dialer, Identity, IdentityError, TUNNEL, TlsConnection};

/// A server that does not answer a ping within this is gone.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Flow control: a slow stream holds back at most its own window.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const STREAMS_MAX: u32 = 1000;
/// For each step until a server has taken the tunnel.
const PATIENCE: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Which servers to dial, and as whom.
#[derive(Clone, Debug)]
pub struct TunnelSettings {
    /// `host:port` of every gateway.
    pub servers: Vec<String>,
    pub identity: Identity,
}

/// Keeps one tunnel to each server, each in its own task.
///
/// # Errors
/// When the identity cannot be used; a server that does not answer is no error.
pub fn start(
    settings: TunnelSettings,
    api: &NodeApi,
    entropy: &Arc<dyn Entropy>,
    tasks: &Tasks,
) -> Result<(), IdentityError> {
    let dialer = Dialer::new(&settings.identity)?;
    for server in settings.servers {
        let tunnel = Tunnel {
            server: server.clone(),
            dialer: dialer.clone(),
            api: api.clone(),
            entropy: entropy.clone(),
            tasks: tasks.clone(),
        };
        let stop = tasks.stop().clone();
        tasks.spawn_infallible(format!("tunnel to {server}"), async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tunnel.keep() => {}
            }
        });
    }
    Ok(())
}

struct Tunnel {
    server: String,
    dialer: Dialer,
    api: NodeApi,
    entropy: Arc<dyn Entropy>,
    tasks: Tasks,
}

impl Tunnel {
    /// Dials, serves, dials again, for ever.
    async fn keep(&self) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            match self.dialer.dial(&self.server, TUNNEL, PATIENCE).await {
                Ok(connection) => {
                    info!(server = %self.server, "tunnel open");
                    backoff = BACKOFF_FIRST;
                    self.serve(connection).await;
                }
                // The gateway client says the same, louder, about the server that it uses.
                Err(error) => debug!(server = %self.server, error = %in_full(&error), "no tunnel"),
            }
            tokio::time::sleep(self.entropy.jittered(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Answers the server's streams until the connection ends.
    async fn serve(&self, connection: TlsConnection) {
        let service = service_fn(|request| {
            let answer = self.accept(request);
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let served = hyper::server::conn::http2::Builder::new(OnTasks(self.tasks.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .serve_connection(TokioIo::new(connection), service)
            .await;
        match served {
            Ok(()) => info!(server = %self.server, "tunnel closed"),
            Err(error) => warn!(server = %self.server, error = %in_full(&error), "tunnel broke"),
        }
    }

    /// One stream: becomes a connection to the node API.
    fn accept(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let mut response = Response::new(Empty::new());
        if request.method() != Method::CONNECT {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return response;
        }
        let (api, stop) = (self.api.clone(), self.tasks.stop().clone());
        self.tasks.spawn_infallible("node API connection", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = serve_stream(request, api) => {}
            }
        });
        response
    }
}

async fn serve_stream(request: Request<Incoming>, api: NodeApi) {
    let stream = match hyper::upgrade::on(request).await {
        Ok(stream) => stream,
        Err(error) => return debug!(error = %in_full(&error), "a stream was given up"),
    };
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(stream, service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(error = %in_full(&error), "a node API connection broke");
    }
}

/// Lets hyper's own tasks be ours.
#[derive(Clone)]
struct OnTasks(Tasks);

impl<F> hyper::rt::Executor<F> for OnTasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, work: F) {
        let stop = self.0.stop().clone();
        self.0.spawn_infallible("tunnel stream", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _done = work => {}
            }
        });
    }
}
