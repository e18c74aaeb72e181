//! Connections to the ports of a pod, made inside its network namespace: also to what listens on loopback
//! only. No runtime is involved, and no address of the pod.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::causes::in_full;
use crate::network::namespace;

/// Loopback answers at once, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a pod's ports are.
#[derive(Debug)]
pub(super) struct PodNetwork {
    name: String,
    /// `None` when the pod is in the node's network.
    namespace: Option<PathBuf>,
}

impl PodNetwork {
    pub(super) fn new(name: String, namespace: Option<PathBuf>) -> Self {
        Self { name, namespace }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Connects to a port on loopback, of the older family first. The error is for people.
    pub(super) async fn dial(&self, port: u16) -> Result<TcpStream, String> {
        let namespace = self.namespace.clone();
        let dialled = tokio::task::spawn_blocking(move || match namespace {
            None => Ok(connect(port)),
            Some(path) => namespace::run_in(&path, || std::future::ready(connect(port))),
        });
        let connection = match dialled.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(in_full(&error)),
            Err(error) => return Err(in_full(&error)),
        };
        let connection = connection?;
        let adopted = connection.set_nonblocking(true).and_then(|()| TcpStream::from_std(connection));
        adopted.map_err(|error| error.to_string())
    }
}

fn connect(port: u16) -> Result<std::net::TcpStream, String> {
    let at = |address: SocketAddr| -> io::Result<std::net::TcpStream> {
        let connection = std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        connection.set_nodelay(true)?;
        Ok(connection)
    };
    let old = match at((Ipv4Addr::LOCALHOST, port).into()) {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    at((Ipv6Addr::LOCALHOST, port).into()).map_err(|new| {
        format!("failed to connect to localhost:{port} inside the pod's network, IPv4: {old}, IPv6: {new}")
    })
}
