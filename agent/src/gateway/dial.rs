//! One outbound mTLS connection to a server: the only way in which an agent and the control plane meet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, pem};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The protocols that we speak on the gateway's port.
pub(crate) const GRPC: &[u8] = b"h2";
pub(crate) const TUNNEL: &[u8] = b"navarch-tunnel/1";

pub(crate) type TlsConnection = tokio_rustls::client::TlsStream<TcpStream>;

/// Who we are and whom we trust, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The cluster's authority: a server's certificate must come from it.
    pub ca: Vec<u8>,
    /// Our certificate chain, for `system:node:<node>`.
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// Why an identity cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("the certificate of the authority is not valid PEM")]
    Ca(#[source] pem::Error),
    #[error("the certificate of the authority is not usable")]
    Untrustable(#[source] rustls::Error),
    #[error("the certificate of the authority is missing")]
    NoCa,
    #[error("the node's certificate is not valid PEM")]
    Certificate(#[source] pem::Error),
    #[error("the node's key is not valid PEM")]
    Key(#[source] pem::Error),
    #[error("the node's certificate and key are not usable")]
    Unusable(#[source] rustls::Error),
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    #[error("cannot connect to {server}")]
    Connect { server: String, source: io::Error },
    #[error("{server} did not answer within {} s", .patience.as_secs())]
    Silent { server: String, patience: Duration },
    #[error("{server:?} is not host:port")]
    Address { server: String, source: InvalidDnsNameError },
    #[error("the certificate of {server} or ours was refused")]
    Certificate { server: String, source: io::Error },
    #[error("the TLS handshake with {server} failed")]
    Handshake { server: String, source: io::Error },
    #[error("{server} does not speak {protocol}")]
    Protocol { server: String, protocol: String },
    #[error("the HTTP/2 handshake with {server} failed")]
    Http { server: String, source: Box<dyn std::error::Error + Send + Sync> },
}

/// Dials servers as one identity.
#[derive(Clone)]
pub(crate) struct Dialer {
    config: Arc<ClientConfig>,
}

impl Dialer {
    pub(crate) fn new(identity: &Identity) -> Result<Self, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&identity.ca) {
            roots.add(certificate.map_err(IdentityError::Ca)?).map_err(IdentityError::Untrustable)?;
        }
        if roots.is_empty() {
            return Err(IdentityError::NoCa);
        }
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&identity.certificate)
            .collect::<Result<_, _>>()
            .map_err(IdentityError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(IdentityError::Key)?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(IdentityError::Unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(IdentityError::Unusable)?;
        Ok(Self { config: Arc::new(config) })
    }

    /// Connects, shakes hands, each within `patience`, and makes sure that the other side speaks `protocol`.
    pub(crate) async fn dial(
        &self,
        server: &str,
        protocol: &[u8],
        patience: Duration,
    ) -> Result<TlsConnection, DialError> {
        let named = || server.to_owned();
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host.trim_matches(['[', ']']));
        let name = ServerName::try_from(host.to_owned())
            .map_err(|source| DialError::Address { server: named(), source })?;
        let stream = tokio::time::timeout(patience, TcpStream::connect(server))
            .await
            .map_err(|_elapsed| DialError::Silent { server: named(), patience })?
            .map_err(|source| DialError::Connect { server: named(), source })?;
        stream.set_nodelay(true).map_err(|source| DialError::Connect { server: named(), source })?;
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.to_vec()];
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let connection = tokio::time::timeout(patience, handshake)
            .await
            .map_err(|_elapsed| DialError::Silent { server: named(), patience })?
            .map_err(|source| handshake_error(named(), source))?;
        if connection.get_ref().1.alpn_protocol() != Some(protocol) {
            let protocol = String::from_utf8_lossy(protocol).into_owned();
            return Err(DialError::Protocol { server: named(), protocol });
        }
        Ok(connection)
    }
}

/// A refused certificate is a person's work, another failure mostly heals.
fn handshake_error(server: String, source: io::Error) -> DialError {
    use rustls::{AlertDescription as Alert, Error};
    let inner = source.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(_)) => DialError::Certificate { server, source },
        Some(Error::AlertReceived(Alert::NoApplicationProtocol)) => {
            DialError::Protocol { server, protocol: "what we ask for".into() }
        }
        Some(Error::AlertReceived(
            Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateRequired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        )) => DialError::Certificate { server, source },
        _ => DialError::Handshake { server, source },
    }
}
