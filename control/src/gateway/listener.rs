//! The port that agents dial: mutual TLS, then gRPC or a tunnel, as ALPN says.

use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proto::agent::gateway_server::GatewayServer;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::{Service as _, service_fn};
use tracing::{debug, warn};

use super::{Gateway, Peer};

/// ALPN of the tunnel; see proto/agent.proto.
pub(crate) const TUNNEL_PROTOCOL: &[u8] = b"navarch-tunnel/1";
const GRPC_PROTOCOL: &[u8] = b"h2";

const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_ANSWER_MAX: Duration = Duration::from_secs(5);
/// Wait after a failed accept (too many open files): trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const NODE_USER_PREFIX: &str = "system:node:";

impl Gateway {
    /// Lets agents in until the gateway is stopped. `tls` must require client certificates.
    pub(crate) async fn serve(self, listener: TcpListener, mut tls: ServerConfig, tasks: Tasks) {
        tls.alpn_protocols = vec![GRPC_PROTOCOL.to_vec(), TUNNEL_PROTOCOL.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let (gateway, acceptor) = (self.clone(), acceptor.clone());
                    tasks.spawn_infallible(format!("agent at {from}"), async move {
                        let stop = gateway.stop.clone();
                        tokio::select! {
                            biased;
                            () = stop.cancelled() => {}
                            () = gateway.connection(stream, acceptor) => {}
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept an agent's connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, acceptor: TlsAcceptor) {
        // Best effort: a latency setting.
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "an agent's handshake failed"),
            Err(_) => return debug!("an agent's handshake took too long"),
        };
        let Some(peer) = peer_of(&stream) else {
            return warn!("a certificate that is no node's dialled the gateway");
        };
        let result = if stream.get_ref().1.alpn_protocol() == Some(TUNNEL_PROTOCOL) {
            self.tunnels.keep(&peer.node, stream).await
        } else {
            self.grpc(peer, stream).await
        };
        if let Err(error) = result {
            debug!(%error, "an agent's connection ended");
        }
    }

    async fn grpc<IO>(self, peer: Peer, io: IO) -> Result<(), hyper::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = GatewayServer::new(self);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            server.clone().call(request)
        });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER_MAX)
            .serve_connection(TokioIo::new(io), hyper_util::service::TowerToHyperService::new(service))
            .await
    }
}

fn peer_of(stream: &TlsStream<TcpStream>) -> Option<Peer> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    name.strip_prefix(NODE_USER_PREFIX).map(|node| Peer { node: node.to_owned() })
}
