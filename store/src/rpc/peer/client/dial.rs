//! Opens connections to other members that speak in frames.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls_pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::super::listen::PEER_READ_BYTES;
use super::super::super::tls::{HANDSHAKE_TIME_MAX, Tls, TlsError};
use super::super::PROTOCOL;
use super::super::line::Line;
use super::CONNECT_TIME_MAX;

/// The caller's end.
pub(super) type Dialled = Line<TlsStream<BufReader<TcpStream>>>;

/// Knows this node's certificate, and whom it trusts. Clones share everything.
#[derive(Clone)]
pub(super) struct Dialler {
    tls: TlsConnector,
}

impl Dialler {
    pub(super) fn new(tls: &Tls) -> Result<Self, TlsError> {
        Ok(Self { tls: TlsConnector::from(Arc::new(tls.peer_client(PROTOCOL)?)) })
    }

    /// Ends in bounded time. Whether the peer lets this node in shows only when it answers.
    pub(super) async fn connect(&self, url: &str) -> io::Result<Dialled> {
        let (host, port) = place(url)?;
        let name = ServerName::try_from(host.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = within(CONNECT_TIME_MAX, TcpStream::connect((host.as_str(), port))).await?;
        stream.set_nodelay(true)?;
        let stream = BufReader::with_capacity(PEER_READ_BYTES, stream);
        let stream = within(HANDSHAKE_TIME_MAX, self.tls.connect(name, stream)).await?;
        if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
            return Err(io::Error::other("the peer speaks another protocol"));
        }
        Ok(Line::new(stream))
    }
}

async fn within<T>(time: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(time, step).await.unwrap_or_else(|late| Err(late.into()))
}

/// Host and port of `https://host:port`.
fn place(url: &str) -> io::Result<(String, u16)> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| invalid(error.to_string()))?;
    if uri.scheme_str() != Some("https") {
        return Err(invalid(format!("{url} is no https URL")));
    }
    let host = uri.host().ok_or_else(|| invalid(format!("{url} names no host")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(url: &str, expected: Expect) {
        let said = match place(url) {
            Ok((host, port)) => format!("{host} {port}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn a_url_is_a_host_and_a_port() {
        check("https://server-1:2380", expect!["server-1 2380"]);
        check("https://10.0.0.1", expect!["10.0.0.1 443"]);
        check("https://[fd00::1]:2380/", expect!["fd00::1 2380"]);
        check("http://server-1:2380", expect!["http://server-1:2380 is no https URL"]);
        check("server-1", expect!["server-1 is no https URL"]);
        check("", expect!["empty string"]);
    }
}
