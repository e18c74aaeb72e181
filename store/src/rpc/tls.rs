//! What a port, or a connection to another member, needs for mTLS, from PEM text.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tonic::transport::{Certificate, ClientTlsConfig};

/// A peer that is frozen accepts connections and says nothing.
pub(super) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(1);
const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// A certificate of this node, its key, the CA that both ends must be signed by, and whom to let in.
#[derive(Clone)]
pub struct Tls {
    pub ca_pem: String,
    /// The chain, leaf first. It serves both roles: it needs the usages server and client authentication.
    pub certificate_pem: String,
    pub key_pem: String,
    /// A client certificate must name one of these organizations (`O`): the CA also signs those of the agents.
    pub admitted_organizations: Vec<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("admitted_organizations", &self.admitted_organizations)
            .finish_non_exhaustive()
    }
}

/// Why the certificates cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("cannot read the {what}")]
    Pem { what: &'static str, source: rustls_pki_types::pem::Error },
    #[error("the CA certificate cannot be used")]
    Ca(#[source] rustls::Error),
    #[error("clients cannot be verified against the CA")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    #[error("the certificate and its key cannot be used")]
    Own(#[source] rustls::Error),
}

/// Whether a handshake fails without one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientCertificate {
    Required,
    Optional,
}

impl Tls {
    /// A port for HTTP/2 and a protocol that is preferred, whose clients must show a certificate.
    pub(super) fn peer_server(&self, protocol: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
        self.serve(ClientCertificate::Required, &[protocol, ALPN_HTTP2])
    }

    /// A port for HTTP/2 and HTTP/1.1, where also who shows no certificate is heard.
    pub(super) fn public_server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.serve(ClientCertificate::Optional, &[ALPN_HTTP2, ALPN_HTTP1])
    }

    fn serve(&self, wanted: ClientCertificate, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let verifier = match wanted {
            ClientCertificate::Required => verifier,
            ClientCertificate::Optional => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(TlsError::Verifier)?;
        let (chain, key) = self.own()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Own)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(TlsError::Own)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// To a port that speaks this protocol.
    pub(super) fn peer_client(&self, protocol: &[u8]) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = self.own()?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Own)?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Own)?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for ca in certificates(&self.ca_pem, "CA certificate")? {
            roots.add(ca).map_err(TlsError::Ca)?;
        }
        Ok(roots)
    }

    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(&self.certificate_pem, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|source| TlsError::Pem { what: "key", source })?;
        Ok((chain, key))
    }

    /// To a port that speaks gRPC.
    pub(super) fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .timeout(HANDSHAKE_TIME_MAX)
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
            .identity(tonic::transport::Identity::from_pem(&self.certificate_pem, &self.key_pem))
    }
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(TlsError::Pem { what, source: rustls_pki_types::pem::Error::NoItemsFound })
        }
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { what, source }),
    }
}
