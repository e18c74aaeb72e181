//! Whom to believe that they are a registry, and how to prove who asks.
//!
//! The system's file of certificate authorities is read for each pull: what an administrator adds counts at once. A
//! list that is compiled in would not know a company's own authority. A host's own come from where registries are
//! configured.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;

use super::hosts::{Identity, Tls};

/// Debian's place, Red Hat's, SUSE's and Alpine's.
const SYSTEM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Debug, Error)]
pub(in crate::images) enum TrustError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no certificate", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("{} is no certificate of an authority", path.display())]
    Certificate { path: PathBuf, source: rustls::Error },
    #[error("{} is no key", path.display())]
    Key { path: PathBuf, source: pem::Error },
    #[error("{} does not prove who asks", path.display())]
    Identity { path: PathBuf, source: rustls::Error },
    #[error("TLS cannot be used")]
    Tls(#[from] rustls::Error),
}

/// How to speak TLS with a host.
pub(super) async fn client(tls: &Tls) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if tls.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider.clone())))
    } else {
        builder.with_root_certificates(roots(&tls.authorities).await?)
    };
    let mut identities = Vec::new();
    for identity in &tls.identities {
        identities.push(Arc::new(read_identity(identity, &provider).await?));
    }
    Ok(if identities.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(Identities(identities)))
    })
}

/// The system's authorities, and those in these files.
pub(super) async fn roots(own: &[PathBuf]) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for path in SYSTEM {
        if let Ok(bytes) = tokio::fs::read(path).await {
            // Some that old systems list are none to rustls.
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).flatten());
            break;
        }
    }
    for path in own {
        for certificate in certificates(path, &read(path).await?)? {
            let added = roots.add(certificate);
            added.map_err(|source| TrustError::Certificate { path: path.clone(), source })?;
        }
    }
    Ok(roots)
}

async fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|source| TrustError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let all: Result<_, _> = CertificateDer::pem_slice_iter(bytes).collect();
    all.map_err(|source| TrustError::Pem { path: path.to_owned(), source })
}

async fn read_identity(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TrustError> {
    let Identity { certificate: path, key: key_path } = identity;
    let certificates = certificates(path, &read(path).await?)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_path).await?);
    let key = key.map_err(|source| TrustError::Key { path: key_path.clone(), source })?;
    CertifiedKey::from_der(certificates, key, provider)
        .map_err(|source| TrustError::Identity { path: path.clone(), source })
}

/// Shows the first that the server takes.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identities {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|identity| identity.key.choose_scheme(schemes).is_some()).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes whoever holds the key of the certificate that it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
