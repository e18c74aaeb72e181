//! Turns a listening socket into connections whose clients have shown an admitted certificate, or none where a port
//! also serves who has none.
//!
//! Whatever else knocks (other protocols, strangers, half-open connections) costs one bounded handshake and is
//! closed. Running out of file descriptors pauses the port, it does not end it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{debug, warn};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::client::{Budget, Client};
use super::tls::TlsError;

const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
const HANDSHAKES_MAX: usize = 256;
/// How long requests in flight may take to end once the port stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between members: TLS alone would read 4 KiB at a time.
pub(super) const PEER_READ_BYTES: usize = 64 * 1024;

/// Why a port is not served any more, or never was.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("the port's certificates cannot be used")]
    Tls(#[from] TlsError),
    #[error("the port cannot be served")]
    Transport(#[source] tonic::transport::Error),
}

/// Whom a port serves, and how many bytes it may hold for them.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    /// A certificate must name one of these organizations.
    pub(super) organizations: Arc<[String]>,
    /// Who shows no certificate is served too, but not as admitted.
    pub(super) without_certificate: bool,
    /// Of each client, and of all of them.
    pub(super) unanswered_bytes_max: (usize, usize),
    pub(super) unread_bytes_max: (usize, usize),
    /// What is read at a time from one connection, and held for it. Less than TLS asks for is not used.
    pub(super) read_bytes: usize,
}

impl Admission {
    /// Only these, however much they send.
    pub(super) fn of(organizations: Vec<String>) -> Self {
        let unbounded = (usize::MAX, usize::MAX);
        Self {
            organizations: organizations.into(),
            without_certificate: false,
            unanswered_bytes_max: unbounded,
            unread_bytes_max: unbounded,
            read_bytes: 1,
        }
    }
}

/// A connection that has finished its handshake.
pub(super) struct Connection {
    stream: TlsStream<BufReader<TcpStream>>,
    client: Arc<Client>,
}

/// Endless: ends only when it is dropped.
pub(super) fn connections(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    admission: Admission,
) -> impl Stream<Item = Result<Connection, io::Error>> {
    let port = Port {
        listener,
        acceptor: TlsAcceptor::from(tls),
        unanswered: Budget::of_server(admission.unanswered_bytes_max.1),
        unread: Budget::of_server(admission.unread_bytes_max.1),
        admission,
    };
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
    admission: Admission,
    unanswered: Arc<Budget>,
    unread: Arc<Budget>,
}

impl Port {
    fn handshake(
        &self,
        stream: TcpStream,
        from: std::net::SocketAddr,
    ) -> impl Future<Output = Option<Connection>> + Send + use<> {
        let (acceptor, admission) = (self.acceptor.clone(), self.admission.clone());
        let unanswered = Budget::of_client(admission.unanswered_bytes_max.0, &self.unanswered);
        let unread = Budget::of_client(admission.unread_bytes_max.0, &self.unread);
        async move {
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%from, %error, "the connection is gone already");
                return None;
            }
            let stream = BufReader::with_capacity(admission.read_bytes, stream);
            let shaken = tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await;
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    debug!(%from, %error, "closed a connection that failed its TLS handshake");
                    return None;
                }
                Err(_) => {
                    debug!(%from, "closed a connection that did not finish its TLS handshake in time");
                    return None;
                }
            };
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let is_admitted = leaf.is_some_and(|leaf| names_one_of(leaf, &admission.organizations));
            let is_served = is_admitted || (leaf.is_none() && admission.without_certificate);
            if !is_served {
                warn!(%from, "closed a connection whose certificate names no admitted organization");
                return None;
            }
            let name = leaf.and_then(|leaf| common_name(leaf));
            let client = Arc::new(Client { name, is_admitted, unanswered, unread });
            debug!(%from, name = client.name.as_deref(), is_admitted, "a client has connected");
            Some(Connection { stream, client })
        }
    }
}

/// Absent where it is empty.
fn common_name(certificate: &[u8]) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty()).then(|| name.into())
}

fn names_one_of(certificate: &[u8], admitted: &[String]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    certificate
        .subject()
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .any(|organization| admitted.iter().any(|one| one == organization))
}

impl Connection {
    /// What both ends have chosen to speak, if they have.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }
}

impl Connected for Connection {
    type ConnectInfo = Arc<Client>;

    fn connect_info(&self) -> Arc<Client> {
        self.client.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
