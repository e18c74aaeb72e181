//! Byte pipes to ports of pods and of the node, over which the API server speaks HTTP for its clients.
//!
//! A port is dialled at the address where everybody else finds it: what listens on loopback only is for port-forward.
//! TLS towards a pod ends here, unverified, as in Kubernetes: nobody knows whose certificate a pod should have.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tracing::debug;

use super::{Refusal, Sessions};
use crate::desired::PodKey;
use crate::probes;

/// What the pipe is called while both sides agree on it.
const PROTOCOL: &str = "tcp";
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// When one side has hung up, how long the other may take to notice.
const LINGER: Duration = Duration::from_secs(15);
/// What waits in each direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// A port, and whether TLS is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) tls: bool,
}

impl Port {
    /// `http/8080`, `https/443`.
    pub(crate) fn parse(scheme: &str, number: &str) -> Option<Self> {
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some(Self { number, tls })
    }
}

trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<P: AsyncRead + AsyncWrite + Send + Unpin> Pipe for P {}

impl Sessions {
    /// A connection to a port of a pod, in place of the request's own.
    ///
    /// # Errors
    /// When nobody listens there, or there is no such pod.
    pub(crate) async fn reach_pod<B: Default>(
        &self,
        key: &PodKey,
        port: Port,
        request: Request<Incoming>,
    ) -> Result<Response<B>, Refusal> {
        let (_, running) = self.observe(key).await?;
        let sandbox = running.sandbox().filter(|sandbox| sandbox.ready).ok_or(Refusal::NotRunning)?;
        // A pod without an address of its own has the node's.
        let own = sandbox.ips.first().and_then(|ip| ip.parse().ok());
        self.reach(own.unwrap_or(self.node_ip.into()), port, request).await
    }

    /// A connection to a port of this node.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) async fn reach_node<B: Default>(
        &self,
        port: Port,
        request: Request<Incoming>,
    ) -> Result<Response<B>, Refusal> {
        self.reach(self.node_ip.into(), port, request).await
    }

    async fn reach<B: Default>(
        &self,
        ip: IpAddr,
        port: Port,
        request: Request<Incoming>,
    ) -> Result<Response<B>, Refusal> {
        let upgrade = request.headers().get(UPGRADE).map(HeaderValue::as_bytes);
        if upgrade != Some(PROTOCOL.as_bytes()) {
            return Err(Refusal::NoUpgrade);
        }
        let address = SocketAddr::new(ip, port.number);
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, dial(address, port.tls)).await;
        let pipe = dialled
            .unwrap_or_else(|_| Err(format!("dial tcp {address}: i/o timeout")))
            .map_err(Refusal::Unreachable)?;
        self.spawn("reached port", request, move |io| relay(io, pipe));
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    }
}

/// The error is for people.
async fn dial(address: SocketAddr, tls: bool) -> Result<Box<dyn Pipe>, String> {
    let host = address.ip().to_string();
    let dialled = TcpStream::connect(address).await;
    let stream = dialled.map_err(|error| probes::dial_error(&host, address.port(), &error))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(if tls { Box::new(probes::over_tls(&host, stream).await?) } else { Box::new(stream) })
}

/// Bytes both ways, until both sides have hung up, or one has and the other takes too long to notice.
///
/// Whoever is dropped while the other still reads takes its last words along: so each side is waited for.
async fn relay(server: impl AsyncRead + AsyncWrite, port: Box<dyn Pipe>) {
    let (from_server, mut to_server) = tokio::io::split(server);
    let (from_port, mut to_port) = tokio::io::split(port);
    let up = async {
        let mut from = BufReader::with_capacity(BUFFER_BYTES, from_server);
        match tokio::io::copy_buf(&mut from, &mut to_port).await {
            Ok(_) => to_port.shutdown().await,
            // It reads no more; what it still says matters.
            Err(_) => tokio::io::copy_buf(&mut from, &mut tokio::io::sink()).await.map(drop),
        }
    };
    let down = async {
        let mut from = BufReader::with_capacity(BUFFER_BYTES, from_port);
        tokio::io::copy_buf(&mut from, &mut to_server).await?;
        to_server.shutdown().await
    };
    tokio::pin!(up, down);
    let ended = tokio::select! {
        biased;
        ended = &mut down => match ended {
            Ok(()) => tokio::time::timeout(LINGER, up).await.unwrap_or(Ok(())),
            broken => broken,
        },
        ended = &mut up => match ended {
            Ok(()) => tokio::time::timeout(LINGER, down).await.unwrap_or(Ok(())),
            broken => broken,
        },
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to a port broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[test]
    fn ports_are_numbers_and_schemes_two() {
        assert_eq!(Port::parse("http", "80"), Some(Port { number: 80, tls: false }));
        assert_eq!(Port::parse("https", "443"), Some(Port { number: 443, tls: true }));
        for (scheme, number) in [("", "80"), ("ftp", "21"), ("http", "0"), ("http", "65536"), ("http", "web")]
        {
            assert_eq!(Port::parse(scheme, number), None, "{scheme} {number}");
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_port_hangs_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = dial(listener.local_addr().unwrap(), false).await.ok().unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (mut server, near) = tokio::io::duplex(16);
        let talk = async {
            server.write_all(b"asked").await.unwrap();
            let mut heard = [0; 5];
            far.read_exact(&mut heard).await.unwrap();
            far.write_all(b"a longer answer than fits").await.unwrap();
            drop(far);
            let mut answer = String::new();
            server.read_to_string(&mut answer).await.unwrap();
            // Until now the other end was there.
            server.write_all(b"unheard").await.unwrap();
            drop(server);
            (heard, answer)
        };
        let (_, (heard, answer)) = tokio::join!(relay(near, port), talk);
        assert_eq!((&heard, answer.as_str()), (b"asked", "a longer answer than fits"));
    }

    #[tokio::test]
    async fn who_does_not_listen_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let why = dial(address, false).await.err().unwrap();
        assert_eq!(why, format!("dial tcp {address}: connect: connection refused"));
    }
}
