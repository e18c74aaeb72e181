//! The TLS front: accepts connections, learns who is there from the client certificate, and hands requests on.
//!
//! A connection is a task of its own; whatever bytes it brings can end that task only. It stops with the server.

use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::body::{Body, BoxError};
use crate::chain::authn::Identity;
use crate::metrics::TLS_HANDSHAKE_ERRORS_TOTAL;
use crate::request::ClientAddress;
use crate::server::ApiServer;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long open requests may go on after the server was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// After accepting failed (no file descriptors left, say), before the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const CONNECTIONS_MAX: usize = 20_000;
const STREAMS_PER_CONNECTION_MAX: u32 = 1_000;

impl ApiServer {
    /// Serves `listener` until `stop`. The identity of a request is its connection's client certificate, which
    /// `tls` has verified; without one it is anonymous.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Arc<tokio_rustls::rustls::ServerConfig>,
        stop: CancellationToken,
    ) {
        let mut tls = (*tls).clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let tasks = Tasks::new(stop.child_token());
        let accepting = self.accept(listener, acceptor, tasks.clone());
        let (_, ended) = tokio::join!(accepting, tasks.join(STOP_GRACE));
        if let Err(error) = ended {
            tracing::error!(%error, "serving the API ended early");
        }
    }

    async fn accept(&self, listener: TcpListener, acceptor: TlsAcceptor, tasks: Tasks) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = tasks.stop().cancelled() => return,
                accepted = accept_one(&listener, &slots) => accepted,
            };
            match accepted {
                Ok((tcp, slot)) => {
                    let connection = self.clone().connection(tcp, acceptor.clone(), tasks.clone());
                    tasks.spawn_infallible("API connection", async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, tcp: TcpStream, acceptor: TlsAcceptor, tasks: Tasks) {
        // Small answers must not wait for more.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let tls = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                metrics::counter!(TLS_HANDSHAKE_ERRORS_TOTAL).increment(1);
                tracing::debug!(%error, "a connection did not speak TLS as it must");
                return;
            }
            Err(_) => {
                metrics::counter!(TLS_HANDSHAKE_ERRORS_TOTAL).increment(1);
                return;
            }
        };
        let certificates = tls.get_ref().1.peer_certificates();
        let who = match certificates.and_then(<[_]>::first) {
            Some(certificate) => Identity::of_certificate(certificate),
            None => Identity::anonymous(),
        };
        let from = tls.get_ref().0.peer_addr().ok().map(|address| ClientAddress(address.ip()));
        let stop = tasks.stop().clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (server, who) = (self.clone(), who.clone());
            async move {
                let mut request = request.map(|body| -> Body { body.map_err(BoxError::from).boxed_unsync() });
                if let Some(from) = from {
                    request.extensions_mut().insert(from);
                }
                Ok::<Response<Body>, std::convert::Infallible>(server.handle(who, request).await)
            }
        });
        let builder = builder(tasks);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
        tokio::pin!(connection);
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection ended");
                    }
                    return;
                }
            }
        }
    }
}

async fn accept_one(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
    // The semaphore is never closed, so a permit always comes.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    let (tcp, _) = listener.accept().await?;
    Ok((tcp, slot))
}

fn builder(tasks: Tasks) -> Builder<OnTasks> {
    let mut builder = Builder::new(OnTasks(tasks));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_PERIOD)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    builder
}

/// Runs HTTP/2 streams on our task set.
#[derive(Clone)]
struct OnTasks(Tasks);

impl<F> hyper::rt::Executor<F> for OnTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_infallible("API stream", async move {
            future.await;
        });
    }
}

#[cfg(test)]
mod tests;
