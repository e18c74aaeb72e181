//! Turns a listening socket into connections that have shown an admitted certificate.
//!
//! Whatever else knocks (other protocols, strangers, half-open connections) costs one bounded handshake and is
//! closed. Running out of file descriptors pauses the port, it does not end it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::tls::TlsError;

const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
const HANDSHAKES_MAX: usize = 256;
/// How long requests in flight may take to end once the port stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a port is not served any more, or never was.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("the port's certificates cannot be used")]
    Tls(#[from] TlsError),
    #[error("the port cannot be served")]
    Transport(#[source] tonic::transport::Error),
}

pub(super) type Connection = TlsStream<TcpStream>;

/// Endless: ends only when it is dropped.
pub(super) fn connections(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    admitted: Vec<String>,
) -> impl Stream<Item = Result<Connection, io::Error>> {
    let port = Port { listener, acceptor: TlsAcceptor::from(tls), admitted: admitted.into() };
    let handshakes = FuturesUnordered::new();
    futures::stream::unfold((port, handshakes), |(port, mut handshakes)| async move {
        loop {
            tokio::select! {
                biased;
                Some(connection) = handshakes.next(), if !handshakes.is_empty() => {
                    if let Some(connection) = connection {
                        return Some((Ok(connection), (port, handshakes)));
                    }
                }
                accepted = port.listener.accept(), if handshakes.len() < HANDSHAKES_MAX => match accepted {
                    Ok((stream, from)) => handshakes.push(port.handshake(stream, from)),
                    Err(error) => {
                        warn!(%error, "cannot accept a connection, pausing");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    })
}

/// Runs a server; once stopped, its open requests have a short while.
pub(super) async fn until_stopped(
    serve: impl Future<Output = Result<(), tonic::transport::Error>>,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        biased;
        served = serve => served.map_err(ServeError::Transport),
        () = overdue => Ok(()),
    }
}

struct Port {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    admitted: Arc<[String]>,
}

impl Port {
    fn handshake(
        &self,
        stream: TcpStream,
        from: std::net::SocketAddr,
    ) -> impl Future<Output = Option<Connection>> + Send + use<> {
        let (acceptor, admitted) = (self.acceptor.clone(), self.admitted.clone());
        async move {
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%from, %error, "the connection is gone already");
                return None;
            }
            let shaken = tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await;
            let connection = match shaken {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    debug!(%from, %error, "closed a connection that failed its TLS handshake");
                    return None;
                }
                Err(_) => {
                    debug!(%from, "closed a connection that did not finish its TLS handshake in time");
                    return None;
                }
            };
            let leaf = connection.get_ref().1.peer_certificates().and_then(<[_]>::first);
            if leaf.is_some_and(|leaf| names_one_of(leaf, &admitted)) {
                Some(connection)
            } else {
                warn!(%from, "closed a connection whose certificate names no admitted organization");
                None
            }
        }
    }
}

fn names_one_of(certificate: &[u8], admitted: &[String]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    certificate
        .subject()
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .any(|organization| admitted.iter().any(|one| one == organization))
}
