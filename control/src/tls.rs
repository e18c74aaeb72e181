//! rustls configurations from PEM files.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::CertificateFiles;
use crate::transport::ClientFiles;

/// Whether a server turns away who shows no certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientCertificate {
    Optional,
    Required,
}

/// A server that trusts the clients of one authority.
pub(crate) fn server(
    authority: &Path,
    own: &CertificateFiles,
    clients: ClientCertificate,
) -> Result<ServerConfig> {
    let roots = Arc::new(roots(authority)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let verifier =
        if clients == ClientCertificate::Optional { verifier.allow_unauthenticated() } else { verifier };
    let verifier =
        verifier.build().with_context(|| format!("{} cannot verify clients", authority.display()))?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("no TLS version is usable")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&own.certificate)?, key(&own.key)?)
        .with_context(|| format!("{} and its key do not fit", own.certificate.display()))
}

/// A client with a certificate.
pub(crate) fn client(files: &ClientFiles<'_>) -> Result<ClientConfig> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("no TLS version is usable")?
        .with_root_certificates(roots(files.authority)?)
        .with_client_auth_cert(certificates(files.certificate)?, key(files.key)?)
        .with_context(|| format!("{} and its key do not fit", files.certificate.display()))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(authority: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).with_context(|| format!("{} is no authority", authority.display()))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read =
        CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {}", file.display()))?;
    read.collect::<Result<_, _>>().with_context(|| format!("{} holds no PEM certificates", file.display()))
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).with_context(|| format!("cannot read the key {}", file.display()))
}
