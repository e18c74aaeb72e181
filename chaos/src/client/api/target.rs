//! Where an API server is, and as whom it is asked.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use http::Uri;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::Identity;

/// One API server, and who asks it.
#[derive(Clone)]
pub struct ApiTarget {
    /// Its name in the history.
    pub member: String,
    /// `HOST:PORT`
    pub(super) authority: String,
    /// What stands in front of every path; mostly nothing.
    pub(super) base: String,
    /// In the header that says who asks.
    pub(super) token: Option<String>,
    /// None: it is spoken to in plain text.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for ApiTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiTarget").field("member", &self.member).finish_non_exhaustive()
    }
}

/// A connection, encrypted or not.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl ApiTarget {
    /// `url` is `https://HOST:PORT/BASE`; of one that begins with `http://` nothing of the identity is used. An identity
    /// without a certificate shows none.
    ///
    /// # Errors
    /// When that is no address, or a certificate is none.
    pub fn new(member: &str, url: &str, identity: &Identity) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is no address"))?;
        let host = uri.host().with_context(|| format!("{url} names no host"))?;
        let is_plain = match uri.scheme_str() {
            Some("http") => true,
            Some("https") => false,
            Some(_) | None => anyhow::bail!("{url} begins with neither https:// nor http://"),
        };
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let tls = if is_plain {
            None
        } else {
            Some((TlsConnector::from(Arc::new(config(identity)?)), server_name(host)?))
        };
        Ok(Self {
            member: member.to_owned(),
            authority: format!("{host}:{port}"),
            base: uri.path().trim_end_matches('/').to_owned(),
            token: None,
            tls,
        })
    }

    /// The same, asked by who shows a token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// The same, whose certificate is for another name than that of its address.
    ///
    /// # Errors
    /// When that is no name.
    pub fn certified_as(self, name: &str) -> Result<Self> {
        let name = server_name(name)?;
        Ok(Self { tls: self.tls.map(|(connector, _)| (connector, name)), ..self })
    }

    pub(super) async fn connect(&self) -> std::io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
        })
    }
}

/// An address of IPv6 stands in brackets.
fn server_name(host: &str) -> Result<ServerName<'static>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).with_context(|| format!("{host} is no host"))
}

fn config(identity: &Identity) -> Result<ClientConfig> {
    let certificates = |pem: &str| -> Result<Vec<CertificateDer<'static>>> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let read = read.context("no PEM certificates")?;
        ensure!(!read.is_empty(), "no certificate where one should be");
        Ok(read)
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&identity.ca_pem)? {
        roots.add(certificate).context("no certificate of an authority")?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version is usable")?
        .with_root_certificates(roots);
    if identity.certificate_pem.is_empty() {
        return Ok(config.with_no_client_auth());
    }
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).context("no PEM key")?;
    config
        .with_client_auth_cert(certificates(&identity.certificate_pem)?, key)
        .context("certificate and key do not fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let nobody =
            Identity { ca_pem: String::new(), certificate_pem: String::new(), key_pem: String::new() };
        let seen = |url: &str| {
            let target = ApiTarget::new("n1", url, &nobody)?;
            anyhow::Ok(format!("{} {}", target.authority, target.base))
        };
        assert_eq!(seen("http://127.0.0.1:8001").unwrap(), "127.0.0.1:8001 ");
        assert_eq!(seen("http://[::1]/k8s/clusters/a/").unwrap(), "[::1]:80 /k8s/clusters/a");
        assert!(seen("127.0.0.1:8001").is_err());
        assert!(seen("https://127.0.0.1:6443").is_err(), "nobody vouches for its certificate");
    }
}
