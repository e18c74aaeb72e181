//! Whom to believe that they are a registry: the system's certificate authorities, and a host's own.
//!
//! The system's file is read for each pull: what an administrator adds counts at once. A list that is compiled
//! in would not know a company's own authority. A host's own are the files `<hosts_dir>/<host>/*.crt`, as Docker
//! and containerd have them.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use thiserror::Error;

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
}

pub(super) async fn roots(hosts_dir: &Path, host: &str) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for path in SYSTEM {
        if let Ok(bytes) = tokio::fs::read(path).await {
            // Some that old systems list are none to rustls.
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).flatten());
            break;
        }
    }
    for path in own(&hosts_dir.join(host)).await? {
        let read = tokio::fs::read(&path).await;
        let bytes = read.map_err(|source| TrustError::Read { path: path.clone(), source })?;
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|source| TrustError::Pem { path: path.clone(), source })?;
            let added = roots.add(certificate);
            added.map_err(|source| TrustError::Certificate { path: path.clone(), source })?;
        }
    }
    Ok(roots)
}

/// The files of a host's own authorities; usually there are none.
async fn own(dir: &Path) -> Result<Vec<PathBuf>, TrustError> {
    let fail = |source| TrustError::Read { path: dir.to_owned(), source };
    let mut entries = match tokio::fs::read_dir(dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut paths = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(fail)? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            paths.push(path);
        }
    }
    Ok(paths)
}
