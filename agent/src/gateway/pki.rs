//! For tests: an authority, and certificates from it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::Identity;

pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    ca: String,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), ca }
    }

    /// A certificate for 127.0.0.1 and for a client called `name`.
    pub(crate) fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Identity {
            ca: self.ca.clone().into_bytes(),
            certificate: certificate.into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }
    }

    /// A server that wants a client certificate of this authority.
    pub(crate) fn server(&self, protocol: &[u8]) -> Arc<ServerConfig> {
        let identity = self.issue("server");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&identity.ca).expect("PEM")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .expect("a verifier");
        let chain = vec![CertificateDer::from_pem_slice(&identity.certificate).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(&identity.key).expect("PEM");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect("a configuration");
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }
}
